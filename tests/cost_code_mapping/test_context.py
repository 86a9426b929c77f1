"""Charts are prepared once, large ones beside the requests; what is kept of charts and companies has its bounds."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
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
