"""What the forecast sees of an integration: one function of the 30 days before, for training and for serving.

In seven days' time the window of the score holds the last 23 of these days and seven that are yet to come. The
forecast starts from the score that these seven would give if they were like the days before, and learns how far
off that is.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from crewflow_assets.arrays import Floats, Singles
from crewflow_assets.integration_health.days import CLASSES, MEASURES, PLACE
from crewflow_assets.integration_health.score import WINDOW_DAYS, Metrics

HORIZON_DAYS = 7
STAYING_DAYS = WINDOW_DAYS - HORIZON_DAYS

NOW = "now"
MEAN, WEEK = "known_and_mean", "known_and_last_week"
STARTS = (NOW, MEAN, WEEK)
"""What a forecast may start from: the score now; that of the 23 days that stay with seven more like the mean of the
30; that with the last seven repeated."""
COMPONENTS = ("sync_success_rate", "latency", "error_rate", "data_quality")
OF_THE_SUMS = (*COMPONENTS, "total", "errors", "avg_latency_ms", "conflicts", "duplicates", "error_share")
GIVEN = (NOW, *OF_THE_SUMS)
"""What follows from the sums of the 30 days alone, which a request may carry."""
RECENT_DAYS = (1, 3, 7, 14)
FEATURES = (
    *STARTS,
    *OF_THE_SUMS,
    "known_days",
    "days_without_syncs",
    "leaving_errors",
    "leaving_decisions",
    "leaving_total",
    *(f"{name}_{days}d" for days in RECENT_DAYS for name in ("errors", "error_share", *CLASSES)),
    *(f"{name}_30d" for name in CLASSES),
    "latency_7d",
    "latency_14d",
    "decisions_3d",
    "decisions_7d",
    "decisions_14d",
    "days_with_errors_14d",
    "worst_day_errors_14d",
    "days_since_error",
)
COLUMN = {name: place for place, name in enumerate(FEATURES)}


def feature_rows(windows: Floats) -> Singles:
    """Return the features of integrations, shape (n, len(FEATURES)).

    Args:
        windows: The 30 days before the moment of the forecast, shape (n, 30, len(MEASURES)); days before the first
            sync are zero.
    """
    total, errors = windows[:, :, PLACE["total"]], windows[:, :, PLACE["errors"]]
    decisions = windows[:, :, PLACE["conflicts"]] + windows[:, :, PLACE["duplicates"]]
    known = known_days(windows)
    sums = windows.sum(axis=1)
    found: dict[str, Floats] = {
        **_of_sums(sums),
        MEAN: start_from(windows, sums / known[:, None] * HORIZON_DAYS),
        WEEK: start_from(windows, windows[:, -HORIZON_DAYS:].sum(axis=1)),
        "known_days": known,
        "days_without_syncs": known - (total > 0).sum(axis=1),
        "leaving_errors": errors[:, :HORIZON_DAYS].sum(axis=1),
        "leaving_decisions": decisions[:, :HORIZON_DAYS].sum(axis=1),
        "leaving_total": total[:, :HORIZON_DAYS].sum(axis=1),
        "days_with_errors_14d": (errors[:, -14:] > 0).sum(axis=1).astype(float),
        "worst_day_errors_14d": errors[:, -14:].max(axis=1),
        "days_since_error": np.where(
            (errors > 0).any(axis=1), (errors[:, ::-1] > 0).argmax(axis=1), float(WINDOW_DAYS)
        ),
    }
    for days in RECENT_DAYS:
        found[f"errors_{days}d"] = errors[:, -days:].sum(axis=1)
        found[f"error_share_{days}d"] = _share(found[f"errors_{days}d"], total[:, -days:].sum(axis=1))
    for name in CLASSES:
        for days in (*RECENT_DAYS, WINDOW_DAYS):
            found[f"{name}_{days}d"] = windows[:, -days:, PLACE[name]].sum(axis=1)
    for days in (7, 14):
        found[f"latency_{days}d"] = _latency(windows[:, -days:].sum(axis=1))
    for days in (3, 7, 14):
        found[f"decisions_{days}d"] = decisions[:, -days:].sum(axis=1)
    return np.column_stack([found[name] for name in FEATURES]).astype(np.float32)


def given_rows(metrics: Sequence[Metrics]) -> Singles:
    """Return the features of integrations of which only the metrics of 30 days are known; the others are NaN."""
    rows = np.full((len(metrics), len(FEATURES)), np.nan, np.float32)
    for name, values in _of_sums(sums_of(metrics)).items():
        rows[:, COLUMN[name]] = values
    return rows


def sums_of(metrics: Sequence[Metrics]) -> Floats:
    """Return what the measures would sum up to, shape (n, len(MEASURES)); each sync has measured its latency."""
    sums = np.zeros((len(metrics), len(MEASURES)))
    for place, one in enumerate(metrics):
        measured = 0 if one.avg_latency_ms is None else one.total_syncs
        for name, value in {
            "total": one.total_syncs,
            "ok": one.successful_syncs,
            "errors": one.error_count,
            "latency": measured * (one.avg_latency_ms or 0.0),
            "measured": measured,
            "conflicts": one.conflicts,
            "duplicates": one.duplicates,
        }.items():
            sums[place, PLACE[name]] = value
    return sums


def scores_of(sums: Floats) -> Mapping[str, Floats]:
    """Return the components and the ``overall`` score of sums of measures, as ``score.score_of`` does one by one."""
    total = sums[..., PLACE["total"]]
    with np.errstate(divide="ignore", invalid="ignore"):
        components = {
            "sync_success_rate": _clamped(sums[..., PLACE["ok"]] / total * 100),
            "latency": _clamped(100 - _latency(sums) / 10),
            "error_rate": np.where(total > 0, _clamped(100 - sums[..., PLACE["errors"]]), np.nan),
            "data_quality": np.where(
                total > 0, _clamped(100 - sums[..., PLACE["conflicts"]] - sums[..., PLACE["duplicates"]]), np.nan
            ),
        }
    return {**components, "overall": sum(components.values(), start=np.zeros(total.shape)) / len(components)}


def start_from(windows: Floats, coming: Floats) -> Floats:
    """Return the score in seven days if these held what is given, shape (n, len(MEASURES))."""
    return np.asarray(scores_of(windows[:, HORIZON_DAYS:].sum(axis=1) + coming)["overall"])


def known_days(windows: Floats) -> Floats:
    """Return how many days it is since the first sync within each window, that day included; 1 without any."""
    synced = windows[:, :, PLACE["total"]] > 0
    return np.where(synced.any(axis=1), WINDOW_DAYS - synced.argmax(axis=1), 1).astype(float)


def _of_sums(sums: Floats) -> dict[str, Floats]:
    scores = scores_of(sums)
    errors = sums[:, PLACE["errors"]]
    return {
        NOW: scores["overall"],
        **{name: scores[name] for name in COMPONENTS},
        "total": sums[:, PLACE["total"]],
        "errors": errors,
        "avg_latency_ms": _latency(sums),
        "conflicts": sums[:, PLACE["conflicts"]],
        "duplicates": sums[:, PLACE["duplicates"]],
        "error_share": _share(errors, sums[:, PLACE["total"]]),
    }


def _latency(sums: Floats) -> Floats:
    return _share(sums[..., PLACE["latency"]], sums[..., PLACE["measured"]])


def _share(part: Floats, whole: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))


def _clamped(values: Floats) -> Floats:
    return np.asarray(np.clip(values, 0.0, 100.0))
