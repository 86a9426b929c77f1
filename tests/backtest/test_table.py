"""The report: the PRD's rows, every cell, what reaches a target and what does not."""

import pytest

from crewflow_assets.backtest.found import AFTER, text
from crewflow_assets.backtest.prd_table import at_least, prd_table
from crewflow_assets.backtest.table import causes_table, cells_table, markdown, plot
from crewflow_assets.evaluation.intervals import Interval
from tests.backtest.invented import backtest


def test_the_rows_say_what_was_measured_and_whether_it_is_enough() -> None:
    rows = {row.metric: row for row in prd_table(backtest())}
    success = rows["Sync success rate (retries within 1 h counted)"]
    assert success.before.startswith("98.00%")
    assert success.after.startswith("99.00%")
    assert success.ceiling.startswith("99.80%")
    assert success.reached == "yes"
    fewer = rows["Failures fewer than before"]
    assert (fewer.after[:5], fewer.reached) == ("50.0%", "no")
    assert rows["Success on retry: retried calls done within 24 h"].after.startswith("90.0%")
    assert rows["Conflicts resolved automatically"].reached == "no"
    assert rows["… of these as a person decided"].reached == "no"
    assert rows["Failed calls left to people, a week and integration"].before.startswith("0.80")


def test_what_is_measured_elsewhere_or_not_yet_says_so() -> None:
    last = {row.metric: row.reached for row in prd_table(backtest())[-2:]}
    assert "docs/mapping-benchmark.md" in last["Mapping accuracy 95 %+"]
    assert "cannot be measured yet" in last["Setup time < 30 min"]


def test_every_combination_has_a_row_and_its_distance_to_the_ceiling() -> None:
    headings, rows = cells_table(backtest())
    assert len(rows) == 3 * 2 * 2 + 1
    assert {len(row) for row in rows} == {len(headings)}
    distance = {row[:3]: row[5] for row in rows}
    assert distance["sync-health actions", "learned", "learned"] == "40.0 points"
    assert distance["ceiling", "ceiling", "ceiling"] == "0.0 points"


def test_the_causes_add_up_and_the_report_holds_all_three_tables() -> None:
    _, rows = causes_table(backtest())
    assert next(row for row in rows if row[0] == "api_down")[1:3] == ("40", "100%")
    report = markdown(backtest())
    assert report.count("\n| --- |") == 3
    assert "champion 1.0" in report
    assert plot(backtest())[:4] == b"\x89PNG"
    assert AFTER == ("sync-health actions", "learned")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.61, 0.7, "yes"), (0.3, 0.59, "no"), (0.5, 0.7, "open: the interval holds the target")],
)
def test_a_target_is_reached_by_the_interval_and_not_by_the_value(low: float, high: float, said: str) -> None:
    assert at_least(0.6)(Interval(0.605, low, high)) == said


def test_where_nothing_was_measured_no_target_is_open() -> None:
    nothing = float("nan")
    assert at_least(0.95)(Interval(nothing, nothing, nothing)) == "–"


def test_what_was_not_measured_is_a_dash() -> None:
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    assert text(nothing, ".1%") == "–"
