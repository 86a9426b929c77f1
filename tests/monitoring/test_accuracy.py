"""Accuracy in production: weights, coverage, intervals by company, and the parts it is shown by."""

import gc
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import cluster_mean
from crewflow_assets.monitoring import report
from crewflow_assets.monitoring.accuracy import Accuracy, Tally, add_to, as_table, monday
from crewflow_assets.monitoring.hook import Basis, Logged
from crewflow_assets.monitoring.looks import SHOWN_WEEKS
from crewflow_assets.monitoring.outcomes import Outcome, join, predictions_of
from crewflow_assets.monitoring.report import accuracy_report
from crewflow_assets.store.database import reading
from tests.monitoring.logs import MONDAY, TOY, WEEK, add_companies, log, toy_weeks


def outcome(*, right: bool, basis: Basis = "decided", weight: float = 1.0, **changes: Any) -> Outcome:
    known: dict[str, Any] = {
        "prediction_id": "p-1",
        "company_id": "c-1",
        "model_version": "1.0",
        "variant": "champion",
        "created_at": MONDAY,
        "known_at": MONDAY,
        "said": 0.8,
        "outcome": "",
        "actual": float(right),
    }
    return Outcome(right=right, basis=basis, weight=weight, **(known | changes))


def accuracy(found: Sequence[Outcome], predictions: int, *, numbers: bool = False) -> Accuracy:
    tally = Tally(numbers=numbers)
    tally.predictions = predictions
    for one in found:
        tally.add(one)
    return tally.accuracy()


def test_withheld_decisions_stand_for_the_automatic_ones() -> None:
    blind = [outcome(right=right, basis="blind", weight=20.0) for right in (True, True, True, False)]
    asked = [outcome(right=False) for _ in range(20)]
    found = accuracy(blind + asked, 200)
    assert found.right.value == pytest.approx(60 / 100)
    assert found.basis == "blind, decided"
    assert found.coverage == 24 / 200


def test_what_someone_chose_to_review_is_counted_and_not_averaged() -> None:
    reviewed = [outcome(right=False, basis="reviewed", weight=0.0) for _ in range(5)]
    found = accuracy([outcome(right=True), *reviewed], 10)
    assert (found.right.value, found.right.n, found.reviewed, found.reviewed_right) == (1.0, 1, 5, 0)


def test_reviews_alone_are_better_than_nothing_and_say_so() -> None:
    found = accuracy([outcome(right=right, basis="reviewed", weight=0.0) for right in (True, False)], 10)
    assert (found.right.value, found.basis) == (0.5, "reviewed")


def test_without_outcomes_nothing_is_claimed() -> None:
    found = accuracy([], 10)
    assert (found.right.value, found.brier.value, found.ece.value, found.coverage) == (None, None, None, 0.0)
    assert accuracy([], 0).coverage == 0.0


def test_intervals_are_by_company() -> None:
    many = [outcome(right=n < 30, company_id=f"c-{n // 10}") for n in range(60)]
    alone = [outcome(right=n < 30, company_id="c-1") for n in range(60)]
    wide = accuracy(many, 60).right
    assert wide.low is not None
    assert wide.high is not None
    assert wide.high - wide.low > 0.5, "companies are all right or all wrong"
    assert accuracy(alone, 60).right.low is None, "one company has no interval"


def test_a_weighted_mean_equals_that_of_repeated_rows() -> None:
    scores, clusters = np.array([1.0, 0.0, 1.0]), np.array(["a", "b", "c"], object)
    weighted = cluster_mean(scores, clusters, weights=np.array([3.0, 1.0, 2.0]))
    repeated = cluster_mean(np.repeat(scores, [3, 1, 2]), np.repeat(clusters, [3, 1, 2]))
    assert weighted == repeated


def test_the_calibration_error_of_an_honest_model_is_small_and_of_a_boaster_large() -> None:
    random = np.random.default_rng(0)
    said = random.uniform(0.5, 1, 4000)
    happened = random.random(4000) < said
    honest = [outcome(right=bool(h), said=float(s)) for s, h in zip(said, happened, strict=True)]
    boasting = [outcome(right=bool(h), said=0.99) for h in happened]
    assert (accuracy(honest, 4000).ece.value or 1) < 0.03
    assert (accuracy(boasting, 4000).ece.value or 0) > 0.2


