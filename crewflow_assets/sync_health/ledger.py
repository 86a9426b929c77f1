"""The actions of some companies' integrations within one transaction: what stands, what ends, what is taken.

The companies' rows are locked, in one order, so that a tick of the watch and a person's undo are serialised.
Commands are collected and put into the outbox at once when the ledger is closed.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from crewflow_assets.errors import NotFoundError
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.outbox.queue import NewCommand, command_key, enqueue_many
from crewflow_assets.settings import get_settings
from crewflow_assets.store.audit import Grounds, write_audit
from crewflow_assets.store.database import batched
from crewflow_assets.store.sync_tables import Integration, SyncAction
from crewflow_assets.store.tables import Company
from crewflow_assets.sync_health.contract import ActionName
from crewflow_assets.sync_health.integrations import ACTIVE, PAUSED, SLOWED, Key, of_companies
from crewflow_assets.sync_health.policy import (
    ASK_LASTS,
    SCHEDULE,
    WITHHELD_ASK_LASTS,
    Plan,
    Situation,
    is_answered,
)

ACTOR = "sync_health"
HELD_FOR = timedelta(days=1)
"""What a person undid, or the receiver refused, is not done again by itself for a day."""


class ActionState(StrEnum):
    """Where an action stands."""

    IN_FORCE = "in_force"
    OVER = "over"
    DONE = "done"
    SUPERSEDED = "superseded"
    UNDONE = "undone"
    REFUSED = "refused"
    WITHHELD = "withheld"


class ActionLedger:
    """The integrations of companies, with the actions that still matter to them."""

    def __init__(
        self, session: Session, companies: Collection[str], at: datetime, *, only_read: bool = False
    ) -> None:
        """Lock the companies, unless it is only to be read, and read.

        Raises:
            NotFoundError: a company is unknown.
        """
        self.session = session
        self.at = at
        self._commands: list[NewCommand] = []
        for part in batched(sorted(companies)):
            known = select(Company.id).where(Company.id.in_(part)).order_by(Company.id)
            if missing := set(part) - set(session.scalars(known if only_read else known.with_for_update())):
                raise NotFoundError(f"company {min(missing)!r} is unknown; import its chart or cost codes first")
        self.integrations = of_companies(session, companies)
        self.actions: dict[Key, list[SyncAction]] = {}
        for part in batched(sorted(companies)):
            for action in session.scalars(_that_matter(part, at)):
                self.actions.setdefault((action.company_id, action.integration_id), []).append(action)

    def in_force(self, key: Key) -> list[SyncAction]:
        """Return the actions that stand."""
        return [action for action in self.actions.get(key, ()) if action.state == ActionState.IN_FORCE]

    def withheld(self, key: Key) -> bool:
        """Say whether the integration runs unaltered now, so that the model can be measured on it."""
        return any(a.state == ActionState.WITHHELD and a.until > self.at for a in self.actions.get(key, ()))

    def situation(self, key: Key) -> Situation:
        """Return what the policy needs to know."""
        integration = self.integrations[key]
        recent = self.actions.get(key, ())
        standing = [a for a in recent if a.state == ActionState.IN_FORCE]
        ended = [a.ended_at for a in recent if a.action in SCHEDULE and a.ended_at is not None]
        schedule = next((a for a in standing if a.action in SCHEDULE), None)
        taken_back = (ActionState.UNDONE, ActionState.REFUSED)
        held = standing + [a for a in recent if a.state in taken_back and _ended_within(a, HELD_FOR, self.at)]
        return Situation(
            interval_minutes=integration.interval_minutes,
            freshness_minutes=integration.freshness_minutes,
            last_attempt_at=integration.last_attempt_at,
            last_ok_at=integration.last_ok_at,
            schedule=None if schedule is None else name_of(schedule),
            schedule_until=None if schedule is None else schedule.until,
            schedule_ended_at=max(ended, default=None),
            held=frozenset(name_of(a) for a in held),
            grant_ends_at=integration.grant_ends_at,
        )

    def end_what_is_over(self) -> int:
        """End actions whose time is over, of which receivers know, and requests that were answered; how many."""
        number = 0
        for key, actions in self.actions.items():
            for action in actions:
                if action.state != ActionState.IN_FORCE:
                    continue
                if is_answered(name_of(action), action.decided_at, self.situation(key), self.at):
                    self.end(action, ActionState.DONE, by=ACTOR, reason="a sync succeeded since")
                elif action.until <= self.at:
                    self.end(action, ActionState.OVER, by=ACTOR, reason="its time was over")
                number += action.state != ActionState.IN_FORCE
        return number

    def draw(self, key: Key, plan: Plan) -> bool:
        """Draw whether an action is withheld: always the same for one action at one tick."""
        place = uniform("withheld", ACTOR, *key, plan.action, self.at.isoformat())
        return place < get_settings().withheld_share

    def take(
        self, key: Key, plan: Plan, *, withheld: bool, probability: float, model_version: str, prediction_id: str
    ) -> SyncAction:
        """Do what was planned, or note that it was withheld; with its audit row, and its command if it is done."""
        integration = self.integrations[key]
        for standing in self.in_force(key):
            if not withheld and plan.action in SCHEDULE and standing.action in SCHEDULE:
                self.end(standing, ActionState.SUPERSEDED, by=ACTOR, reason=f"{plan.action} took its place")
        until = min(plan.until, self.at + WITHHELD_ASK_LASTS) if withheld else plan.until
        action = SyncAction(
            id=f"act-{secrets.token_hex(12)}",
            company_id=key[0],
            integration_id=key[1],
            action=plan.action,
            cause=plan.cause,
            state=(ActionState.WITHHELD if withheld else ActionState.IN_FORCE).value,
            automatic=True,
            detail=plan.detail,
            interval_minutes=plan.interval_minutes,
            decided_by=ACTOR,
            decided_at=self.at,
            until=until,
            failure_probability=probability,
            model_version=model_version,
            prediction_id=prediction_id,
            propensity=get_settings().withheld_share,
        )
        before = snapshot(integration)
        if not withheld:
            self._put_in_force(action, integration)
            action.command_key = self.command(f"sync.{plan.action}", action, integration)
        self.session.add(action)
        self.actions.setdefault(key, []).append(action)
        self._audit(action, "sync.withhold" if withheld else f"sync.{plan.action}", ACTOR, before, integration)
        return action

    def end(self, action: SyncAction, state: ActionState, *, by: str, reason: str) -> None:
        """End an action that is in force and let the integration be as it was; with an audit row, without command."""
        integration = self.integrations[action.company_id, action.integration_id]
        before = snapshot(integration)
        action.state = state.value
        action.ended_at, action.ended_by, action.ended_reason = self.at, by, reason
        if integration.action_id == action.id:
            integration.state, integration.state_until, integration.action_id = ACTIVE, None, None
        if action.action == "reauthorise":
            integration.needs_authorisation = False
        verb = "resume" if action.action in SCHEDULE and state == ActionState.OVER else state.value
        self._audit(action, f"sync.{verb}", by, before, integration, reason)

    def restore(self, action: SyncAction, *, by: str, reason: str) -> None:
        """Put an action in force again whose undo the receiver refused."""
        integration = self.integrations[action.company_id, action.integration_id]
        before = snapshot(integration)
        action.state = ActionState.IN_FORCE.value
        action.ended_at = action.ended_by = action.ended_reason = None
        self._put_in_force(action, integration)
        self._audit(action, "sync.restore", by, before, integration, reason)

    def command(self, name: str, action: SyncAction, integration: Integration) -> str:
        """Collect a command about an action and return its idempotency key."""
        key = command_key(action.id, name)
        payload = {
            "action_id": action.id,
            "integration_id": action.integration_id,
            "system": integration.system,
            "action": action.action,
            "cause": action.cause,
            "detail": action.detail,
            "failure_probability": action.failure_probability,
            "automatic": action.automatic,
            "interval_minutes": action.interval_minutes,
            "usual_interval_minutes": integration.interval_minutes,
            "decided_at": action.decided_at.isoformat(),
            "until": action.until.isoformat(),
        }
        self.collect(
            NewCommand(
                company_id=action.company_id,
                record_key=f"integration/{action.integration_id}",
                command=name,
                payload=payload,
                idempotency_key=key,
            )
        )
        return key

    def collect(self, command: NewCommand) -> None:
        """Keep a command until ``close``."""
        self._commands.append(command)

    def close(self) -> int:
        """Put the commands into the outbox; returns how many there were."""
        enqueue_many(self.session, self._commands)
        number = len(self._commands)
        self._commands.clear()
        return number

    def _put_in_force(self, action: SyncAction, integration: Integration) -> None:
        if action.action in SCHEDULE:
            integration.state = PAUSED if action.action == "pause" else SLOWED
            integration.state_until, integration.action_id = action.until, action.id
        if action.action == "reauthorise":
            integration.needs_authorisation = True

    def _audit(
        self,
        action: SyncAction,
        name: str,
        actor: str,
        before: dict[str, Any],
        integration: Integration,
        reason: str | None = None,
    ) -> None:
        told = {"action_id": action.id, "cause": action.cause, "detail": action.detail, "reason": reason}
        write_audit(
            self.session,
            company_id=action.company_id,
            actor=actor,
            action=name,
            subject_type="integration",
            subject_id=action.integration_id,
            before=before,
            after=snapshot(integration) | told,
            grounds=Grounds(
                method="model" if action.automatic else "person",
                confidence=action.failure_probability,
                model_version=action.model_version,
                prediction_id=action.prediction_id,
            ),
        )


def name_of(action: SyncAction) -> ActionName:
    """Return what an action does; the column is text to the type checker."""
    return cast(ActionName, action.action)


def snapshot(integration: Integration) -> dict[str, Any]:
    """Return what the audit log keeps of an integration."""
    return {
        "state": integration.state,
        "state_until": integration.state_until.isoformat() if integration.state_until else None,
        "action": integration.action_id,
        "needs_authorisation": integration.needs_authorisation,
    }


def situations_of(session: Session, keys: Collection[Key], at: datetime) -> dict[Key, Situation]:
    """Return what the policy needs to know of integrations, to show what it would do; unknown ones are left out.

    Raises:
        NotFoundError: a company is unknown.
    """
    ledger = ActionLedger(session, {company for company, _ in keys}, at, only_read=True)
    return {key: ledger.situation(key) for key in keys if key in ledger.integrations}


def _that_matter(companies: Collection[str], at: datetime) -> Any:
    """Select what is in force, what is withheld now, and what ended within a day."""
    return (
        select(SyncAction)
        .where(
            SyncAction.company_id.in_(companies),
            SyncAction.decided_at > at - ASK_LASTS - HELD_FOR,
            or_(
                SyncAction.state == ActionState.IN_FORCE.value,
                (SyncAction.state == ActionState.WITHHELD.value) & (SyncAction.until > at),
                SyncAction.ended_at > at - HELD_FOR,
            ),
        )
        .order_by(SyncAction.decided_at, SyncAction.id)
    )


def _ended_within(action: SyncAction, span: timedelta, at: datetime) -> bool:
    return action.ended_at is not None and action.ended_at > at - span
