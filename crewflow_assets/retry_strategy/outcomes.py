"""What became of retry plans: how the retry went that carries the plan's id."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.monitoring.hook import SLOW_CLOCK, Described, Logged, Monitored, Seen
from crewflow_assets.store.database import batched
from crewflow_assets.store.tables import Event

WORDS = {"succeeded": True, "failed": False}
LIKELY = 0.5


class RetryOutcomes(Monitored):
    """Judged by the first ``retry_outcome`` event that names the plan.

    Where it was said not to retry, nothing is known unless someone retried all the same; such retries count like
    others, so figures speak of retries that were made.
    """

    right_means = "the retry succeeded where that was said to be likelier than not, and failed where not"
    outcome_words = "'succeeded' or 'failed'"

    def said(self, logged: Logged) -> float | None:
        """Return the probability that the next attempt succeeds."""
        return float(logged.output["success_probability"])

    def seen(self, session: Session, logged: Sequence[Logged]) -> dict[str, Seen]:
        """Find the first retry of each plan."""
        by_id = {one.id: one for one in logged}
        first = min(one.created_at for one in logged) - SLOW_CLOCK
        named = Event.payload["prediction_id"].as_string()
        found: dict[str, Seen] = {}
        for part in batched(list(by_id)):
            rows = session.execute(
                select(Event.company_id, Event.occurred_at, Event.payload)
                .where(Event.kind == "retry_outcome", Event.occurred_at >= first, named.in_(part))
                .order_by(Event.occurred_at, Event.id)
            )
            for company_id, at, payload in rows:
                one = by_id[payload["prediction_id"]]
                if one.company_id != company_id or one.id in found:
                    continue
                ok = bool(payload["ok"])
                found[one.id] = Seen(
                    at=at,
                    outcome="succeeded" if ok else "failed",
                    actual=float(ok),
                    right=_right(one, ok),
                    basis="observed",
                )
        return found

    def reported(self, logged: Logged, outcome: str, value: float | None) -> tuple[float, bool] | None:  # noqa: ARG002
        """Take ``succeeded`` and ``failed``, said of the next attempt."""
        ok = WORDS.get(outcome)
        return None if ok is None else (float(ok), _right(logged, ok))

    def described(self, logged: Logged) -> Described:
        """Describe the failure as the caller told of it, and the class it was given."""
        asked = logged.inputs
        status = asked.get("status_code")
        return {
            "system": asked["integration_type"],
            "error_class": logged.output.get("error_class"),
            "classified_by": logged.output.get("classified_by"),
            "status_code": None if status is None else str(status),
            "previous_attempts": float(asked["previous_attempts"]),
            "time_of_day": float(asked["time_of_day"]),
            "api_latency_24h": asked.get("api_latency_24h"),
            "message_length": float(len(str(asked["error_message"]))),
            "retry_after_seconds": asked.get("retry_after_seconds"),
            "write": "yes" if asked.get("write") else "no",
        }

    def answered(self, logged: Logged) -> Described:
        """Describe the probability, the delay and what is done instead."""
        output = logged.output
        return {
            "said": self.said(logged),
            "should_retry": "yes" if output["should_retry"] else "no",
            "optimal_delay": None if output["optimal_delay"] is None else float(output["optimal_delay"]),
            "alternative": output.get("alternative"),
        }


def _right(one: Logged, ok: bool) -> bool:
    return bool(one.output["success_probability"] > LIKELY) == ok
