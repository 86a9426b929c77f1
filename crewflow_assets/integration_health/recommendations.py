"""What takes most from a health score, in sentences that a person can check, and what to do about it."""

from collections.abc import Mapping

from crewflow_assets.integration_health.score import WINDOW_DAYS, Metrics, score_of

WORTH_SAYING = 1.0
"""Points of the score; what costs less is left out."""
REMEDIES: Mapping[str, str] = {
    "auth": "were refused for authorisation: sign in again to the accounting system",
    "rate_limit": "met the rate limit: sync less often, or move the other apps' jobs to other hours",
    "validation": "held records that were refused: mend these records",
}


def recommendations(metrics: Metrics, classes: Mapping[str, float] | None = None) -> list[str]:
    """Return what costs a point of the score or more, the costliest first.

    Args:
        metrics: Of the last 30 days, with at least one sync.
        classes: How many of the failures were of each class in ``REMEDIES``, where that is known.
    """
    score = score_of(metrics)
    lost = {
        "failures": (200 - (score.sync_success_rate or 0) - (score.error_rate or 0)) / 4,
        "latency": 0.0 if score.latency is None else (100 - score.latency) / 4,
        "data": (100 - (score.data_quality or 0)) / 4,
    }
    says = {
        "failures": lambda points: _failures(points, metrics, classes or {}),
        "latency": lambda points: (
            f"Slow answers take {_points(points)}: {metrics.avg_latency_ms:,.0f} ms on average in the last "
            f"{WINDOW_DAYS} days; each 10 ms less gives back a quarter of a point"
            f"{'' if (score.latency or 0) > 0 else ', once it is below 1,000 ms'}."
        ),
        "data": lambda points: (
            f"Data quality takes {_points(points)}: {_number(metrics.conflicts, 'conflict')} and "
            f"{_number(metrics.duplicates, 'duplicate')} in the last {WINDOW_DAYS} days; find out what makes them, "
            "and let records be entered on one side only."
        ),
    }
    costly = sorted((name for name in lost if lost[name] >= WORTH_SAYING), key=lambda name: -lost[name])
    return [says[name](lost[name]) for name in costly]


def _failures(points: float, metrics: Metrics, classes: Mapping[str, float]) -> str:
    said = (
        f"Failures take {_points(points)}: {_number(metrics.error_count, 'error')} in "
        f"{_number(metrics.total_syncs, 'sync')} of the last {WINDOW_DAYS} days"
    )
    named = {name: round(count) for name, count in classes.items() if name in REMEDIES and round(count)}
    if not named:
        return f"{said}."
    most = max(named, key=named.__getitem__)
    return f"{said}. {named[most]:,} of them {REMEDIES[most]}."


def _points(points: float) -> str:
    return f"{points:.1f} of 100 points"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
