"""The plot of an experiment's looks: its time axis fits how long it has run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crewflow_assets.experiments import plots
from crewflow_assets.experiments.analysis import Comparison, Results

BEGAN = datetime(2026, 3, 2, tzinfo=UTC)


def results(difference: float | None) -> Results:
    bounds = (None, None) if difference is None else (difference - 0.1, difference + 0.1)
    compared = Comparison(
        metric="mapping_accuracy",
        variant="treatment",
        unit="share",
        control=0.5,
        treatment=0.5,
        difference=difference,
        low=bounds[0],
        high=bounds[1],
        reading="open",
        companies=20,
        outcomes=200,
    )
    return Results(arms=[], ratio_p_value=1.0, ratio_ok=True, comparisons=[compared])


@pytest.mark.parametrize(
    ("last", "unit", "shown"),
    [
        (timedelta(minutes=24), "minutes", [12.0, 24.0]),
        (timedelta(hours=6), "hours", [3.0, 6.0]),
        (timedelta(days=2), "days", [1.0, 2.0]),
    ],
)
def test_the_time_axis_has_the_unit_of_the_experiments_age(
    monkeypatch: pytest.MonkeyPatch, last: timedelta, unit: str, shown: list[float]
) -> None:
    seen: dict[str, Any] = {}

    def drawn(lines: dict[str, Any], **words: str) -> bytes:
        seen.update(words, lines=lines)
        return b"png"

    monkeypatch.setattr(plots, "difference_plot", drawn)
    looks = [(BEGAN + last / 4, results(None)), (BEGAN + last / 2, results(0.1)), (BEGAN + last, results(0.2))]
    assert plots.sequence_plot(looks, "mapping_accuracy", began=BEGAN, title="t") == b"png"
    assert seen["xlabel"] == f"{unit} since the start"
    moments, difference, low, high = seen["lines"]["treatment"]
    assert moments.tolist() == shown
    assert difference.tolist() == [0.1, 0.2]
    assert (low < difference).all()
    assert (difference < high).all()


def test_nothing_is_plotted_before_there_is_a_number() -> None:
    assert plots.sequence_plot([(BEGAN, results(None))], "mapping_accuracy", began=BEGAN, title="t") is None
    assert plots.sequence_plot([], "mapping_accuracy", began=BEGAN, title="t") is None
