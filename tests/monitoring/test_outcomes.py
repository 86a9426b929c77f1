"""Outcomes: what is joined to which prediction, with which weight, and what is refused."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from crewflow_assets.conflict_resolution.model_spec import CONFLICT_RESOLUTION
from crewflow_assets.contract import new_prediction_id
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import InvalidInputError
from crewflow_assets.handlers import EVENT_HANDLERS
from crewflow_assets.integration_health.model_spec import INTEGRATION_HEALTH_FORECAST
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.monitoring.outcomes import Outcome, outcomes, predictions_of
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.sync_tables import HealthScore, SyncAction
from crewflow_assets.sync_health.model_spec import SYNC_HEALTH
from tests.monitoring.logs import MONDAY, TOY, add_companies, log, post, row

HOUR = timedelta(hours=1)
SUGGESTED = {"target_code": "50100", "target_name": "Labor", "confidence": 0.9, "reason": "", "auto_map": False}
CODE = {"crewflow_cost_code": "E-1", "cost_code_name": "Rough", "company_industry": "x", "target_system": "sage"}


def found(spec: ModelSpec) -> dict[str, Outcome]:
    with reading() as session:
        return {one.prediction_id: one for one in outcomes(session, spec, MONDAY, MONDAY + timedelta(days=30))}


def suggestion(prediction_id: str = "p-1", *, automatic: bool = False, **changes: Any) -> dict[str, Any]:
    output = {"suggestions": [SUGGESTED | {"auto_map": automatic}], "method": "model" if automatic else "ask"}
    return row(prediction_id, "cost_code_mapping", MONDAY, inputs=CODE, output=output, **changes)


def decision(target: str | None, hour: int, *, before: timedelta = timedelta(0), **changes: Any) -> None:
    payload = {
        "system": "sage",
        "source_code": "E-1",
        "action": "accept",
        "target_code": target,
        "decided_by": "dana",
    } | changes
    post("mapping_decision", payload, MONDAY + hour * HOUR - before)


@pytest.fixture
def companies(store: Engine) -> None:
    add_companies(["c-1", "c-2"])


def test_a_decision_judges_the_prediction_that_it_names(companies: None) -> None:
    log(suggestion("p-right"), suggestion("p-wrong"), suggestion("p-silent"))
    decision("50100", 1, prediction_id="p-right")
    decision("60000", 2, prediction_id="p-wrong", action="correct")
    known = found(COST_CODE_MAPPING)
    assert set(known) == {"p-right", "p-wrong"}, "silence is no outcome"
    assert known["p-right"].right
    assert not known["p-wrong"].right
    assert (known["p-right"].said, known["p-right"].actual, known["p-right"].weight) == (0.9, 1.0, 1.0)
    assert known["p-right"].known_at == MONDAY + HOUR


def test_a_withheld_mapping_stands_for_those_that_were_not(companies: None) -> None:
    log(suggestion(withheld=True, propensity=0.05))
    decision("50100", 1, prediction_id="p-1", blind=True)
    assert (found(COST_CODE_MAPPING)["p-1"].basis, found(COST_CODE_MAPPING)["p-1"].weight) == ("blind", 20.0)


def test_an_automatic_mapping_is_judged_by_who_looks_and_weighs_nothing(companies: None) -> None:
    log(suggestion("p-auto", automatic=True), suggestion("p-quiet", automatic=True))
    decision("50100", 1, prediction_id="p-auto", method="model", decided_by="platform")
    assert found(COST_CODE_MAPPING) == {}
    decision("60000", 2, action="correct")
    known = found(COST_CODE_MAPPING)
    assert (known["p-auto"].right, known["p-auto"].basis, known["p-auto"].weight) == (False, "reviewed", 0.0)


def test_what_a_person_takes_back_judges_no_more(companies: None) -> None:
    log(suggestion())
    decision("50100", 1, prediction_id="p-1")
    decision(None, 2, action="undo")
    assert found(COST_CODE_MAPPING) == {}


def test_a_refusal_by_the_other_side_judges_nobody(companies: None) -> None:
    log(suggestion(automatic=True))
    decision("50100", 1, prediction_id="p-1", method="model", decided_by="platform")
    decision(None, 2, action="undo", decided_by="outbox")
    assert found(COST_CODE_MAPPING) == {}


@pytest.mark.parametrize("earlier", [False, True])
def test_a_mapping_is_judged_by_a_caller_with_a_slow_clock_too(companies: None, earlier: bool) -> None:
    log(suggestion() | {"created_at": MONDAY + 2 * HOUR})
    if earlier:
        log(suggestion("p-0"))
    decision("60000", 1)  # earlier still, and of no prediction: it judges none
    decision("50100", 2, prediction_id="p-1", before=timedelta(seconds=90))
    assert found(COST_CODE_MAPPING)["p-1"].right
    assert "p-0" not in found(COST_CODE_MAPPING)


def test_another_companys_decision_is_not_joined(companies: None) -> None:
    log(suggestion(company_id="c-2"))
    decision("50100", 1, prediction_id="p-1")
    assert found(COST_CODE_MAPPING) == {}


@pytest.mark.parametrize("automatic", [False, True])
@pytest.mark.parametrize("other", [{"source_code": "E-2"}, {"system": "xero"}, {"kind": "project"}])
def test_a_decision_on_one_item_judges_no_prediction_of_another(
    companies: None, automatic: bool, other: dict[str, Any]
) -> None:
    log(suggestion(automatic=automatic))
    if automatic:
        decision("50100", 1, prediction_id="p-1", method="model", decided_by="platform", **other)
        decision("60000", 2, action="correct", **other)
    else:
        decision("50100", 1, prediction_id="p-1", **other)
    assert found(COST_CODE_MAPPING) == {}
    decision("50100", 3, prediction_id="p-1")
    assert found(COST_CODE_MAPPING)["p-1"].right, "that of its own item still counts"


@pytest.mark.parametrize("kind", ["cost_code", "project"])
def test_a_prediction_judged_by_its_own_item_may_name_the_kind(companies: None, kind: str) -> None:
    log(suggestion() | {"inputs": CODE | {"kind": kind}})
    decision("50100", 1, prediction_id="p-1", kind=kind)
    assert found(COST_CODE_MAPPING)["p-1"].right


def risk(prediction_id: str, probability: float, **changes: Any) -> dict[str, Any]:
    output = {"failure_probability": probability, "status": "at_risk" if probability > 0.7 else "healthy"}
    inputs = {"integration_id": "i-3", "company_id": "c-1"}
    return row(prediction_id, "sync_health", MONDAY, inputs=inputs, output=output, **changes)


def attempt(hour: int, *, ok: bool, integration: str = "i-3", company: str = "c-1") -> None:
    payload = {"integration_id": integration, "system": "sage", "ok": ok}
    post("sync_attempt", payload, MONDAY + hour * HOUR, company=company)


def action(state: str, hour: int) -> None:
    at = MONDAY + hour * HOUR
    with transaction() as session:
        session.add(
            SyncAction(
                id=f"act-{state}",
                company_id="c-1",
                integration_id="i-3",
                action="pause",
                cause="api_down",
                state=state,
                automatic=True,
                detail="",
                decided_by="sync_health",
                decided_at=at,
                until=at + timedelta(hours=6),
                propensity=0.05,
            )
        )


def test_the_next_sync_judges_a_foreseen_failure(companies: None) -> None:
    log(risk("p-1", 0.9))
    attempt(-1, ok=True)
    attempt(1, ok=False, integration="i-4")
    attempt(1, ok=True, company="c-2")
    assert found(SYNC_HEALTH) == {}, "no sync of this integration since"
    attempt(2, ok=False)
    attempt(3, ok=True)
    known = found(SYNC_HEALTH)["p-1"]
    assert (known.right, known.actual, known.outcome, known.weight) == (True, 1.0, "failed", 1.0)


def test_a_sync_under_an_action_says_nothing_and_a_withheld_one_says_it_for_twenty(companies: None) -> None:
    log(risk("p-1", 0.9))
    attempt(2, ok=True)
    action("withheld", 0)
    assert found(SYNC_HEALTH)["p-1"].weight == 20.0
    action("in_force", 1)
    assert found(SYNC_HEALTH)["p-1"].weight == 0.0


def test_an_integration_that_stopped_syncing_has_no_outcome(companies: None) -> None:
    log(risk("p-1", 0.9))
    attempt(25, ok=False)
    assert found(SYNC_HEALTH) == {}


def forecast(model: str = "integration_health_forecast") -> dict[str, Any]:
    output = {"score_7d": 91.0, "interval_80": [86.0, 95.0], "trend": "stable", "current_score": 90.0, "as_of": None}
    return row("p-1", model, MONDAY, inputs={"integration_id": "i-3"}, output=output)


def test_a_forecast_is_judged_by_the_score_seven_days_later(companies: None) -> None:
    log(forecast())
    scored = {"total_syncs": 1, "successful_syncs": 1, "error_count": 0, "conflicts": 0, "duplicates": 0}
    with transaction() as session:
        for days, overall in ((6, 50.0), (7, 87.0), (8, 60.0)):
            day = (MONDAY + timedelta(days=days)).date()
            session.add(HealthScore(company_id="c-1", integration_id="i-3", day=day, overall=overall, **scored))
    known = found(INTEGRATION_HEALTH_FORECAST)["p-1"]
    assert (known.actual, known.right) == (87.0, True)


def recommendation(**changes: Any) -> dict[str, Any]:
    output = {"recommended_resolution": {"action": "use_crewflow"}, "confidence": 0.8, "auto_resolve": False}
    return row("p-1", "conflict_resolution", MONDAY, output=output, **changes)


def report(outcome: str, *, prediction: str = "p-1", company: str = "c-1") -> None:
    payload = {"prediction_id": prediction, "outcome": outcome}
    post("prediction_outcome", payload, MONDAY + 5 * HOUR, company=company, handlers=EVENT_HANDLERS)


@pytest.mark.parametrize(("word", "right"), [("accepted", True), ("wrong", False), ("use_crewflow", True)])
def test_callers_may_say_what_became_of_a_prediction(companies: None, word: str, right: bool) -> None:
    log(recommendation())
    report(word)
    known = found(CONFLICT_RESOLUTION)["p-1"]
    assert (known.right, known.basis, known.outcome) == (right, "reported", word)


@pytest.mark.parametrize("earlier", [False, True])
def test_what_a_caller_with_a_slow_clock_says_counts_whichever_predictions_are_read_with_it(
    companies: None, earlier: bool
) -> None:
    log(recommendation() | {"created_at": MONDAY + HOUR})
    if earlier:
        log(recommendation() | {"id": "p-0"})
    payload = {"prediction_id": "p-1", "outcome": "accepted"}
    post("prediction_outcome", payload, MONDAY + HOUR - timedelta(seconds=90), handlers=EVENT_HANDLERS)
    assert found(CONFLICT_RESOLUTION)["p-1"].right


def test_what_is_posted_changes_what_happened_and_not_what_it_weighs(companies: None) -> None:
    log(risk("p-1", 0.9))
    attempt(2, ok=False)
    action("in_force", 1)
    report("succeeded")
    known = found(SYNC_HEALTH)["p-1"]
    assert (known.actual, known.right, known.outcome) == (0.0, False, "succeeded")
    assert (known.basis, known.weight, known.known_at) == ("observed", 0.0, MONDAY + 2 * HOUR)


def changed(logged: dict[str, Any], **said: Any) -> dict[str, Any]:
    return logged | {"output": logged["output"] | said}


def test_who_reports_of_an_automatic_decision_chose_to_look(companies: None) -> None:
    log(
        suggestion("p-auto", automatic=True),
        suggestion("p-blind", withheld=True, propensity=0.05),
        changed(recommendation(id="p-resolved"), auto_resolve=True),
        changed(risk("p-paused", 0.9), actions=[{"action": "pause", "automatic": True}]),
        changed(risk("p-watched", 0.9), action="pause"),
    )
    report("accepted", prediction="p-auto")
    report("accepted", prediction="p-blind")
    report("accepted", prediction="p-resolved")
    report("succeeded", prediction="p-paused")
    report("succeeded", prediction="p-watched")
    known = found(COST_CODE_MAPPING) | found(CONFLICT_RESOLUTION) | found(SYNC_HEALTH)
    assert {one.prediction_id: (one.basis, one.weight) for one in known.values()} == {
        "p-auto": ("reviewed", 0.0),
        "p-blind": ("blind", 20.0),
        "p-resolved": ("reviewed", 0.0),
        "p-paused": ("reviewed", 0.0),
        "p-watched": ("reviewed", 0.0),
    }


def test_words_without_meaning_and_other_companies_predictions_are_refused(companies: None) -> None:
    log(recommendation())
    with pytest.raises(InvalidInputError) as refused:
        report("splendid")
    assert "'use_crewflow'" in refused.value.problems[0].msg
    with pytest.raises(InvalidInputError) as refused:
        report("right", company="c-2")
    assert refused.value.problems[0].loc == ("events", 0, "payload", "prediction_id")
    assert found(CONFLICT_RESOLUTION) == {}


def test_an_outcome_may_come_before_its_prediction_is_in_the_log(companies: None) -> None:
    report("right")
    log(recommendation())
    assert found(CONFLICT_RESOLUTION)["p-1"].right


def test_an_early_outcome_of_another_company_is_never_joined(companies: None) -> None:
    report("right", company="c-2")
    log(recommendation())
    assert found(CONFLICT_RESOLUTION) == {}


def test_predictions_of_the_time_alone_are_read_and_of_many_a_sample(companies: None) -> None:
    log(*(row(f"p-{n}", "toy", MONDAY + n * HOUR) for n in range(10)), row("p-x", "other", MONDAY))
    with reading() as session:
        read = predictions_of(session, TOY, MONDAY + HOUR, MONDAY + 5 * HOUR)
        some = predictions_of(session, TOY, MONDAY, MONDAY + 20 * HOUR, most=3)
    assert [one.id for one in read] == ["p-1", "p-2", "p-3", "p-4"]
    assert len(some) == 3


def test_a_sample_is_of_the_whole_time(companies: None) -> None:
    moments = [MONDAY + n * HOUR for n in range(168) for _ in range(5)]
    log(*(row(new_prediction_id(at), "toy", at) for at in moments))
    with reading() as session:
        some = predictions_of(session, TOY, MONDAY, MONDAY + 168 * HOUR, most=150)
    assert len(some) == 150
    assert {one.created_at.date() for one in some} == {at.date() for at in moments}


def test_every_model_says_how_it_is_judged_and_what_it_cannot_do() -> None:
    for spec in MODEL_SPECS:
        assert spec.monitored is not None, spec.name
        assert spec.limits, spec.name
        judge = spec.monitored()
        assert judge.right_means
        assert judge.outcome_words
