"""What became of foreseen failures: how the next sync ended that no action had altered."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from crewflow_assets.monitoring.hook import Described, Logged, Monitored, Seen, inverse
from crewflow_assets.store.database import batched
from crewflow_assets.store.sync_tables import SyncAction
from crewflow_assets.store.tables import Event
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.ledger import ActionState

WITHIN = timedelta(days=1)
"""An integration that did not sync for so long has no next sync to be judged by."""
WORDS = {"failed": True, "succeeded": False}


class SyncOutcomes(Monitored):
    """Judged by the first sync after the prediction.

    A sync under an action says nothing about the prediction. In its place count the syncs whose action was withheld,
    each for 1 / propensity of them.
    """

    right_means = "at risk, and the next sync failed; or healthy, and it did not"
    outcome_words = "'failed' or 'succeeded'"

    def said(self, logged: Logged) -> float | None:
        """Return the probability that the next sync fails."""
        return float(logged.output["failure_probability"])

    def seen(self, session: Session, logged: Sequence[Logged]) -> dict[str, Seen]:
        """Find each integration's next sync, and the actions that stood meanwhile."""
        asked = [one for one in logged if one.company_id is not None]
        if not asked:
            return {}
        keys = {_key(one) for one in asked}
        first, last = min(one.created_at for one in asked), max(one.created_at for one in asked) + WITHIN
        attempts = _attempts(session, keys, first, last)
        actions = _actions(session, keys, first, last)
        found: dict[str, Seen] = {}
        for one in asked:
            moments, ended_well = attempts.get(_key(one), ([], []))
            place = bisect_right(moments, one.created_at)
            if place == len(moments) or moments[place] > one.created_at + WITHIN:
                continue
            found[one.id] = _seen(one, moments[place], ended_well[place], actions.get(_key(one), ()))
        return found

    def reported(self, logged: Logged, outcome: str, value: float | None) -> tuple[float, bool] | None:  # noqa: ARG002
        """Take ``failed`` and ``succeeded``, said of the next sync."""
        failed = WORDS.get(outcome)
        return None if failed is None else (float(failed), _right(logged, failed))

    def automatic(self, logged: Logged) -> bool:
        """Whether the platform acts by itself, which alters how the next sync ends.

        The watch logs the ``action`` that it took, a route all ``actions`` that it recommends.
        """
        return "action" in logged.output or any(one["automatic"] for one in logged.output.get("actions") or ())

    def described(self, logged: Logged) -> Described:
        """Describe the last 24 hours as the caller sent them; what is built from the store is not in the log."""
        sent: dict[str, Any] = logged.inputs.get("features") or {}
        attempts = sent.get("sync_attempts_24h")
        return {
            "features": "sent" if sent else "stored",
            "attempts_24h": attempts,
            "failure_share_24h": sent["sync_failures_24h"] / attempts if attempts else None,
            "avg_latency_24h": sent.get("avg_latency_24h"),
            "rate_limit_hits_24h": sent.get("rate_limit_hits_24h"),
            "network_latency": sent.get("network_latency"),
            "api_status": sent.get("api_status"),
        }

    def answered(self, logged: Logged) -> Described:
        """Describe the probability and the leading cause."""
        factors = logged.output.get("risk_factors") or []
        return {"said": self.said(logged), "leading_cause": factors[0]["code"] if factors else None}


def _key(one: Logged) -> Key:
    return one.company_id or "", str(one.inputs["integration_id"])


def _right(one: Logged, failed: bool) -> bool:
    return bool(one.output["status"] == "at_risk") == failed


def _attempts(
    session: Session, keys: set[Key], first: datetime, last: datetime
) -> dict[Key, tuple[list[datetime], list[bool]]]:
    """Return when each integration synced after a moment and until another, in order, and whether it went well."""
    named = Event.payload["integration_id"].as_string()
    found: dict[Key, tuple[list[datetime], list[bool]]] = defaultdict(lambda: ([], []))
    for part in batched(sorted({name for _, name in keys})):
        rows = session.execute(
            select(Event.company_id, named, Event.occurred_at, Event.payload["ok"].as_boolean())
            .where(
                Event.kind == "sync_attempt", Event.occurred_at > first, Event.occurred_at <= last, named.in_(part)
            )
            .order_by(Event.occurred_at, Event.id)
        )
        for company, name, at, ok in rows:
            if (company, name) in keys:
                moments, ended_well = found[company, name]
                moments.append(at)
                ended_well.append(bool(ok))
    return found


def _actions(session: Session, keys: set[Key], first: datetime, last: datetime) -> dict[Key, list[SyncAction]]:
    found: dict[Key, list[SyncAction]] = defaultdict(list)
    for part in batched(sorted({company for company, _ in keys})):
        rows = session.scalars(
            select(SyncAction).where(
                SyncAction.company_id.in_(part),
                SyncAction.decided_at <= last,
                or_(SyncAction.until > first, SyncAction.ended_at > first),
                SyncAction.state != ActionState.REFUSED.value,  # the receiver did not do it
            )
        )
        for row in rows:
            found[row.company_id, row.integration_id].append(row)
    return found


def _seen(one: Logged, at: datetime, went_well: bool, actions: Sequence[SyncAction]) -> Seen:
    standing = [
        action
        for action in actions
        if action.decided_at <= at and min(action.until, action.ended_at or action.until) > one.created_at
    ]
    withheld = [action for action in standing if action.state == ActionState.WITHHELD]
    if len(withheld) < len(standing):
        weight = 0.0
    elif one.withheld:
        weight = inverse(one)
    else:
        weight = 1 / withheld[0].propensity if withheld else 1.0
    failed = not went_well
    return Seen(
        at=at,
        outcome="failed" if failed else "succeeded",
        actual=float(failed),
        right=_right(one, failed),
        basis="observed",
        weight=weight,
    )
