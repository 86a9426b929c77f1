"""Looks at simulated trials: a winner, harm, a wrong ratio, no difference, and what a look counts."""

from datetime import datetime

import pytest
from sqlalchemy import Engine, func, select, update

from crewflow_assets import clock
from crewflow_assets.experiments import ledger
from crewflow_assets.experiments.analysis import ArmCounts, Comparison, Results
from crewflow_assets.experiments.ledger import Assignment
from crewflow_assets.experiments.looks import decide, look
from crewflow_assets.experiments.views import view
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.experiment_tables import ExperimentLook
from crewflow_assets.store.tables import Prediction
from tests.experiments.trial import BEGAN, DAY, Chance, add_companies, audits, decide_day, start, stored

NAME = "mapping-model-v2"

pytestmark = pytest.mark.usefixtures("sqlite_store")


def look_at(at: datetime) -> ExperimentLook:
    with clock.fixed(at):
        return look(NAME)[1]


def compared(metric: str, reading: str, *, variant: str = "treatment", difference: float = 0.1) -> Comparison:
    return Comparison.model_validate(
        {
            "metric": metric,
            "variant": variant,
            "unit": "share",
            "control": 0.5,
            "treatment": 0.5 + difference,
            "difference": difference,
            "low": difference - 0.05,
            "high": difference + 0.05,
            "reading": reading,
            "companies": 60,
            "outcomes": 600,
        }
    )


def results(*comparisons: Comparison, ratio_ok: bool = True) -> Results:
    names = ["control", *dict.fromkeys(one.variant for one in comparisons)]
    return Results(
        arms=[ArmCounts(variant=name, answered=30, with_outcome=30) for name in names],
        ratio_p_value=1.0 if ratio_ok else 1e-6,
        ratio_ok=ratio_ok,
        comparisons=list(comparisons),
    )


@pytest.mark.parametrize(
    ("found", "over", "overruled", "kind", "arm"),
    [
        (results(compared("a", "open"), compared("b", "better")), False, False, "open", None),
        (results(compared("a", "open"), compared("b", "better")), True, False, "over", None),
        (results(compared("a", "too few companies")), True, False, "over", None),
        (results(compared("a", "better"), compared("b", "open")), False, False, "winner", "treatment"),
        (results(compared("a", "better"), compared("b", "open")), True, False, "winner", "treatment"),
        (results(compared("a", "better"), compared("b", "worse")), False, False, "harm", "treatment"),
        (results(compared("a", "better"), compared("b", "worse")), False, True, "open", None),
        (results(compared("a", "better"), ratio_ok=False), False, False, "ratio", None),
        (results(compared("a", "worse"), ratio_ok=False), False, False, "harm", "treatment"),
        (
            results(compared("a", "better", variant="x"), compared("a", "better", variant="y", difference=0.2)),
            False,
            False,
            "winner",
            "y",
        ),
    ],
)
def test_what_follows(found: Results, over: bool, overruled: bool, kind: str, arm: str | None) -> None:
    verdict = decide(found, over=over, harm_overruled=overruled)
    assert (verdict.kind, verdict.arm) == (kind, arm)
    assert verdict.why


def test_a_better_arm_is_proposed_and_goes_on_until_its_time_is_over() -> None:
    assignment, companies = start(), add_companies(60)
    for day in range(3):
        decide_day(assignment, companies, BEGAN + day * DAY, lambda arm: 0.9 if arm == "treatment" else 0.4)
    taken = look_at(BEGAN + 3 * DAY)
    assert taken.verdict == "winner"
    assert "mapping_accuracy of treatment +0." in taken.why
    row = stored()
    assert (row.state, row.winner) == ("running", "treatment")
    assert [one.action for one in audits()] == ["experiment.start", "experiment.propose"]
    found = Results.model_validate(taken.results)
    assert sum(arm.answered for arm in found.arms) == 60
    [accuracy, acceptance, time] = found.of("treatment")
    assert accuracy.outcomes == acceptance.outcomes == time.outcomes == 60 * 4 * 3
    assert accuracy.control == pytest.approx(0.4, abs=0.08)
    assert accuracy.treatment == pytest.approx(0.9, abs=0.08)
    assert (time.reading, time.unit) == ("open", "minutes")
    assert time.control == pytest.approx(10.0, rel=0.01)
    look_at(BEGAN + 4 * DAY)
    assert len(audits()) == 2, "what is proposed already is not proposed again"
    look_at(BEGAN + 30 * DAY)
    row = stored()
    assert (row.state, row.ended_reason, row.winner) == ("ended", "duration", "treatment")
    count = select(func.count()).select_from(ExperimentLook)
    with reading() as session:
        looks = session.scalar(count)
    look_at(BEGAN + 31 * DAY)
    with reading() as session:
        assert session.scalar(count) == looks == 3, "what has ended is not looked at again"


