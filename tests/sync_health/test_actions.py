"""Taking actions back, by a person or by the receiver's refusal; and two at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, cast

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, CrewflowError, NotFoundError
from crewflow_assets.handlers import REFUSAL_HANDLERS
from crewflow_assets.outbox.delivery import deliver_due
from crewflow_assets.outbox.webhook import Answer, Verdict, WebhookClient
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry, OutboxCommand
from crewflow_assets.sync_health.actions import actions_of, undo
from tests.sync_health.watching import (
    COMPANY,
    DAY,
    I_3,
    MINUTE,
    NOON,
    TICK,
    actions,
    alerts,
    attempt,
    audited,
    commands,
    everything,
    integration,
    post,
    risk,
    watch,
)

DOWN = {I_3: risk(0.9, "api_down")}


def take_back(action_id: str, at: datetime = NOON + MINUTE, *, company: str = COMPANY) -> dict[str, Any]:
    with clock.fixed(at), transaction() as session:
        return undo(session, company_id=company, integration_id="i-3", action_id=action_id, decided_by="dana")


class Receiver:
    """Refuses one command with a reason and takes the others over."""

    def __init__(self, refused: str, reason: str) -> None:
        self.refused = refused
        self.reason = reason
        self.heard: list[str] = []

    def send(self, command: OutboxCommand) -> Answer:
        self.heard.append(command.command)
        return Answer(Verdict.REFUSED if command.command == self.refused else Verdict.DELIVERED, self.reason)


def deliver(at: datetime, *, refused: str, reason: str = "no") -> list[str]:
    """Deliver what is due and return the commands in the order in which they came."""
    receiver = Receiver(refused, reason)
    with clock.fixed(at):
        report = deliver_due(cast(WebhookClient, receiver), on_refused=REFUSAL_HANDLERS)
    assert report.problems == ()
    return receiver.heard


def test_an_undone_pause_resumes_at_once_and_is_not_taken_again_for_a_day(watched_everywhere: Engine) -> None:
    watch(NOON, DOWN)
    [action] = actions()
    answer = take_back(action.id)
    assert (answer["state"], answer["ended_by"], answer["ended_at"]) == (
        "undone",
        "dana",
        (NOON + MINUTE).isoformat(),
    )
    assert (integration().state, integration().action_id) == ("active", None)
    assert commands() == ["sync.pause", "alert.opened", "sync.resume"]
    pause, _, resume = everything(OutboxCommand)
    assert resume.record_key == pause.record_key, "the receiver hears of them in this order"
    assert (resume.payload["action_id"], resume.payload["usual_interval_minutes"]) == (action.id, 15)
    entry = everything(AuditEntry)[-1]
    assert (entry.action, entry.actor) == ("sync.undone", "dana")
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["state"], entry.after["state"]) == ("paused", "active")
    post(attempt(NOON + 5 * MINUTE, ok=False))
    assert watch(NOON + TICK, DOWN).actions == 0
    post(attempt(NOON + DAY - MINUTE, ok=False))
    assert watch(NOON + DAY + 2 * MINUTE, DOWN).actions == 1


def test_a_request_is_withdrawn(watched: Engine) -> None:
    watch(NOON, {I_3: risk(0.9, "auth")})
    take_back(actions()[0].id)
    assert commands()[-1] == "sync.withdraw"
    assert not integration().needs_authorisation


def test_what_no_longer_stands_cannot_be_undone(watched: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    watch(NOON, {I_3: risk(0.8, "rate_limit")})
    watch(NOON + TICK, DOWN)
    slow, pause = actions()
    with pytest.raises(ConflictError, match="superseded by 'sync_health' \\(pause took its place\\)"):
        take_back(slow.id, NOON + 16 * MINUTE)
    with pytest.raises(ConflictError, match="it was over at 2026-03-02T13:15"):
        take_back(pause.id, NOON + 75 * MINUTE)
    take_back(pause.id, NOON + 20 * MINUTE)
    with pytest.raises(ConflictError, match="undone by 'dana'"):
        take_back(pause.id, NOON + 21 * MINUTE)
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0.5")
    get_settings.cache_clear()
    monkeypatch.setattr("crewflow_assets.sync_health.ledger.uniform", lambda *_: 0.0)
    watch(NOON + 2 * TICK, {I_3: risk(0.9, "auth")})
    with pytest.raises(ConflictError, match="runs unaltered already"):
        take_back(actions()[-1].id, NOON + 31 * MINUTE)
    assert commands().count("sync.resume") == 1


def test_a_request_that_was_answered_cannot_be_undone(watched: Engine) -> None:
    watch(NOON, {I_3: risk(0.9, "auth")})
    post(attempt(NOON + MINUTE))
    watch(NOON + TICK, {})
    with pytest.raises(ConflictError, match="a sync succeeded since"):
        take_back(actions()[0].id, NOON + 16 * MINUTE)


def test_undoing_names_what_is_unknown(watched: Engine) -> None:
    with pytest.raises(NotFoundError, match="no action 'act-9'"):
        take_back("act-9")
    with pytest.raises(NotFoundError, match="company 'c-9' is unknown"):
        take_back("act-9", company="c-9")


def test_a_refused_pause_leaves_the_schedule_as_it_was(watched_everywhere: Engine) -> None:
    watch(NOON, DOWN)
    heard = deliver(NOON + MINUTE, refused="sync.pause", reason="payroll runs now")
    assert sorted(heard) == ["alert.opened", "sync.pause"]
    [action] = actions()
    assert (action.state, action.ended_by) == ("refused", "outbox")
    assert action.ended_reason is not None
    assert "payroll runs now" in action.ended_reason
    assert integration().state == "active"
    assert audited()[-1] == "sync.refused"
    post(attempt(NOON + 5 * MINUTE, ok=False))
    assert watch(NOON + TICK, DOWN).actions == 0, "what was refused is not tried again for a day"


def test_a_refused_undo_leaves_the_action_in_force(watched: Engine) -> None:
    watch(NOON, DOWN)
    take_back(actions()[0].id)
    heard = deliver(NOON + 2 * MINUTE, refused="sync.resume")
    assert [command for command in heard if command.startswith("sync")] == ["sync.pause", "sync.resume"]
    [action] = actions()
    assert (action.state, action.ended_at, integration().state) == ("in_force", None, "paused")
    assert audited()[-1] == "sync.restore"


def test_a_refused_undo_of_what_is_over_changes_nothing(watched: Engine) -> None:
    watch(NOON, DOWN)
    take_back(actions()[0].id)
    deliver(NOON + 61 * MINUTE, refused="sync.resume")
    assert actions()[0].state == "undone"
    assert integration().state == "active"


def test_a_refused_alert_is_audited_and_stays(watched: Engine) -> None:
    watch(NOON, {I_3: risk(0.9, "latency")})
    deliver(NOON + MINUTE, refused="alert.opened")
    assert audited()[-1] == "alert.refused"
    assert [alert.state for alert in alerts()] == ["open"]


def test_every_command_that_is_sent_has_a_refusal_handler(watched: Engine) -> None:
    sent = {
        f"sync.{action}" for action in ("slow_down", "pause", "reauthorise", "review_records", "resume", "withdraw")
    }
    assert sent | {"alert.opened", "alert.resolved"} <= set(REFUSAL_HANDLERS)


def test_actions_are_listed_newest_first_in_pages(watched_everywhere: Engine) -> None:
    watch(NOON, {I_3: risk(0.8, "rate_limit")})
    watch(NOON + TICK, DOWN)
    watch(NOON + 2 * TICK, {I_3: risk(0.9, "auth")})
    with reading() as session:
        first = actions_of(session, company_id=COMPANY, integration_id="i-3", limit=2)
        rest = actions_of(session, company_id=COMPANY, integration_id="i-3", limit=2, after=first["next"])
        with pytest.raises(NotFoundError):
            actions_of(session, company_id=COMPANY, integration_id="i-3", limit=2, after="act-9")
    listed = [item["action"] for item in first["items"] + rest["items"]]
    assert listed == ["reauthorise", "pause", "slow_down"]
    assert rest["next"] is None


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    def run(job: Callable[[], Any]) -> Any:
        try:
            return job()
        except CrewflowError as error:
            return error

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def test_of_many_undoing_at_once_one_succeeds(watched_everywhere: Engine) -> None:
    watch(NOON, DOWN)
    [action] = actions()
    outcomes = at_once([lambda: take_back(action.id)] * 6)
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == 1, outcomes
    assert all(isinstance(outcome, dict | ConflictError) for outcome in outcomes), outcomes
    assert commands().count("sync.resume") == audited().count("sync.undone") == 1


def test_the_same_tick_run_twice_at_once_acts_once(watched_everywhere: Engine) -> None:
    outcomes = at_once([lambda: watch(NOON, DOWN)] * 4)
    assert sorted(outcome.actions for outcome in outcomes) == [0, 0, 0, 1], outcomes
    assert sorted(commands()) == ["alert.opened", "sync.pause"]
    assert len(actions()) == len(alerts()) == 1


def test_a_tick_and_an_undo_at_once_leave_one_truth(watched_everywhere: Engine) -> None:
    watch(NOON, {I_3: risk(0.8, "rate_limit")})
    [slow] = actions()
    tick, undone = at_once([lambda: watch(NOON + TICK, DOWN), lambda: take_back(slow.id, NOON + TICK)])
    states = [action.state for action in actions()]
    assert tick.actions == 1 or isinstance(undone, dict)
    assert states.count("in_force") <= 1
    in_force = next((action for action in actions() if action.state == "in_force"), None)
    assert integration().action_id == (in_force.id if in_force else None)
    assert integration().state == ("paused" if in_force else "active")
