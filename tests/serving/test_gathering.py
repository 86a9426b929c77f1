"""Gathering: what waits is answered together, what is wrong harms nobody else, and only what fits is gathered."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import count

import pytest
from anyio import to_thread
from sqlalchemy.exc import DataError, OperationalError

from crewflow_assets.contract import PredictionRequest, PredictionResponse
from crewflow_assets.cost_code_mapping.contract import MappingRequest, TargetAccount
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotReadyError
from serving import gathering as gathering_module
from serving.gathering import AT_ONCE, MOST_GATHERED, Gathering
from serving.problems import Problem


class Asked(PredictionRequest):
    text: str
    brings: str | None = None

    @property
    def gathers(self) -> bool:
        return super().gathers and self.brings is None

    @property
    def gathers_with(self) -> str | None:
        return self.company_id


class AskedOfAll(Asked):
    @property
    def gathers_with(self) -> str | None:
        return None


class Said(PredictionResponse):
    text: str


class Model:
    """Says what it is asked, and keeps batches and arrivals; fails with ``error`` on a batch with "bad" in it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.batches: list[list[str]] = []
        self.arrivals: list[tuple[str, float]] = []

    def answer(self, requests: Sequence[PredictionRequest], arrived: Sequence[float]) -> list[PredictionResponse]:
        texts = [request.text for request in requests if isinstance(request, Asked)]
        self.batches.append(texts)
        self.arrivals.extend(zip(texts, arrived, strict=True))
        if "bad" in texts and self.error is not None:
            raise self.error
        return [said(text) for text in texts]


def said(text: str) -> Said:
    return Said(prediction_id="p", model_version="1.0", variant="champion", text=text)


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


class Stage:
    """A gathering whose batches end when told to, in the order of their beginning."""

    def __init__(self, error: Exception | None = None) -> None:
        self.model = Model(error)
        self.ends: list[asyncio.Event] = []
        self.tasks: dict[str, asyncio.Task[PredictionResponse]] = {}
        self.gathering = Gathering(self.model.answer, self._slowly)

    async def _slowly(self, work: Callable[[], list[PredictionResponse]]) -> list[PredictionResponse]:
        self.ends.append(asyncio.Event())
        await self.ends[-1].wait()
        return work()

    async def ask(self, names: str) -> None:
        """Ask for each letter."""
        self.tasks |= {name: asyncio.create_task(self.gathering.one(asked(name))) for name in names.split()}
        await self.settled()

    async def end(self, *batches: int) -> None:
        """End batches, counted from 0."""
        for batch in batches:
            self.ends[batch].set()
            await self.settled()

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def test_a_second_batch_begins_once_as_many_wait_as_are_in_the_first() -> None:
    async def eight_clients() -> list[list[str]]:
        stage = Stage()
        await stage.ask("a")
        assert len(stage.ends) == 1  # nobody before it
        await stage.ask("b c d e f g h")
        assert len(stage.ends) == 2
        await stage.end(0)
        assert len(stage.ends) == 3  # four of the six that wait, as seven are here
        await stage.end(1)
        assert len(stage.ends) == 4  # g and h, which the end of the first had left
        await stage.ask("i j k")
        await stage.end(3)
        assert len(stage.ends) == 4  # three wait, beside four
        await stage.ask("l")
        assert len(stage.ends) == 5
        await stage.end(2, 4)
        await asyncio.gather(*stage.tasks.values())
        return stage.model.batches

    assert asyncio.run(eight_clients()) == [["a"], ["b"], ["g", "h"], ["c", "d", "e", "f"], ["i", "j", "k", "l"]]


def test_what_a_batch_left_waiting_begins_with_the_next_end() -> None:
    async def five_clients() -> None:
        stage = Stage()
        await stage.ask("a b c d e")
        await stage.end(0)
        assert len(stage.ends) == 3  # c and d; e is fewer than they are
        await stage.end(1)
        assert len(stage.ends) == 4
        await stage.end(3)
        assert await stage.tasks["e"] == said("e")
        assert not stage.tasks["c"].done()
        await stage.end(2)

    asyncio.run(five_clients())


def test_requests_that_are_tried_again_one_by_one_do_not_hold_up_the_others() -> None:
    async def one_is_bad() -> None:
        stage = Stage(BAD_INPUT[0])
        await stage.ask("a b bad c d e")
        await stage.end(0, 1)
        assert len(stage.ends) == 4  # three, and then the fourth by the end of the second
        await stage.end(2)  # bad, c and d: each again, by itself
        await stage.end(3)
        await stage.ask("f")
        assert len(stage.ends) == 6  # beside one that is tried again and not beside three
        await stage.end(5)
        assert await stage.tasks["f"] == said("f")
        await stage.end(4, 6)
        await stage.end(7)
        assert await stage.tasks["c"] == said("c")

    asyncio.run(one_is_bad())


def test_a_client_that_has_gone_while_waiting_is_not_asked_for() -> None:
    async def some_leave() -> list[list[str]]:
        stage = Stage()
        await stage.ask("a b c d e f")
        for name in "cde":
            stage.tasks[name].cancel()
        await stage.end(0, 1, 2)
        await stage.tasks["f"]
        return stage.model.batches

    assert asyncio.run(some_leave()) == [["a"], ["b"], ["f"]]


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
