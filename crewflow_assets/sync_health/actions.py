"""Taking actions back: by a person, and where the receiver refuses them; and how actions are answered."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.alerting import OUTBOX, notes_refusal
from crewflow_assets.errors import ConflictError, NotFoundError
from crewflow_assets.outbox.queue import CommandState, RefusalHandler
from crewflow_assets.store.sync_tables import SyncAction
from crewflow_assets.store.tables import OutboxCommand
from crewflow_assets.sync_health.integrations import ACTIVE, integration_of
from crewflow_assets.sync_health.ledger import ActionLedger, ActionState
from crewflow_assets.sync_health.policy import SCHEDULE


def undo(
    session: Session, *, company_id: str, integration_id: str, action_id: str, decided_by: str
) -> dict[str, Any]:
    """Take an action back, tell the receiver through the outbox, and answer the action.

    A changed schedule goes back to the usual one (``sync.resume``), a request is withdrawn (``sync.withdraw``). The
    platform does not do the same again by itself for a day.

    Raises:
        NotFoundError: the company has no such integration, or the integration no such action.
        ConflictError: the action was superseded, undone, refused or withheld, or it is over.
    """
    at = clock.now()
    ledger = ActionLedger(session, [company_id], at)
    integration = integration_of(session, company_id, integration_id)
    action = session.get(SyncAction, action_id)
    if action is None or (action.company_id, action.integration_id) != (company_id, integration_id):
        raise NotFoundError(f"integration {integration_id!r} of company {company_id!r} has no action {action_id!r}")
    if problem := _not_undoable(action, at):
        raise ConflictError(f"{action.action} {action_id!r} cannot be undone: {problem}")
    ledger.end(action, ActionState.UNDONE, by=decided_by, reason="taken back")
    ledger.command("sync.resume" if action.action in SCHEDULE else "sync.withdraw", action, integration)
    ledger.close()
    return answers_of(session, [action])[0]


def take_back_refused(session: Session, command: OutboxCommand, reason: str) -> None:
    """Let an integration be as it was where the receiver refused an action, unless that ended since."""
    ledger = ActionLedger(session, [command.company], clock.now())
    action = session.get_one(SyncAction, command.payload["action_id"])
    if action.state == ActionState.IN_FORCE:
        ledger.end(action, ActionState.REFUSED, by=OUTBOX, reason=f"refused by the other side: {reason}")


def restore_refused(session: Session, command: OutboxCommand, reason: str) -> None:
    """Put an action in force again whose undo the receiver refused, unless it is over or replaced."""
    at = clock.now()
    ledger = ActionLedger(session, [command.company], at)
    action = session.get_one(SyncAction, command.payload["action_id"])
    integration = ledger.integrations[action.company_id, action.integration_id]
    replaced = action.action in SCHEDULE and integration.state != ACTIVE
    if action.state == ActionState.UNDONE and action.until > at and not replaced:
        ledger.restore(action, by=OUTBOX, reason=f"the undo was refused by the other side: {reason}")


REFUSAL_HANDLERS: dict[str, RefusalHandler] = {
    "sync.slow_down": take_back_refused,
    "sync.pause": take_back_refused,
    "sync.reauthorise": take_back_refused,
    "sync.review_records": take_back_refused,
    "sync.resume": restore_refused,
    "sync.withdraw": restore_refused,
    "alert.opened": notes_refusal("integration", "integration_id"),
    "alert.resolved": notes_refusal("integration", "integration_id"),
}


def actions_of(
    session: Session, *, company_id: str, integration_id: str, limit: int, after: str | None = None
) -> dict[str, Any]:
    """Return a page of an integration's actions, the newest first, as the HTTP routes answer them.

    Args:
        session: An open session.
        company_id: Whose integration.
        integration_id: Which one.
        limit: How many at most.
        after: The action after which the page begins; the ``next`` of the page before.

    Raises:
        NotFoundError: the company has no such integration, or the integration no action ``after``.
    """
    integration_of(session, company_id, integration_id)
    query = select(SyncAction).where(SyncAction.company_id == company_id, SyncAction.integration_id == integration_id)
    if after is not None:
        last = session.scalar(query.where(SyncAction.id == after))
        if last is None:
            raise NotFoundError(f"integration {integration_id!r} of company {company_id!r} has no action {after!r}")
        earlier = (SyncAction.decided_at == last.decided_at) & (SyncAction.id < last.id)
        query = query.where((SyncAction.decided_at < last.decided_at) | earlier)
    rows = session.scalars(query.order_by(SyncAction.decided_at.desc(), SyncAction.id.desc()).limit(limit + 1)).all()
    return {
        "items": answers_of(session, rows[:limit]),
        "next": rows[limit - 1].id if len(rows) > limit else None,
    }


def answers_of(session: Session, actions: Sequence[SyncAction]) -> list[dict[str, Any]]:
    """Return actions as the HTTP routes answer them; ``delivered``: whether the receiver took the command over."""
    keys = [action.command_key for action in actions if action.command_key is not None]
    sent = select(OutboxCommand.idempotency_key, OutboxCommand.state).where(OutboxCommand.idempotency_key.in_(keys))
    states = dict(session.execute(sent).all())
    return [
        {
            "action_id": action.id,
            "company_id": action.company_id,
            "integration_id": action.integration_id,
            "action": action.action,
            "cause": action.cause,
            "detail": action.detail,
            "state": action.state,
            "automatic": action.automatic,
            "delivered": states.get(action.command_key or "") == CommandState.DELIVERED,
            "interval_minutes": action.interval_minutes,
            "decided_by": action.decided_by,
            "decided_at": action.decided_at.isoformat(),
            "until": action.until.isoformat(),
            "ended_at": action.ended_at.isoformat() if action.ended_at else None,
            "ended_by": action.ended_by,
            "ended_reason": action.ended_reason,
            "failure_probability": action.failure_probability,
            "model_version": action.model_version,
            "prediction_id": action.prediction_id,
        }
        for action in actions
    ]


def _not_undoable(action: SyncAction, at: datetime) -> str | None:
    match ActionState(action.state):
        case ActionState.IN_FORCE if action.until > at:
            return None
        case ActionState.IN_FORCE | ActionState.OVER:
            return f"it was over at {action.until.isoformat()}"
        case ActionState.WITHHELD:
            return "it was withheld, so the sync runs unaltered already"
        case ActionState.DONE:
            return "it was answered: a sync succeeded since"
        case state:
            return f"it was {state} by {action.ended_by!r} ({action.ended_reason})"