def test_harm_stops_it_and_a_person_can_overrule() -> None:
    assignment, companies = start(), add_companies(60)
    decide_day(assignment, companies, BEGAN, lambda _: 0.6, minutes=lambda arm: 60.0 if arm == "treatment" else 5.0)
    taken = look_at(BEGAN + DAY)
    assert taken.verdict == "harm"
    assert "setup_time of treatment +1" in taken.why
    assert "worse" in taken.why
    row = stored()
    assert (row.state, row.ended_reason, row.ended_by, row.winner) == ("ended", "harm", "experiments", None)
    with clock.fixed(BEGAN + 2 * DAY), transaction() as session:
        assert ledger.running(session) == []
        ledger.resume(session, NAME, by="lee", why="slower is wanted")
    assert look_at(BEGAN + 3 * DAY).verdict == "open"
    assert stored().state == "running"


def test_a_proposal_is_taken_back_when_harm_shows() -> None:
    assignment, companies = start(), add_companies(60)
    better: Chance = lambda arm: 0.95 if arm == "treatment" else 0.3  # noqa: E731
    decide_day(assignment, companies, BEGAN, better)
    assert look_at(BEGAN + DAY).verdict == "winner"
    for day in (1, 2, 3):
        at = BEGAN + day * DAY
        decide_day(assignment, companies, at, better, minutes=lambda arm: 500.0 if arm == "treatment" else 5.0)
    assert look_at(BEGAN + 4 * DAY).verdict == "harm"
    row = stored()
    assert (row.winner, row.ended_reason) == (None, "harm")


def third_arm() -> Assignment:
    arms = {"control": ("1.0", 30), "treatment": ("1.1", 40), "third": ("1.2", 30)}
    return start(
        variants={name: {"model_version": label, "percentage": percent} for name, (label, percent) in arms.items()}
    )


def test_harm_in_another_arm_leaves_the_proposal() -> None:
    assignment, companies = third_arm(), add_companies(90)
    decide_day(assignment, companies, BEGAN, lambda arm: 0.95 if arm == "treatment" else 0.4)
    assert look_at(BEGAN + DAY).verdict == "winner"
    for day in (1, 2):
        at = BEGAN + day * DAY
        right: Chance = lambda arm: 0.95 if arm == "treatment" else 0.4  # noqa: E731
        decide_day(assignment, companies, at, right, minutes=lambda arm: 500.0 if arm == "third" else 5.0)
    taken = look_at(BEGAN + 3 * DAY)
    assert taken.verdict == "harm"
    assert "treatment" not in taken.why
    row = stored()
    assert (row.winner, row.ended_reason) == ("treatment", "harm")


def test_a_spoilt_proposal_is_taken_back_though_harm_was_overruled() -> None:
    assignment, companies = start(), add_companies(60)
    better: Chance = lambda arm: 0.95 if arm == "treatment" else 0.3  # noqa: E731
    with transaction() as session:
        ledger.find(session, NAME, lock=True).harm_overruled_by = "lee"
    decide_day(assignment, companies, BEGAN, better)
    assert look_at(BEGAN + DAY).verdict == "winner"
    for day in (1, 2, 3):
        at = BEGAN + day * DAY
        decide_day(assignment, companies, at, better, minutes=lambda arm: 500.0 if arm == "treatment" else 5.0)
    taken = look_at(BEGAN + 4 * DAY)
    [accuracy, _, time] = Results.model_validate(taken.results).of("treatment")
    assert (taken.verdict, accuracy.reading, time.reading) == ("open", "better", "worse")
    row = stored()
    assert (row.winner, row.state) == (None, "running")
    last = audits()[-1]
    assert last.action == "experiment.propose"
    assert last.after is not None
    assert last.after["why"].startswith("setup_time of treatment +"), "not that nothing is decided yet"


def test_a_proposal_that_was_spoilt_makes_room_for_another() -> None:
    assignment, companies = third_arm(), add_companies(90)
    with transaction() as session:
        row = ledger.find(session, NAME, lock=True)
        row.harm_overruled_by, row.winner = "lee", "third"
    right: Chance = lambda arm: {"control": 0.4, "treatment": 0.95, "third": 0.05}[arm]  # noqa: E731
    decide_day(assignment, companies, BEGAN, right)
    assert look_at(BEGAN + DAY).verdict == "winner"
    assert stored().winner == "treatment"
    afters = [one.after["winner"] for one in audits()[-2:] if one.after is not None]
    assert afters == [None, "treatment"]


