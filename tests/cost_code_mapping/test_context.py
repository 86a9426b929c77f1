"""Charts are prepared once, large ones beside the requests; what is kept of charts and companies has its bounds."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event
from time import sleep
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine

from crewflow_assets.cost_code_mapping import context
from crewflow_assets.cost_code_mapping.chart import Chart, Target
from crewflow_assets.cost_code_mapping.context import Charts, Contexts, encode_chart
from crewflow_assets.cost_code_mapping.text import spoken
from crewflow_assets.errors import InvalidInputError, NotReadyError
from crewflow_assets.store.database import transaction
from tests.worlds import ACCOUNTS, QUICKBOOKS, write_company

PAINT = (Target("1", "Paint", None, None), Target("2", "Travel", None, None))
ROOF = (Target("1", "Roof", None, None),)
SECONDS = 60.0


def counted(monkeypatch: pytest.MonkeyPatch, until: Event | None = None) -> list[int]:
    """Keep how large the charts are that are really prepared, each when ``until`` is set."""
    prepared: list[int] = []

    def chart(targets: tuple[Target, ...]) -> Chart:
        prepared.append(len(targets))
        assert until is None or until.wait(SECONDS)
        return Chart(targets)

    monkeypatch.setattr(context, "Chart", chart)
    return prepared


def test_threads_that_ask_at_once_get_one_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    go = Event()
    prepared, charts = counted(monkeypatch, go), Charts()
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(charts.of, PAINT) for _ in range(3)]
        go.set()
        first, *others = [one.result(SECONDS) for one in asked]
    assert all(other is first for other in others)
    assert prepared == [2]


def test_charts_asked_for_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared, charts = counted(monkeypatch), Charts(most=2)
    for targets in (PAINT, ROOF, PAINT, (Target("9", "Fuel", None, None),), PAINT):
        charts.of(targets)
    assert prepared == [2, 1, 1]
    charts.of(ROOF)
    assert prepared == [2, 1, 1, 1]


def test_charts_are_kept_up_to_so_many_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "KEPT_ROWS", 2)
    prepared, charts = counted(monkeypatch), Charts()
    for targets in (ROOF, PAINT, PAINT, ROOF):
        charts.of(targets)
    assert prepared == [1, 2, 1]
    monkeypatch.setattr(context, "KEPT_ROWS", 1)
    for _ in range(2):
        charts.of(PAINT)
    assert prepared == [1, 2, 1, 2], "the one that is asked about stays"


def test_a_chart_is_kept_while_it_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "KEPT_ROWS", 1)
    monkeypatch.setattr(context, "MOST_PREPARED_AT_ONCE", 0)
    monkeypatch.setattr(context, "PATIENCE_SECONDS", 0.01)
    go = Event()
    prepared, charts = counted(monkeypatch, go), Charts()
    for targets in (PAINT, ROOF) * 3:
        with pytest.raises(NotReadyError):
            charts.of(targets)
    monkeypatch.setattr(context, "PATIENCE_SECONDS", SECONDS)
    go.set()
    assert [len(charts.of(targets)) for targets in (PAINT, ROOF)] == [2, 1]
    assert sorted(prepared) == [1, 2]


def test_of_a_company_one_context_is_kept_and_of_many_companies_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, ...]] = []

    def read(*key: str) -> SimpleNamespace:
        made.append(key)
        return SimpleNamespace(rows=60)

    monkeypatch.setattr(context, "_context", read)
    kept = Contexts(most=2)
    first, second, third = [("url", f"c-{number}", QUICKBOOKS) for number in (1, 2, 3)]
    for revision in range(1, 9):  # as many decisions
        kept.of(first, revision)
    assert list(kept._kept) == [first]
    assert kept.of(first, 8) is kept.of(first, 8)
    kept.of(second, 1)
    kept.of(first, 8)
    kept.of(third, 1)
    assert list(kept._kept) == [first, third]
    assert made == [first] * 8 + [second, third]
    assert kept.of(first, 7) is kept.of(first, 7), "a database that was put back"
    assert made[-1] == first
    monkeypatch.setattr(context, "KEPT_ROWS", 100)
    kept.of(second, 2)
    assert list(kept._kept) == [second], "two would be too large"
    monkeypatch.setattr(context, "KEPT_ROWS", 10)
    kept.of(third, 2)
    assert list(kept._kept) == [third], "who is asked about now stays"


def test_a_large_chart_is_prepared_beside_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "MOST_PREPARED_AT_ONCE", 1)
    monkeypatch.setattr(context, "PATIENCE_SECONDS", 0.01)
    go = Event()
    prepared, charts = counted(monkeypatch, go), Charts()
    for _ in range(2):
        with pytest.raises(NotReadyError, match="the chart of 2 accounts is being prepared"):
            charts.of(PAINT)
    monkeypatch.setattr(context, "PATIENCE_SECONDS", SECONDS)
    go.set()
    assert len(charts.of(PAINT)) == 2
    assert prepared == [2]


def test_a_large_stored_chart_is_encoded_beforehand_and_a_small_one_when_asked_about(
    sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction() as session:
        write_company(session, "c-1")
    assert list(encode_chart("c-1", QUICKBOOKS)) == []
    monkeypatch.setattr(context, "MOST_PREPARED_AT_ONCE", 1)
    monkeypatch.setattr(context, "ENCODED_AT_ONCE", 5)
    encoded: list[str] = []

    class Spy:
        def encode(self, texts: list[str]) -> None:
            encoded.extend(texts)

    monkeypatch.setattr(context, "encoder", Spy)
    done = list(encode_chart("c-1", QUICKBOOKS))
    assert done[0][0] == 0
    assert done[-1] == (len(encoded), len(encoded))
    assert len(set(encoded)) == len(encoded)
    assert {spoken(str(row.name)) for row in ACCOUNTS} <= set(encoded)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts of any size are prepared beside the requests, which do not wait for them."""
    monkeypatch.setattr(context, "MOST_PREPARED_AT_ONCE", 0)
    monkeypatch.setattr(context, "PATIENCE_SECONDS", 0.0)


