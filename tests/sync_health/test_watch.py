"""The watch: what a tick does, that it does it once, and how actions end."""

from collections.abc import Sequence
from datetime import datetime

import pytest
from sqlalchemy import Engine

from crewflow_assets.errors import ConflictError
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading
from crewflow_assets.store.sync_tables import SyncRisk
from crewflow_assets.store.tables import AuditEntry, OutboxCommand, Prediction
from crewflow_assets.sync_health import watch as watching
from crewflow_assets.sync_health.contract import RateLimitForecast
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.ledger import situations_of
from crewflow_assets.sync_health.policy import recommended
from crewflow_assets.sync_health.watch import Scored, TickReport
from tests.sync_health.watching import (
    COMPANY,
    DAY,
    DETAIL,
    HEALTHY,
    I_3,
    MINUTE,
    NOON,
    TICK,
    actions,
    add_companies,
    alerts,
    attempt,
    audited,
    commands,
    everything,
    forecast,
    integration,
    post,
    risk,
    watch,
)

DOWN = {I_3: risk(0.9, "api_down")}


def withhold(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", str(share))
    get_settings.cache_clear()


def test_without_integrations_a_tick_does_nothing(store: Engine) -> None:
    assert watch(NOON, {}) == TickReport()


def test_a_healthy_integration_is_scored_and_left_alone(watched: Engine) -> None:
    report = watch(NOON, {})
    assert (report.integrations, report.at_risk, report.actions, report.commands) == (1, 0, 0, 0)
    [found] = everything(SyncRisk)
    assert (found.failure_probability, found.assessed_at, found.horizon_minutes) == (0.1, NOON, 60)
    assert commands() == audited() == []


def test_who_is_asked_before_a_grant_ends_is_asked_until_it_is_renewed(watched: Engine) -> None:
    post(attempt(NOON - MINUTE, grant_expires_in_seconds=2 * 86_400))
    assert watch(NOON, {}).actions == 1
    [action] = actions()
    assert (action.action, action.cause, action.state) == ("reauthorise", "auth", "in_force")
    assert integration().needs_authorisation
    post(attempt(NOON + TICK, grant_expires_in_seconds=2 * 86_400 - 900))
    report = watch(NOON + 2 * TICK, {})
    assert (report.actions, report.ended, report.told) == (0, 0, 0)  # syncs go on, but it will end
    post(attempt(NOON + 3 * TICK, grant_expires_in_seconds=100 * 86_400))
    assert watch(NOON + 4 * TICK, {}).ended == 1
    assert actions()[0].state == "done"
    assert not integration().needs_authorisation


def test_a_sync_waits_until_the_calls_begin_anew_even_where_it_was_slowed(watched: Engine) -> None:
    limited = risk(0.9, "rate_limit")
    watch(NOON, {I_3: limited})
    out = RateLimitForecast(
        minutes=0, low_minutes=0, high_minutes=0, probability=1, reset_minutes=200, reset_stated=True
    )
    for _ in range(2):
        watch(NOON + TICK, {I_3: risk(0.9, "rate_limit", forecast=out)})
    assert [(a.state, a.until, a.interval_minutes) for a in actions()] == [
        ("superseded", NOON + 120 * MINUTE, 30),
        ("in_force", NOON + 215 * MINUTE, 220),
    ]
    assert commands().count("sync.slow_down") == 2


def test_an_api_that_is_down_pauses_the_sync_in_one_transaction_with_all_that_tells_of_it(
    watched_everywhere: Engine,
) -> None:
    report = watch(NOON, DOWN)
    assert (report.at_risk, report.actions, report.opened, report.told, report.commands) == (1, 1, 1, 1, 2)
    assert (integration().state, integration().state_until) == ("paused", NOON + 60 * MINUTE)
    [action] = actions()
    assert (action.action, action.cause, action.state, action.automatic) == ("pause", "api_down", "in_force", True)
    assert integration().action_id == action.id
    pause, alert = everything(OutboxCommand)
    assert (pause.command, pause.record_key, pause.idempotency_key) == (
        "sync.pause",
        "integration/i-3",
        action.command_key,
    )
    assert pause.payload["until"] == (NOON + 60 * MINUTE).isoformat()
    assert pause.payload["usual_interval_minutes"] == 15
    assert alert.command == "alert.opened"
    assert alert.payload["message"] == f"The next quickbooks sync will probably fail (90%): {DETAIL}"
    assert [one["action_id"] for one in alert.payload["actions"]] == [action.id]
    taken, opened = everything(AuditEntry)
    assert (taken.action, taken.actor, taken.method, taken.confidence) == ("sync.pause", "sync_health", "model", 0.9)
    assert taken.before is not None
    assert taken.before["state"] == "active"
    assert opened.action == "alert.open"
    [prediction] = everything(Prediction)
    assert prediction.id == action.prediction_id == taken.prediction_id
    assert (prediction.model, prediction.company_id, prediction.withheld) == ("sync_health", COMPANY, False)


def test_a_tick_that_is_run_again_adds_nothing(watched_everywhere: Engine) -> None:
    watch(NOON, DOWN)
    again = watch(NOON, DOWN)
    assert (again.actions, again.withheld, again.opened, again.told, again.commands) == (0, 0, 0, 0, 0)
    assert len(actions()) == len(alerts()) == 1
    assert alerts()[0].times_seen == 1
    assert len(audited()) == len(commands()) == 2
    assert len(everything(Prediction)) == len(everything(SyncRisk)) == 1


def test_an_older_tick_is_refused(watched: Engine) -> None:
    watch(NOON, {})
    with pytest.raises(ConflictError, match="were watched at"):
        watch(NOON - TICK, DOWN)
    assert actions() == []


def test_a_pause_ends_by_itself_and_another_one_waits_for_a_try(watched_everywhere: Engine) -> None:
    watch(NOON, DOWN)
    assert watch(NOON + 45 * MINUTE, DOWN).actions == 0
    report = watch(NOON + 60 * MINUTE, DOWN)
    assert (report.ended, report.actions, report.commands) == (1, 0, 0)
    assert (integration().state, integration().state_until, integration().action_id) == ("active", None, None)
    assert actions()[0].state == "over"
    assert audited()[-1] == "sync.resume"
    post(attempt(NOON + 61 * MINUTE, ok=False))
    assert watch(NOON + 75 * MINUTE, DOWN).actions == 1
    assert [action.state for action in actions()] == ["over", "in_force"]
    assert commands().count("sync.pause") == 2
    assert commands().count("alert.opened") == 1


def test_a_pause_takes_the_place_of_a_slower_schedule(watched: Engine) -> None:
    watch(NOON, {I_3: risk(0.8, "rate_limit")})
    assert (integration().state, actions()[0].interval_minutes) == ("slowed", 30)
    watch(NOON + TICK, DOWN)
    assert [action.state for action in actions()] == ["superseded", "in_force"]
    assert (integration().state, integration().action_id) == ("paused", actions()[1].id)
    assert [c for c in commands() if c.startswith("sync")] == ["sync.slow_down", "sync.pause"]


def test_a_request_is_answered_by_a_sync_that_succeeds(watched: Engine) -> None:
    watch(NOON, {I_3: risk(0.95, "auth")})
    assert integration().needs_authorisation
    assert integration().state == "active"
    assert watch(NOON + TICK, {I_3: risk(0.95, "auth")}).actions == 0
    post(attempt(NOON + 20 * MINUTE, ok=False))
    assert watch(NOON + 2 * TICK, {I_3: risk(0.95, "auth")}).ended == 0
    post(attempt(NOON + 40 * MINUTE))
    assert watch(NOON + 3 * TICK, {}).ended == 1
    assert actions()[0].state == "done"
    assert not integration().needs_authorisation


def test_a_rate_limit_that_is_foreseen_slows_the_sync_before_it_is_at_risk(watched: Engine) -> None:
    report = watch(NOON, {I_3: risk(0.2, forecast=forecast(0.8))})
    assert (report.at_risk, report.actions, report.told) == (0, 1, 1)
    assert everything(OutboxCommand)[1].payload["message"] == "quickbooks: will hit its rate limit in about 2 hours"


def test_dormant_integrations_are_scored_but_neither_acted_on_nor_told(watched: Engine) -> None:
    report = watch(NOON + 2 * DAY, DOWN)
    assert (report.integrations, report.at_risk, report.actions, report.opened) == (1, 1, 0, 0)


def test_what_is_withheld_runs_unaltered_and_nobody_hears_of_it(
    watched: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    withhold(monkeypatch, 0.5)
    monkeypatch.setattr("crewflow_assets.sync_health.ledger.uniform", lambda *_: 0.49)
    report = watch(NOON, DOWN)
    assert (report.withheld, report.actions, report.opened, report.commands) == (1, 0, 0, 0)
    monkeypatch.setattr("crewflow_assets.sync_health.ledger.uniform", lambda *_: 0.51)
    assert watch(NOON + 3 * TICK, DOWN).actions == 0, "until it is over it is not drawn again"
    assert (integration().state, commands(), alerts()) == ("active", [], [])
    [action] = actions()
    assert (action.state, action.propensity, action.until) == ("withheld", 0.5, NOON + 60 * MINUTE)
    [prediction] = everything(Prediction)
    assert (prediction.withheld, prediction.propensity) == (True, 0.5)
    assert audited() == ["sync.withhold"]
    assert watch(NOON + 4 * TICK, DOWN).actions == 1


def test_a_request_is_withheld_for_a_day_at_most(watched: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    withhold(monkeypatch, 0.5)
    monkeypatch.setattr("crewflow_assets.sync_health.ledger.uniform", lambda *_: 0.0)
    watch(NOON, {I_3: risk(0.9, "auth")})
    assert actions()[0].until == NOON + DAY


def test_about_the_share_is_withheld_and_a_tick_repeats_its_draws(
    watched_everywhere: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    withhold(monkeypatch, 0.2)
    keys = [(COMPANY, f"i-{number}") for number in range(100, 500)]
    post(*(attempt(NOON - MINUTE, key=key) for key in keys))
    report = watch(NOON, dict.fromkeys(keys, risk(0.9, "api_down")))
    assert report.withheld + report.actions == 400
    assert 50 <= report.withheld <= 110  # 80 ± 3.75 standard deviations
    drawn = {action.integration_id for action in actions() if action.state == "withheld"}
    assert watch(NOON, dict.fromkeys(keys, risk(0.9, "api_down"))).withheld == 0
    assert {action.integration_id for action in actions() if action.state == "withheld"} == drawn


def test_companies_are_never_divided_among_transactions() -> None:
    keys = [(f"c-{company}", f"i-{number}") for company in range(7) for number in range(300)]
    chunks = list(watching._chunks(keys))
    assert [key for chunk in chunks for key in chunk] == keys
    assert [len(chunk) for chunk in chunks] == [600, 600, 600, 300]
    assert len([company for chunk in chunks for company in {key[0] for key in chunk}]) == 7


def test_a_tick_that_fails_midway_is_finished_by_running_it_again(
    watched: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_companies("c-2")
    other = ("c-2", "i-1")
    post(attempt(NOON - MINUTE, key=other))
    monkeypatch.setattr(watching, "PER_TRANSACTION", 1)
    risks = {I_3: risk(0.9, "api_down"), other: risk(0.9, "api_down")}

    def stop(done: int, _total: int) -> None:
        raise KeyboardInterrupt

    def score(keys: Sequence[Key], _at: datetime) -> list[Scored]:
        return [Scored(risks.get(key, HEALTHY), None) for key in keys]

    with pytest.raises(KeyboardInterrupt):
        watching.tick(score, NOON, model_version="1.0", progress=stop)
    assert [action.company_id for action in actions()] == [COMPANY]
    assert watch(NOON, risks).actions == 1
    assert sorted(action.company_id for action in actions()) == [COMPANY, "c-2"]


def test_situations_are_read_for_what_predictions_show(watched_everywhere: Engine) -> None:
    watch(NOON, DOWN)
    with reading() as session:
        found = situations_of(session, [I_3, (COMPANY, "i-9")], NOON + TICK)
    assert set(found) == {I_3}
    assert (found[I_3].schedule, found[I_3].held, found[I_3].interval_minutes) == (
        "pause",
        frozenset({"pause"}),
        15.0,
    )
    assert recommended(DOWN[I_3], found[I_3], NOON + TICK)[0].automatic is False