def test_a_wrong_ratio_is_flagged_and_decides_nothing() -> None:
    assignment, companies = start(), add_companies(120)
    lost = [one for one in companies if assignment.arm(one).name == "control"][:45]
    kept = [one for one in companies if one not in lost]
    decide_day(assignment, kept, BEGAN, lambda arm: 0.9 if arm == "treatment" else 0.2)
    taken = look_at(BEGAN + DAY)
    assert taken.verdict == "ratio"
    assert "not as planned" in taken.why
    assert stored().winner is None
    with reading() as session:
        assert view(session, ledger.find(session, NAME))["sample_ratio_ok"] is False


def test_a_ratio_that_was_wrong_once_stays_wrong() -> None:
    assignment, companies = start(), add_companies(120)
    better: Chance = lambda arm: 0.9 if arm == "treatment" else 0.2  # noqa: E731
    late = [one for one in companies if assignment.arm(one).name == "control"][:45]
    decide_day(assignment, [one for one in companies if one not in late], BEGAN, better)
    first = Results.model_validate(look_at(BEGAN + DAY).results)
    decide_day(assignment, late, BEGAN + DAY, better)
    taken = look_at(BEGAN + 2 * DAY)
    second = Results.model_validate(taken.results)
    assert sum(arm.answered for arm in second.arms) == 120, "by now the arms are as planned"
    assert (taken.verdict, second.ratio_ok, second.ratio_p_value) == ("ratio", False, first.ratio_p_value)
    assert stored().winner is None


def test_no_difference_ends_without_a_winner() -> None:
    assignment, companies = start(duration_days=5), add_companies(60)
    for day in range(5):
        decide_day(assignment, companies, BEGAN + day * DAY, lambda _: 0.6)
        assert look_at(BEGAN + day * DAY + DAY / 2).verdict == "open"
    assert look_at(BEGAN + 5 * DAY).verdict == "over"
    row = stored()
    assert (row.state, row.ended_reason, row.winner) == ("ended", "duration", None)


def test_too_few_companies_show_nothing_yet() -> None:
    assignment, companies = start(), add_companies(8)
    decide_day(assignment, companies, BEGAN, lambda arm: float(arm == "treatment"))
    taken = look_at(BEGAN + DAY)
    assert taken.verdict == "open"
    assert {one["reading"] for one in taken.results["comparisons"]} == {"too few companies"}


def test_times_that_differ_wildly_have_bounds_that_can_be_stored() -> None:
    assignment, companies = start(), add_companies(40)
    decide_day(assignment, companies[::2], BEGAN, lambda _: 0.5, minutes=lambda _: 0.02)
    decide_day(assignment, companies[1::2], BEGAN, lambda _: 0.5, minutes=lambda _: 30_000.0)
    [*_, time] = Results.model_validate(look_at(BEGAN + 25 * DAY).results).of("treatment")
    assert time.low is not None
    assert time.high is not None
    assert -1 <= time.low < 0 < time.high < 1e9


def test_before_anyone_asked_there_is_nothing() -> None:
    start()
    taken = look_at(BEGAN + DAY)
    assert taken.verdict == "open"
    assert [arm["answered"] for arm in taken.results["arms"]] == [0, 0]


def test_only_its_own_predictions_count() -> None:
    assignment, companies = start(), add_companies(60)
    decide_day(assignment, companies, BEGAN - DAY, lambda _: 0.0)  # before it began
    decide_day(assignment, companies, BEGAN, lambda _: 1.0)
    foreign = update(Prediction).where(Prediction.created_at >= BEGAN)
    with transaction() as session:
        session.execute(foreign.where(Prediction.company_id == "c-0").values(variant="champion"))
        session.execute(foreign.where(Prediction.company_id == "c-1").values(model_version="0.9"))
        other = "treatment" if assignment.arm("c-2").name == "control" else "control"
        session.execute(foreign.where(Prediction.company_id == "c-2").values(variant=other))
        session.execute(foreign.where(Prediction.company_id == "c-3").values(company_id=None))
    found = Results.model_validate(look_at(BEGAN + DAY).results)
    assert sum(arm.answered for arm in found.arms) == 56
    [accuracy, *_] = found.of("treatment")
    assert (accuracy.control, accuracy.treatment, accuracy.outcomes) == (1.0, 1.0, 56 * 4)


def test_looks_work_on_postgresql_too(postgres_store: Engine) -> None:
    assignment, companies = start(), add_companies(40)
    decide_day(assignment, companies, BEGAN, lambda arm: 0.95 if arm == "treatment" else 0.1)
    assert look_at(BEGAN + DAY).verdict == "winner"
    assert stored().winner == "treatment"
