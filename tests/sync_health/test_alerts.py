"""People are told once of each trouble, not too often a day, and told when it is over."""

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import transaction
from crewflow_assets.store.sync_tables import Alert
from crewflow_assets.store.tables import OutboxCommand
from crewflow_assets.sync_health.alerts import message
from tests.sync_health.watching import (
    COMPANY,
    DAY,
    DETAIL,
    I_3,
    MINUTE,
    NOON,
    TICK,
    add_companies,
    alerts,
    attempt,
    audited,
    commands,
    everything,
    post,
    risk,
    watch,
)

SLOW = {I_3: risk(0.9, "latency")}  # no action is taken: the alerts stand alone


def limit(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setenv("CREWFLOW_ALERTS_PER_DAY", str(number))
    get_settings.cache_clear()


def test_an_alert_is_kept_up_to_date_and_told_once(watched: Engine) -> None:
    watch(NOON, SLOW)
    watch(NOON + TICK, {I_3: risk(0.8, "latency")})
    watch(NOON + 2 * TICK, {})
    [alert] = alerts()
    assert (alert.state, alert.times_seen, alert.failure_probability) == ("open", 2, 0.8)
    assert (alert.opened_at, alert.last_seen_at, alert.told_at) == (NOON, NOON + TICK, NOON)
    assert commands() == ["alert.opened"]
    assert audited() == ["alert.open"]


def test_each_cause_has_its_alert(watched: Engine) -> None:
    watch(NOON, SLOW)
    watch(NOON + TICK, {I_3: risk(0.8, "network")})
    assert [alert.cause for alert in alerts()] == ["latency", "network"]
    assert commands() == ["alert.opened", "alert.opened"]


def test_the_database_holds_one_open_alert_for_each_cause(watched_everywhere: Engine) -> None:
    watch(NOON, SLOW)
    [alert] = alerts()
    columns = {column.name: getattr(alert, column.name) for column in Alert.__table__.columns}
    with pytest.raises(IntegrityError), transaction() as session:
        session.execute(insert(Alert).values({**columns, "id": "a-another"}))
    with transaction() as session:
        session.execute(insert(Alert).values({**columns, "id": "a-another", "state": "resolved"}))


def test_it_is_resolved_after_a_quiet_day_and_comes_anew(watched: Engine) -> None:
    watch(NOON, SLOW)
    post(attempt(NOON + 23 * 60 * MINUTE))
    assert watch(NOON + DAY - TICK, {}).resolved == 0
    report = watch(NOON + DAY, {})
    assert (report.resolved, report.commands) == (1, 1)
    assert alerts()[0].resolved_at == NOON + DAY
    assert commands() == ["alert.opened", "alert.resolved"]
    assert audited() == ["alert.open", "alert.resolve"]
    opened, resolved = everything(OutboxCommand)
    assert opened.record_key == resolved.record_key, "they are told in this order"
    assert resolved.payload["resolved_at"] == (NOON + DAY).isoformat()
    watch(NOON + DAY + TICK, SLOW)
    assert [alert.state for alert in alerts()] == ["resolved", "open"]


def test_beyond_the_limit_a_day_an_alert_waits_on_the_dashboard(
    watched_everywhere: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 2)
    add_companies("c-2")
    keys = [(COMPANY, "i-4"), (COMPANY, "i-5"), ("c-2", "i-4")]
    post(*(attempt(NOON - MINUTE, key=key) for key in keys))
    risks = {key: risk(p, "latency") for key, p in zip([I_3, *keys], (0.75, 0.95, 0.85, 0.8), strict=True)}
    report = watch(NOON, risks)
    assert (report.opened, report.told) == (4, 3)
    untold = [alert for alert in alerts() if alert.told_at is None]
    assert [(alert.company_id, alert.integration_id) for alert in untold] == [I_3], "the least probable waits"
    assert watch(NOON + TICK, risks).told == 0
    post(*(attempt(NOON + DAY - MINUTE, key=key) for key in (I_3, *keys)))
    assert watch(NOON + DAY, risks).told == 1, "a day later there is room for what still goes on"


def test_what_was_not_told_is_not_said_to_be_over(watched: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 0)
    watch(NOON, SLOW)
    assert watch(NOON + DAY, {}).resolved == 1
    assert commands() == []


def test_an_untold_alert_whose_trouble_is_over_stays_untold(watched: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    limit(monkeypatch, 0)
    watch(NOON, SLOW)
    limit(monkeypatch, 5)
    assert watch(NOON + TICK, {}).told == 0


def test_the_sentence_says_what_is_known() -> None:
    assert message("xero", DETAIL, 0.754) == f"The next xero sync will probably fail (75%): {DETAIL}"
    assert message("xero", "will hit its rate limit in about 2 hours", 0.2) == (
        "xero: will hit its rate limit in about 2 hours"
    )
