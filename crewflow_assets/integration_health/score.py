"""The health score of an integration (PRD 3.2): four components from 0 to 100, and their mean."""

from dataclasses import astuple, dataclass

WINDOW_DAYS = 30


@dataclass(frozen=True, slots=True)
class Metrics:
    """What happened to an integration in 30 days; the average latency is null where no sync measured one."""

    total_syncs: int = 0
    successful_syncs: int = 0
    avg_latency_ms: float | None = None
    error_count: int = 0
    conflicts: int = 0
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Score:
    """The components, 0 to 100, higher is better; null where there was nothing to score."""

    sync_success_rate: float | None
    latency: float | None
    error_rate: float | None
    data_quality: float | None

    @property
    def overall(self) -> float | None:
        """The mean of the components, null where one is null."""
        known = [component for component in astuple(self) if component is not None]
        return sum(known) / 4 if len(known) == 4 else None


NOTHING = Score(None, None, None, None)


def score_of(metrics: Metrics) -> Score:
    """Score an integration by the PRD's formula, each component clamped to 0 to 100; null without syncs."""
    if not metrics.total_syncs:
        return NOTHING
    return Score(
        sync_success_rate=_clamped(metrics.successful_syncs / metrics.total_syncs * 100),
        latency=None if metrics.avg_latency_ms is None else _clamped(100 - metrics.avg_latency_ms / 10),
        error_rate=_clamped(100 - metrics.error_count),
        data_quality=_clamped(100 - (metrics.conflicts + metrics.duplicates)),
    )


def _clamped(value: float) -> float:
    return min(100.0, max(0.0, float(value)))