def test_numbers_have_an_error_and_no_calibration() -> None:
    found = accuracy([outcome(right=True, said=90.0, actual=87.0) for _ in range(60)], 60, numbers=True)
    assert (found.brier.value, found.ece.value) == (9.0, None)


def test_weeks_begin_on_mondays() -> None:
    assert {monday(MONDAY + timedelta(days=n)) for n in range(7)} == {MONDAY.date()}


@pytest.fixture
def logged(sqlite_store: Engine) -> None:
    add_companies(f"c-{n}" for n in range(12))
    log(*toy_weeks(4), *toy_weeks(1, first=4, wrong=0.3))


def test_parts_have_their_own_predictions_and_outcomes(logged: None) -> None:
    with reading() as session:
        read = predictions_of(session, TOY, MONDAY, MONDAY + 5 * WEEK)
        known = join(session, TOY, read)
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    add_to(tallies, "week", read, known)
    parts = {name: one.accuracy() for name, one in tallies.items()}
    assert len(parts) == 5
    assert sum(one.predictions for one in parts.values()) == len(read)
    rights = [one.right.value or 0 for one in parts.values()]
    assert rights[-1] < min(rights[:-1])
    for name, part in parts.items():
        inside = [one for one in known if monday(one.created_at).isoformat() == name]
        assert part == accuracy(inside, len(inside))
    table = as_table(parts, "week")
    assert table["week"].tolist() == sorted(table["week"])
    assert (table["coverage"] == 1.0).all()


@pytest.mark.parametrize("blind", [1.0, 20.0])
def test_what_is_added_up_equals_what_rows_give(blind: float) -> None:
    """Rows stand for several others each, companies differ in size, and some say nothing."""
    random = np.random.default_rng(1)
    rows = [
        outcome(
            right=bool(random.random() < 0.7),
            company_id=None if n % 11 == 0 else f"c-{n % 7}",
            said=None if n % 13 == 0 else round(float(random.uniform()), 3),
            weight=(blind, 1.0, 2.4)[n % 3],
        )
        for n in range(400)
    ]
    found = accuracy(rows, 400)
    weights = np.array([one.weight for one in rows])
    clusters = np.array([one.company_id or "-" for one in rows], object)
    mean = cluster_mean(np.array([one.right for one in rows], float), clusters, weights=weights)
    assert (found.right.value, found.right.low, found.right.high) == pytest.approx((mean.value, mean.low, mean.high))
    told = [one for one in rows if one.said is not None]
    said, actual = (np.array([getattr(one, name) for one in told], float) for name in ("said", "actual"))
    times = np.maximum(np.rint([one.weight for one in told]), 1).astype(int)
    error = expected_calibration_error(np.repeat(said, times), np.repeat(actual, times))
    assert found.ece.value == pytest.approx(error)
    assert (found.ece.n, found.brier.n, found.right.n) == (len(told), len(told), 400)
    squares = np.average((said - actual) ** 2, weights=[one.weight for one in told])
    assert found.brier.value == pytest.approx(float(squares))


def test_the_report_shows_weeks_versions_and_reliability(logged: None) -> None:
    with reading() as session:
        found = accuracy_report(session, TOY, MONDAY + 5 * WEEK)
        empty = accuracy_report(session, TOY, MONDAY - 10 * WEEK)
    assert found.figure("coverage").value == 1.0
    assert set(found.plots) == {"right_by_week", "reliability"}
    assert len(found.tables["by_week"]) == 5
    assert found.tables["by_version"]["version, variant"].tolist() == ["1.0, champion"]
    assert empty.figure("right").value is None
    assert empty.plots == {}


def test_the_report_holds_one_week_at_a_time(logged: None, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def alive() -> int:
        gc.collect()
        return sum(type(one) in (Logged, Outcome) for one in gc.get_objects())  # no isinstance: it asks lazy objects

    def watched(*args: Any) -> list[Logged]:
        held.append(alive() - before)
        return predictions_of(*args)

    before = alive()
    monkeypatch.setattr(report, "predictions_of", watched)
    with reading() as session:
        found = accuracy_report(session, TOY, MONDAY + 5 * WEEK)
    assert found.figure("right").n > 200
    assert held == [0] * SHOWN_WEEKS
