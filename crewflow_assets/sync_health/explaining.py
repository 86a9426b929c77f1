"""Why a sync is at risk: the model's exact contributions, grouped by cause, each with numbers a person can check."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.special import expit, logit

from crewflow_assets.arrays import AnyFloats, Singles
from crewflow_assets.sync_health.contract import Cause, RiskFactor
from crewflow_assets.sync_health.events import STATUSES
from crewflow_assets.sync_health.features import COLUMN, ERROR_CAUSE, FEATURES, cause_of
from crewflow_assets.sync_health.measures import ERRORS

Row = Singles

LEAST_SHOWN = 0.02
"""A cause that explains less of the probability is not named."""
_SAID = {
    "rate_limit": "rate limit (429)",
    "auth": "not authorised",
    "server": "server error",
    "timeout": "no answer in time",
    "connection": "no connection",
    "refused": "request refused",
}


def risk_factors(row: Row, contributions: AnyFloats, probability: float) -> list[RiskFactor]:
    """Return the causes of a risk, largest first.

    A cause's contribution is what the probability would lose without what its features add to the log-odds. Features
    that speak of failures of any cause count for the cause of the last error, or of the commonest one.

    Args:
        row: Shape (len(FEATURES),).
        contributions: What each feature adds to the log-odds, same shape.
        probability: The calibrated probability.
    """
    sums: dict[Cause, float] = {}
    history = _history_cause(row)
    for place, cause in enumerate(_causes()):
        counted = cause or history
        if counted is not None:
            sums[counted] = sums.get(counted, 0.0) + float(contributions[place])
    odds = float(logit(np.clip(probability, 1e-6, 1 - 1e-6)))
    found = [
        RiskFactor(
            code=cause, detail=_DETAILS[cause](row), contribution=round(probability - float(expit(odds - added)), 4)
        )
        for cause, added in sums.items()
        if probability - float(expit(odds - added)) >= LEAST_SHOWN
    ]
    return sorted(found, key=lambda factor: -factor.contribution)


@lru_cache(maxsize=1)
def _causes() -> tuple[Cause | None, ...]:
    return tuple(cause_of(name) for name in FEATURES)


def _history_cause(row: Row) -> Cause | None:
    last = [name for name in ERRORS if row[COLUMN[f"last_{name}"]] == 1]
    if last:
        return ERROR_CAUSE[last[0]]
    counts = {name: float(row[COLUMN[f"errors_{name}_last_30"]]) for name in ERRORS}
    most = max(counts, key=lambda name: np.nan_to_num(counts[name]))
    return ERROR_CAUSE[most] if counts[most] > 0 else None


def _of(row: Row, name: str) -> float:
    """Return a feature; NaN where it is not known."""
    return float(row[COLUMN[name]])


def _failing(row: Row, cause: Cause) -> str | None:
    """Say how many failures in a row there are, if the last one is of the cause."""
    in_a_row = np.nan_to_num(_of(row, "failures_in_a_row"))
    for name in ERRORS:
        if ERROR_CAUSE[name] == cause and row[COLUMN[f"last_{name}"]] == 1 and in_a_row > 0:
            times = "the last sync failed" if in_a_row == 1 else f"{in_a_row:.0f} failures in a row, the last"
            return f"{times}: {_SAID[name]}"
    return None


def _counted(row: Row, cause: Cause) -> str | None:
    """Say how many errors of the cause there were lately."""
    for window, said in (("_24h", "in the last 24 hours"), ("_last_30", "in the last 30 syncs")):
        counts = [np.nan_to_num(_of(row, f"errors_{name}{window}")) for name in ERRORS if ERROR_CAUSE[name] == cause]
        if (total := sum(counts)) > 0:
            return f"{total:.0f} such failure{'' if total == 1 else 's'} {said}"
    return None


def _rate_limit(row: Row) -> str:
    headroom, hits = _of(row, "headroom"), _of(row, "rate_limit_hits_24h")
    if not np.isnan(headroom) and headroom < 0.5:
        return f"{1 - headroom:.0%} of the calls used"
    if (said := _failing(row, "rate_limit")) is not None:
        return said
    if hits > 0:
        return f"{hits:.0f} refusal{'' if hits == 1 else 's'} for too many calls in the last 24 hours"
    others = _of(row, "others_limited_60m")
    if others > 0:
        were = "other on this API was" if others == 1 else "others on this API were"
        return f"{others:.0f} {were} refused for too many calls in the last hour"
    if not np.isnan(headroom):
        return f"{1 - headroom:.0%} of the calls used"
    return "too many calls are likely, from how they went before"


def _api_down(row: Row) -> str:
    status = _of(row, "api_status")
    if status > 0:
        return f"the status page says {STATUSES[int(status)].replace('_', ' ')}"
    for minutes, said in ((15, "15 minutes"), (60, "hour")):
        failed, n = _of(row, f"others_failed_{minutes}m"), _of(row, f"others_n_{minutes}m")
        if failed > 0:
            return f"{failed:.0f} of {n:.0f} other syncs with this API failed in the last {said}"
    return _failing(row, "api_down") or _counted(row, "api_down") or "the API has been failing others like this one"


def _latency(row: Row) -> str:
    last, usual = _of(row, "last_latency"), _of(row, "usual_latency")
    if np.isnan(last) or np.isnan(usual):
        average = _of(row, "avg_latency_24h")
        return "latency is unusual" if np.isnan(average) else f"average latency {seconds(average)} in 24 hours"
    return f"latency {seconds(last)}, usually {seconds(usual)}"


def _network(row: Row) -> str:
    share, ratio = _of(row, "fleet_failed_share_15m"), _of(row, "network_ratio")
    if ratio > 1.5:
        return f"network latency {_of(row, 'last_network'):.0f} ms, {ratio:.1f} times the usual"
    if (said := _failing(row, "network")) is not None:
        return said
    if share > 0:
        return f"{share:.1%} of all syncs, on every API, failed in the last 15 minutes"
    return _counted(row, "network") or "the network has been slow or broken"


def _auth(row: Row) -> str:
    return _failing(row, "auth") or _counted(row, "auth") or "authorisation has failed before"


def _data_quality(row: Row) -> str:
    records = _of(row, "records_failed_24h")
    if records > 0:
        return f"{records:.0f} record{'' if records == 1 else 's'} refused in the last 24 hours"
    return _failing(row, "data_quality") or _counted(row, "data_quality") or "records have been refused before"


_DETAILS: dict[Cause, Callable[[Row], str]] = {
    "rate_limit": _rate_limit,
    "api_down": _api_down,
    "latency": _latency,
    "network": _network,
    "auth": _auth,
    "data_quality": _data_quality,
}


def seconds(milliseconds: float) -> str:
    """Render a latency as people say it: ``2.3 s``, ``41 ms``."""
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"
