"""Gathering: what waits is answered together, what is wrong harms nobody else, and no company waits for another."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from anyio import to_thread

from crewflow_assets.contract import PredictionRequest, PredictionResponse
from serving.gathering import AT_ONCE, MOST_GATHERED, Gathering


class Asked(PredictionRequest):
    text: str


class Said(PredictionResponse):
    text: str


class Model:
    """Says what it is asked, and keeps the batches; refuses any batch with "bad" in it."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def answer(self, requests: Sequence[PredictionRequest]) -> list[PredictionResponse]:
        texts = [request.text for request in requests if isinstance(request, Asked)]
        self.batches.append(texts)
        if "bad" in texts:
            raise ValueError(f"{len(texts)} asked, one of them badly")
        return [Said(prediction_id="p", model_version="1.0", variant="champion", text=text) for text in texts]


async def in_thread(work: Callable[[], list[PredictionResponse]]) -> list[PredictionResponse]:
    return await to_thread.run_sync(work)


def asked(text: str, company_id: str | None = "c-1", version: str = "champion") -> Asked:
    return Asked(text=text, company_id=company_id, version=version)


def all_of(model: Model, requests: Sequence[Asked]) -> list[PredictionResponse | BaseException]:
    async def together() -> list[PredictionResponse | BaseException]:
        gathering = Gathering(model.answer, in_thread)
        found = await asyncio.gather(*(gathering.one(one) for one in requests), return_exceptions=True)
        assert gathering._queues == {}
        return found

    return asyncio.run(together())


def texts(found: Sequence[PredictionResponse | BaseException]) -> list[str]:
    return [one.text for one in found if isinstance(one, Said)]


def test_a_request_alone_is_answered_alone() -> None:
    model = Model()
    assert texts(all_of(model, [asked("a")])) == ["a"]
    assert model.batches == [["a"]]


def test_requests_at_once_share_batches_and_each_gets_its_own_answer() -> None:
    model = Model()
    names = [f"text {i}" for i in range(100)]
    assert texts(all_of(model, [asked(name) for name in names])) == names
    assert sorted(name for batch in model.batches for name in batch) == sorted(names)
    assert len(model.batches) <= 100 // 8
    assert max(map(len, model.batches)) <= MOST_GATHERED


def test_only_a_bad_request_gets_its_error() -> None:
    model = Model()
    found = all_of(model, [asked("a"), asked("bad"), asked("b"), asked("c"), asked("d")])
    assert [one.text if isinstance(one, Said) else type(one) for one in found] == ["a", ValueError, "b", "c", "d"]
    assert str(found[1]) == "1 asked, one of them badly"


def test_companies_and_versions_are_answered_apart() -> None:
    model = Model()
    companies = ["c-1", "c-2", None]
    requests = [asked(f"{company}", company) for company in companies for _ in range(6)]
    requests += [asked("1.0", version="1.0") for _ in range(6)]
    assert len(texts(all_of(model, requests))) == 24
    assert all(len(set(batch)) == 1 for batch in model.batches)


def test_a_slow_company_holds_up_no_other() -> None:
    async def one_waits() -> str:
        release = asyncio.Event()

        async def slowly(work: Callable[[], list[PredictionResponse]]) -> list[PredictionResponse]:
            found = work()
            if isinstance(found[0], Said) and found[0].text == "slow":
                await release.wait()
            return found

        gathering = Gathering(Model().answer, slowly)
        slow = [asyncio.create_task(gathering.one(asked("slow"))) for _ in range(2 * AT_ONCE)]
        await asyncio.sleep(0)
        quick = await asyncio.wait_for(gathering.one(asked("quick", "c-2")), 5)
        assert not any(task.done() for task in slow)
        release.set()
        assert len(await asyncio.gather(*slow)) == 2 * AT_ONCE
        return texts([quick])[0]

    assert asyncio.run(one_waits()) == "quick"


def test_a_client_that_has_gone_leaves_the_others_their_answers() -> None:
    async def one_leaves() -> list[str]:
        gathering = Gathering(Model().answer, in_thread)
        tasks = [asyncio.create_task(gathering.one(asked(name))) for name in ("a", "b", "c", "d")]
        await asyncio.sleep(0)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        return texts(await asyncio.gather(tasks[0], *tasks[2:]))

    assert asyncio.run(one_leaves()) == ["a", "c", "d"]
