"""What became of forecast health scores: the score seven days later."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets.monitoring.hook import Described, Logged, Monitored, Seen
from crewflow_assets.store.database import batched
from crewflow_assets.store.sync_tables import HealthScore

AHEAD = timedelta(days=7)


class ForecastOutcomes(Monitored):
    """Judged by the daily score as of seven days after the day at whose end the forecast starts."""

    numbers = True
    known_after_weeks = 2
    right_means = "the score came to lie in the 80 % interval"
    outcome_words = "'score' with its value, from 0 to 100"

    def said(self, logged: Logged) -> float | None:
        """Return the score that was forecast."""
        return float(logged.output["score_7d"])

    def seen(self, session: Session, logged: Sequence[Logged]) -> dict[str, Seen]:
        """Look the scores up that have been computed since."""
        wanted = {one.id: (one.company_id, str(one.inputs["integration_id"]), _day(one)) for one in logged}
        scores: dict[tuple[str | None, str, date], float] = {}
        for part in batched(sorted({company for company, _, _ in wanted.values() if company is not None})):
            rows = session.execute(
                select(
                    HealthScore.company_id, HealthScore.integration_id, HealthScore.day, HealthScore.overall
                ).where(
                    HealthScore.company_id.in_(part),
                    HealthScore.day >= min(day for _, _, day in wanted.values()),
                    HealthScore.day <= max(day for _, _, day in wanted.values()),
                )
            )
            scores |= {(company, name, day): score for company, name, day, score in rows if score is not None}
        return {one.id: _seen(one, scores[wanted[one.id]]) for one in logged if wanted[one.id] in scores}

    def reported(self, logged: Logged, outcome: str, value: float | None) -> tuple[float, bool] | None:
        """Take ``score`` with its value."""
        if outcome != "score" or value is None or not 0 <= value <= 100:
            return None
        return value, _inside(logged, value)

    def described(self, logged: Logged) -> Described:
        """Describe the score that the forecast starts from, and the metrics where they were sent."""
        sent = logged.inputs.get("current_metrics") or {}
        return {
            "metrics": "sent" if sent else "stored",
            "current_score": float(logged.output["current_score"]),
            "total_syncs": sent.get("total_syncs"),
            "avg_latency_ms": sent.get("avg_latency_ms"),
            "error_count": sent.get("error_count"),
        }

    def answered(self, logged: Logged) -> Described:
        """Describe the forecast, how wide its interval is, and the trend."""
        low, high = logged.output["interval_80"]
        return {"said": self.said(logged), "width": float(high) - float(low), "trend": logged.output["trend"]}


def _day(one: Logged) -> date:
    """Return the day whose score was forecast."""
    as_of = one.output.get("as_of")
    if as_of is None:
        return one.created_at.date() + AHEAD
    return (as_of if isinstance(as_of, date) else date.fromisoformat(str(as_of))) + AHEAD


def _inside(one: Logged, score: float) -> bool:
    low, high = one.output["interval_80"]
    return bool(low <= score <= high)


def _seen(one: Logged, score: float) -> Seen:
    at = datetime.combine(_day(one) + timedelta(days=1), time(), UTC)
    return Seen(at=at, outcome=f"{score:.1f}", actual=score, right=_inside(one, score), basis="observed")
