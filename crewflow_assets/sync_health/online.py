"""Describing a few syncs that are due from what is kept in memory: ``events.due`` without planning a query.

The numbers of each attempt come from the same expression, once for each integration and change. What adds them up
stands in ``MEASURES``, which ``events`` reads too; a test demands the same numbers of both.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache

import numpy as np

from crewflow_assets.arrays import Floats
from crewflow_assets.sync_health.integrations import Key
from crewflow_assets.sync_health.measures import MEASURES, MINUTE, NEIGHBOUR_MINUTES, OWN_EXCLUDED
from crewflow_assets.sync_health.neighbours import COUNTS
from crewflow_assets.sync_health.recent import AROUND, Recent
from crewflow_assets.sync_health.surroundings import Rows, Surroundings

USUAL_INTERVAL = 60.0
"""Minutes, where nothing says how often an integration syncs."""
KEPT_INTEGRATIONS = 256


class Online:
    """What was recently asked about, prepared; kept until it changes."""

    def __init__(self, recent: Recent) -> None:
        self._recent = recent
        self._own: OrderedDict[Key, tuple[tuple[int, int], Rows]] = OrderedDict()
        self._surroundings = Surroundings(recent)
        self._lock = threading.Lock()

    def described(self, keys: Sequence[Key], at: datetime) -> dict[str, Floats]:
        """Describe the next sync of integrations as known at a moment, as ``features.columns_of`` gives it.

        It is due an interval after the last, and at once if overdue. ``Recent`` must be up to date.
        """
        with self._lock, self._recent.unchanged():
            versions = {key: self._recent.version(key) for key in keys}
            missing = [key for key, version in versions.items() if self._own.get(key, (None,))[0] != version]
            around, statuses, read = self._surroundings.at(at, missing)
            self._own |= {key: (versions[key], read.of(key)) for key in missing}
            own = {key: self._own[key][1] for key in versions}
            for key in own:
                self._own.move_to_end(key)
            while len(self._own) > KEPT_INTEGRATIONS:
                self._own.popitem(last=False)
        found = {key: _described(mine, around, statuses, at) for key, mine in own.items()}
        rows = [found[key] for key in keys]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _described(own: Rows, around: Rows, statuses: Rows, at: datetime) -> dict[str, float]:
    known_until = round(at.timestamp() * 1e6)
    n = own.before(known_until)
    interval = own.columns["interval"][:n]
    stated = interval[~np.isnan(interval)]
    due, system = float(known_until), None
    if n:
        system = own.systems[n - 1]
        minutes = (float(stated[-1]) if len(stated) else 0.0) or USUAL_INTERVAL
        after = timedelta(minutes=minutes) // timedelta(microseconds=1)
        due = max(due, float(own.columns["micros"][n - 1]) + after)
    found = {name: 0.0 if np.isnan(value) and name in SUMS else value for name, value in _measured(own, n, due)}
    known = found["last_micros"] + np.nan_to_num(found["last_latency"])
    lead = due - known_until
    lead = max(lead if np.isnan(known) else min(lead, due - known), 0.0)
    minute = (due - lead) // MINUTE
    found |= {"micros": due, "lead": lead, "place": float(n)}
    for window in NEIGHBOUR_MINUTES:
        inside = [k for k in OWN_EXCLUDED if minute - window <= found[f"known_minute_{k}"] <= minute - 1]
        found[f"own_n_{window}m"] = float(len(inside))
        found[f"own_failed_{window}m"] = float(sum(found[f"error_{k}"] > 0 for k in inside))
        found[f"own_limited_{window}m"] = float(sum(found[f"error_{k}"] == 1 for k in inside))
    return found | _neighbours(around, statuses, system, known_until, minute)


SUMS = frozenset(name for name, measure in MEASURES.items() if measure.how in ("sum", "count"))


def _measured(own: Rows, n: int, due: float) -> list[tuple[str, float]]:
    """Return the measures of the first ``n`` attempts; NaN where there is nothing."""
    micros, found = own.columns["micros"][:n], []
    spans = {measure.micros for measure in MEASURES.values() if measure.micros is not None}
    starts: dict[int | None, int] = {span: int(np.searchsorted(micros, due - span)) for span in spans}
    for name, measure in MEASURES.items():
        column, k = own.columns[measure.column], measure.attempts
        if measure.how == "at":
            assert k is not None
            found.append((name, float(column[n - k]) if n >= k else np.nan))
            continue
        part = column[starts[measure.micros] if k is None else max(0, n - k) : n]
        part = part[~np.isnan(part)]
        if measure.how == "count":
            value = float(len(part))
        elif measure.how == "sum":
            value = float(part.sum())
        else:
            value = float(part.max()) if len(part) else np.nan
        found.append((name, value))
    return found


def _neighbours(
    around: Rows, statuses: Rows, system: str | None, known_until: float, minute: float
) -> dict[str, float]:
    """Return how the attempts known before a minute came out, on one system and on all, and its last status."""
    n = around.before(known_until)
    begin = around.before(known_until - AROUND / timedelta(microseconds=1))
    known_minute, same = around.columns["known_minute"][begin:n], around.systems[begin:n] == system
    found = {}
    for window in NEIGHBOUR_MINUTES:
        inside = (known_minute >= minute - window) & (known_minute <= minute - 1)
        for name in COUNTS:
            counted = around.columns[name][begin:n]
            found[f"api_{name}_{window}m"] = float(counted[inside & same].sum())
            found[f"fleet_{name}_{window}m"] = float(counted[inside].sum())
    told = statuses.before(known_until)
    minutes = statuses.columns["minute"][:told]
    before = (statuses.systems[:told] == system) & (minutes < minute)
    last = (minutes * 8 + statuses.columns["status"][:told])[before]
    return found | {"api_status": float(last.max() % 8) if len(last) else np.nan}


@lru_cache(maxsize=2)
def online_of(recent: Recent) -> Online:
    """Return what is kept of an installation."""
    return Online(recent)
