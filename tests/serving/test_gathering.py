"""Gathering: what waits is answered together, what is wrong harms nobody else, and only what fits is gathered."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count

import pytest
from anyio import to_thread
from sqlalchemy.exc import DataError, OperationalError

from crewflow_assets.contract import PredictionResponse
from crewflow_assets.cost_code_mapping.contract import MappingRequest, TargetAccount
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotReadyError
from serving import gathering as gathering_module
from serving.gathering import AT_ONCE, MOST_GATHERED, Gathering
from serving.problems import Problem
from tests.serving.saying import Asked, AskedOfAll, Model, Said, asked


async def in_thread(work: Callable[[], list[PredictionResponse]]) -> list[PredictionResponse]:
    return await to_thread.run_sync(work)


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


BAD_INPUT = [
    Problem(400, "text: 'bad' has no answer"),
    InvalidInputError("these inputs cannot be answered", (FieldProblem((0, "text"), "'bad' has no answer"),)),
    DataError("select", {}, ValueError("out of range")),
]
NOBODYS_FAULT = [
    Problem(404, "no version 'champion'"),
    NotReadyError("no model is registered yet"),
    OperationalError("select", {}, OSError("away")),
    ZeroDivisionError("the model broke"),
]


@pytest.mark.parametrize("error", BAD_INPUT, ids=lambda error: type(error).__name__)
def test_only_a_bad_request_gets_its_error(error: Exception) -> None:
    model = Model(error)
    found = all_of(model, [asked("a"), asked("bad"), asked("b"), asked("c"), asked("d")])
    assert [one.text if isinstance(one, Said) else one for one in found] == ["a", error, "b", "c", "d"]
    assert model.batches.count(["bad"]) == 1


@pytest.mark.parametrize("error", NOBODYS_FAULT, ids=lambda error: type(error).__name__)
def test_what_no_request_is_to_blame_for_goes_to_all_of_the_batch_and_is_not_tried_again(error: Exception) -> None:
    model = Model(error)
    names = ["a", "b", "bad", "c", "d", "e"]
    found = all_of(model, [asked(name) for name in names])
    [failed] = [batch for batch in model.batches if "bad" in batch]
    assert len(failed) > 1
    assert [one is error for one in found] == [name in failed for name in names]
    assert sorted(name for batch in model.batches for name in batch) == sorted(names)


def test_arrivals_are_kept_while_requests_wait_and_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(100)
    monkeypatch.setattr(gathering_module, "perf_counter", lambda: float(next(ticks)))
    model = Model(BAD_INPUT[0])
    requests = [asked("a"), asked("b"), asked("bad"), asked("c", None), asked("d")]
    all_of(model, requests)
    arrivals = {request.text: 100.0 + place for place, request in enumerate(requests)}
    assert model.batches.count(["bad"]) == 1
    assert len(model.arrivals) > len(requests)
    assert set(model.arrivals) == set(arrivals.items())


def test_companies_and_versions_are_answered_apart() -> None:
    model = Model()
    companies = ["c-1", "c-2", "c-3"]
    requests = [asked(f"{company}", company) for company in companies for _ in range(6)]
    requests += [asked("1.0", version="1.0") for _ in range(6)]
    assert len(texts(all_of(model, requests))) == 24
    assert all(len(set(batch)) == 1 for batch in model.batches)


def test_companies_are_answered_together_where_a_model_is_enough_in_common() -> None:
    model = Model()
    requests = [AskedOfAll(text=f"{i}", company_id=f"c-{i}") for i in range(10)]
    requests += [AskedOfAll(text="1.0", company_id=f"c-{i}", version="1.0") for i in range(2)]
    assert texts(all_of(model, requests)) == [request.text for request in requests]
    assert len(model.batches) < 6
    assert max(map(len, model.batches)) > 5
    assert all(("1.0" in batch) == (set(batch) == {"1.0"}) for batch in model.batches)


def test_requests_with_nothing_in_common_are_never_gathered() -> None:
    model = Model()
    alone = [asked(f"nobody {i}", None) for i in range(8)]
    alone += [Asked(text=f"own {i}", company_id="c-1", brings="a chart") for i in range(8)]
    assert texts(all_of(model, alone)) == [one.text for one in alone]
    assert sorted(model.batches) == sorted([one.text] for one in alone)


def test_a_caller_without_a_company_waits_for_no_other() -> None:
    async def one_waits() -> str:
        release = asyncio.Event()

        async def slowly(work: Callable[[], list[PredictionResponse]]) -> list[PredictionResponse]:
            found = work()
            if texts(found) == ["slow"]:
                await release.wait()
            return found

        gathering = Gathering(Model().answer, slowly)
        slow = [asyncio.create_task(gathering.one(asked("slow", None))) for _ in range(2 * AT_ONCE)]
        await asyncio.sleep(0)
        quick = await asyncio.wait_for(gathering.one(asked("quick", None)), 5)
        release.set()
        await asyncio.gather(*slow)
        return texts([quick])[0]

    assert asyncio.run(one_waits()) == "quick"


def test_an_error_of_a_request_that_is_not_gathered_is_its_callers() -> None:
    model = Model(NOBODYS_FAULT[0])
    found = all_of(model, [asked("a", None), asked("bad", None)])
    assert texts(found) == ["a"]
    assert found[1] is model.error


@pytest.mark.parametrize(
    ("company_id", "accounts", "gathers"),
    [("c-1", None, True), (None, None, False), ("c-1", ["50100"], False), (None, ["50100"], False)],
)
def test_mappings_gather_on_the_stored_chart_alone(
    company_id: str | None, accounts: list[str] | None, gathers: bool
) -> None:
    request = MappingRequest(
        crewflow_cost_code="ELEC-105",
        cost_code_name="Rough Electrical",
        company_industry="electrical",
        target_system="quickbooks",
        company_id=company_id,
        target_accounts=None if accounts is None else [TargetAccount(code=code, name="Labor") for code in accounts],
    )
    assert request.gathers is gathers
    assert "gathers" not in request.model_dump()


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