def charts_of(number: int) -> list[tuple[Target, ...]]:
    """Return charts that differ, of 1, 2, 3 … accounts."""
    return [tuple(Target(str(i), f"Account {i}", None, None) for i in range(1 + one)) for one in range(number)]


def asked_until_there(charts: Charts, targets: tuple[Target, ...], go: Event) -> Chart:
    """Let preparations go on, and ask for a chart until it is handed out, as a client does."""
    go.set()
    for _ in range(1000):
        try:
            return charts.of(targets)
        except NotReadyError:
            sleep(0.005)
    raise AssertionError("never prepared")


@pytest.mark.usefixtures("large")
def test_few_large_charts_are_prepared_at_a_time_and_the_others_are_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go = Event()
    prepared, charts = counted(monkeypatch, go), Charts()
    wanted = charts_of(6)
    for targets in wanted * 2:
        with pytest.raises(NotReadyError):
            charts.of(targets)
    assert sum(thread.name == "chart" for thread in threading.enumerate()) == context.PREPARED_AT_ONCE
    with pytest.raises(NotReadyError, match="the chart of 6 accounts waits until others are prepared"):
        charts.of(wanted[-1])
    assert [len(asked_until_there(charts, targets, go)) for targets in wanted] == [1, 2, 3, 4, 5, 6]
    assert sorted(prepared) == [1, 2, 3, 4, 5, 6], "none twice"


@pytest.mark.usefixtures("large")
def test_who_asked_first_is_next_however_many_come_after(monkeypatch: pytest.MonkeyPatch) -> None:
    go = Event()
    prepared, charts = counted(monkeypatch, go), Charts()
    *others, mine = charts_of(8)
    first = [*others[: context.PREPARED_AT_ONCE], mine]
    for targets in first:
        with pytest.raises(NotReadyError):
            charts.of(targets)
    for targets in first[:-1]:
        asked_until_there(charts, targets, go)
    for targets in others[context.PREPARED_AT_ONCE :]:  # all of them before I ask again
        with suppress(NotReadyError):
            charts.of(targets)
    assert len(asked_until_there(charts, mine, go)) == 8
    assert prepared.index(8) <= 2 * context.PREPARED_AT_ONCE


@pytest.mark.usefixtures("large")
def test_a_large_chart_stays_until_it_was_handed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "KEPT_ROWS", 1)  # each lets go of all others
    go = Event()
    prepared, charts = counted(monkeypatch, go), Charts()
    one, other, third = charts_of(3)
    with pytest.raises(NotReadyError):
        charts.of(one)
    go.set()
    charts._charts[one].chart.result(SECONDS)
    for _ in range(2):
        asked_until_there(charts, other, go)
        asked_until_there(charts, third, go)
    assert len(charts.of(one)) == 1
    assert prepared.count(1) == 1
    asked_until_there(charts, other, go)
    assert one not in charts._charts, "it is no longer waited for"


@pytest.mark.usefixtures("large")
def test_what_went_wrong_while_nobody_waited_is_told_to_who_asks_next(monkeypatch: pytest.MonkeyPatch) -> None:
    go = Event()

    def broken(_: tuple[Target, ...]) -> Chart:
        assert go.wait(SECONDS)
        raise NotReadyError("the encoder is not there")

    monkeypatch.setattr(context, "Chart", broken)
    charts = Charts()
    with pytest.raises(NotReadyError, match="is being prepared"):
        charts.of(PAINT)
    go.set()
    charts._charts[PAINT].chart.exception(SECONDS)
    with pytest.raises(NotReadyError, match="the encoder is not there"):
        charts.of(PAINT)
    counted(monkeypatch)
    assert len(asked_until_there(charts, PAINT, go)) == 2, "then it is tried again"


@pytest.mark.usefixtures("large")
def test_a_refused_large_chart_leaves_its_place_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "PATIENCE_SECONDS", SECONDS)
    charts = Charts()
    for number in range(2 * context.PREPARED_AT_ONCE):
        with pytest.raises(InvalidInputError):
            charts.of((*PAINT, PAINT[0], Target(f"{number + 7}", "Fuel", None, None)))
    assert len(charts.of(PAINT)) == 2


@pytest.mark.usefixtures("large")
def test_a_large_chart_that_no_thread_prepares_leaves_its_place_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoThread:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    charts, wanted = Charts(), charts_of(2 * context.PREPARED_AT_ONCE)
    with monkeypatch.context() as patched:
        patched.setattr(context, "Thread", NoThread)
        for targets in wanted:
            with pytest.raises(RuntimeError, match="can't start new thread"):
                charts.of(targets)
    assert [len(asked_until_there(charts, targets, Event())) for targets in wanted] == [1, 2, 3, 4]


@pytest.mark.parametrize("most_at_once", [1, 10])
def test_an_ambiguous_chart_is_refused_each_time(most_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "MOST_PREPARED_AT_ONCE", most_at_once)
    monkeypatch.setattr(context, "PATIENCE_SECONDS", SECONDS)
    charts = Charts()
    for _ in range(2):
        with pytest.raises(InvalidInputError) as refused:
            charts.of((*PAINT, PAINT[0]))
        [problem] = refused.value.problems
        assert problem.msg == "account code '1' occurs 2 times; send each once"
