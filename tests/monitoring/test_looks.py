"""The weekly looks: which weeks, against what, what is kept, and alerts by the rule of one a cause."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from crewflow_assets import clock
from crewflow_assets.handlers import REFUSAL_HANDLERS
from crewflow_assets.monitoring import alerts
from crewflow_assets.monitoring.looks import ASPECTS, Champion, keep, look, looks_due, looks_of
from crewflow_assets.monitoring.report import drift_plot, drift_table
from crewflow_assets.outbox import queue
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.monitoring_tables import DriftLook, ModelAlert
from crewflow_assets.store.tables import AuditEntry, OutboxCommand
from tests.monitoring.logs import MONDAY, TOY, WEEK, add_companies, log, toy_weeks

LAST = 12
NOW = MONDAY + (LAST + 1) * WEEK + timedelta(hours=5)
CHAMPION = Champion("1.0", MONDAY + LAST * WEEK)


@pytest.fixture
def history(sqlite_store: Engine) -> None:
    """Twelve weeks in which nothing drifts."""
    add_companies(f"c-{n}" for n in range(12))
    log(*toy_weeks(LAST))


def look_at(week: int) -> dict[str, DriftLook]:
    with reading() as session:
        found = look(session, TOY, (MONDAY + week * WEEK).date(), CHAMPION, NOW)
    with transaction() as session:
        keep(session, found)
    return {one.aspect: one for one in found}


def model_alerts() -> list[ModelAlert]:
    with reading() as session:
        return list(session.scalars(select(ModelAlert).order_by(ModelAlert.id)))


def test_a_week_like_those_before_passes(history: None) -> None:
    log(*toy_weeks(1, first=LAST))
    found = look_at(LAST)
    assert {aspect: one.drifted for aspect, one in found.items()} == dict.fromkeys(ASPECTS, False)
    assert all(one.p_value is not None for one in found.values())
    assert model_alerts() == []


def test_drift_is_told_by_aspect_and_kept(history: None) -> None:
    log(*toy_weeks(1, first=LAST, size=3.0, wrong=0.4))
    found = look_at(LAST)
    assert {aspect: one.drifted for aspect, one in found.items()} == {
        "inputs": True,
        "predictions": False,
        "calibration": True,
    }
    assert "size is" in found["inputs"].said
    assert found["inputs"].parts[0]["group"] == "size"
    assert {one.cause for one in model_alerts()} == {"inputs drift", "calibration drift"}
    with reading() as session:
        kept = looks_of(session, TOY, MONDAY.date())
        audit = session.scalars(select(AuditEntry.action).where(AuditEntry.subject_id == "toy")).all()
        assert drift_plot(TOY, kept) is not None
        assert len(drift_table(kept)) == 3
    assert list(audit) == ["model_alert.opened"] * 2


def test_answers_are_the_champions_and_their_versions_are_named(sqlite_store: Engine) -> None:
    add_companies(f"c-{n}" for n in range(12))
    log(
        *toy_weeks(LAST),
        *(one | {"model_version": "1.4"} for one in toy_weeks(1, first=LAST)),
        *(
            one | {"variant": "challenger", "model_version": "2.0", "output": {"said": 0.99}}
            for one in toy_weeks(1, first=LAST, seed=1, size=3.0)
        ),
    )
    found = look_at(LAST)
    assert found["inputs"].rows > found["predictions"].rows, "what is asked does not depend on who answers"
    assert found["inputs"].drifted
    assert (found["predictions"].drifted, found["calibration"].drifted) == (False, False)
    for aspect in ("predictions", "calibration"):
        assert "answered by 1.4 and before by 1.0" in found[aspect].said
    assert "answered" not in found["inputs"].said


def test_an_alert_is_opened_once_kept_up_and_resolved_after_quiet_weeks(history: None) -> None:
    log(*toy_weeks(2, first=LAST, size=3.0), *toy_weeks(5, first=LAST + 2))
    look_at(LAST)
    look_at(LAST + 1)
    [alert] = model_alerts()
    assert (alert.times_seen, alert.state, alert.opened_at) == (2, "open", MONDAY + (LAST + 1) * WEEK)
    look_at(LAST + 1)
    assert model_alerts()[0].times_seen == 2, "a look that is repeated adds nothing"
    for week in range(LAST + 2, LAST + 5):
        look_at(week)
        assert model_alerts()[0].state == "open"
    look_at(LAST + 5)
    [alert] = model_alerts()
    assert (alert.state, alert.resolved_at) == ("resolved", MONDAY + (LAST + 6) * WEEK)


def commands() -> list[OutboxCommand]:
    with reading() as session:
        return list(session.scalars(select(OutboxCommand).order_by(OutboxCommand.id)))


def test_each_step_of_an_alert_leaves_through_the_outbox_once(store: Engine) -> None:
    def seen(detail: str, at: datetime) -> None:
        with transaction() as session:
            alerts.note(session, "toy", "inputs drift", detail, at)
            alerts.resolve_quiet(session, "toy", at)

    seen("size is 9", MONDAY)
    seen("size is 9", MONDAY)  # the same week, looked at again
    seen("size is 8", MONDAY + WEEK)
    for _ in range(2):
        with transaction() as session:
            alerts.resolve_quiet(session, "toy", MONDAY + 5 * WEEK)
    sent = commands()
    assert [(one.command, one.payload["detail"], one.payload["times_seen"]) for one in sent] == [
        ("model_alert.opened", "size is 9", 1),
        ("model_alert.updated", "size is 8", 2),
        ("model_alert.resolved", "size is 8", 2),
    ]
    assert {(one.company_id, one.record_key) for one in sent} == {
        (None, f"model_alert/{sent[0].payload['alert_id']}")
    }
    assert [one.payload["resolved_at"] for one in sent] == [None, None, (MONDAY + 5 * WEEK).isoformat()]
    with reading() as session:
        audit = list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))
    assert [row.action for row in audit] == [one.command for one in sent]
    assert [row.before and row.before["detail"] for row in audit] == [None, "size is 9", "size is 8"]


def test_a_refused_alert_is_noted_and_stays(store: Engine) -> None:
    with transaction() as session:
        alerts.note(session, "toy", "inputs drift", "size is 9", MONDAY)
    claimed = queue.claim(clock.now())
    assert claimed is not None
    assert queue.mark_refused(claimed, "HTTP 410 Gone", REFUSAL_HANDLERS[claimed.command])
    with reading() as session:
        last = list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))[-1]
    assert (last.action, last.after and last.after["reason"]) == ("model_alert.refused", "HTTP 410 Gone")
    assert [one.state for one in model_alerts()] == ["open"]


def test_a_new_spell_is_a_new_alert(store: Engine) -> None:
    with transaction() as session:
        alerts.note(session, "toy", "inputs drift", "first", MONDAY)
        alerts.note(session, "toy", "inputs drift", "again", MONDAY + WEEK)
        alerts.note(session, "toy", "calibration drift", "another cause", MONDAY)
    with transaction() as session:
        assert len(alerts.resolve_quiet(session, "toy", MONDAY + 4 * WEEK)) == 1, "the other was seen a week later"
        alerts.note(session, "toy", "calibration drift", "back", MONDAY + 5 * WEEK)
    assert [(one.cause, one.state) for one in model_alerts()] == [
        ("inputs drift", "open"),
        ("calibration drift", "resolved"),
        ("calibration drift", "open"),
    ]


def test_complete_weeks_are_looked_at_once(history: None) -> None:
    with reading() as session:
        due = looks_due(session, TOY, NOW)
    assert list(due) == [(MONDAY + n * WEEK).date() for n in range(LAST + 1)], "the week of NOW is not over"
    last = (MONDAY + LAST * WEEK).date()
    assert due.pop(last) == ["inputs", "predictions"], "outcomes of the last week are still to come"
    assert all(aspects == list(ASPECTS) for aspects in due.values())
    look_at(3)
    with reading() as session:
        assert (MONDAY + 3 * WEEK).date() not in looks_due(session, TOY, NOW)
        assert looks_due(session, TOY, NOW + WEEK)[last] == list(ASPECTS)


def test_the_first_weeks_have_nothing_to_be_compared_with(history: None) -> None:
    found = look_at(0)
    assert {one.p_value for one in found.values()} == {None}
    assert "too little" in found["inputs"].said
    assert drift_plot(TOY, list(found.values())) is None


def test_the_reference_is_what_the_champion_knew(history: None) -> None:
    log(*toy_weeks(6, first=LAST, size=3.0))
    found = look_at(LAST + 5)
    assert found["inputs"].reference_ends == (MONDAY + LAST * WEEK).date()
    assert found["inputs"].drifted, "weeks that drifted after its data ended are no reference"
