"""What can be seen around a failure: the integration's own syncs and those of the API's other customers."""

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.sync.attempts import Attempts
from crewflow_assets.twin.sync.fleet import Fleet

DAY_MINUTES = 1440.0


class Surroundings:
    """Looks into the sync attempts of a world, always strictly before the minute asked about."""

    def __init__(self, fleet: Fleet, attempts: Attempts, minutes: float) -> None:
        self._server = fleet.server
        self._calls_left = attempts.calls_left.astype(np.float64)
        self._span = minutes + 2 * DAY_MINUTES
        self._own = _Counted(attempts.who, attempts, self._span)
        self._api = _Counted(fleet.server[attempts.who], attempts, self._span)

    def latency_24h(self, who: Ints, minute: Floats) -> Floats:
        """Return the mean latency of each integration's syncs in the last 24 hours, ms; NaN without any."""
        seen, _, latency = self._own.between(who, minute - DAY_MINUTES, minute)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: Floats = np.where(seen > 0, latency / seen, np.nan)
        return mean

    def own(self, who: Ints, minute: Floats, window_minutes: float) -> tuple[Ints, Ints]:
        """Return how many of the integration's own syncs failed in the minutes before, and how many there were."""
        seen, failed, _ = self._own.between(who, minute - window_minutes, minute)
        return failed, seen

    def others(self, who: Ints, minute: Floats, window_minutes: float) -> tuple[Ints, Ints]:
        """Return the same of the API's other customers."""
        own_failed, own_seen = self.own(who, minute, window_minutes)
        seen, failed, _ = self._api.between(self._server[who], minute - window_minutes, minute)
        return failed - own_failed, seen - own_seen

    def since_success(self, who: Ints, minute: Floats) -> Floats:
        """Return the minutes since each integration's last good sync; infinity without any."""
        return self._own.since_success(who, minute)

    def next_success(self, who: Ints, minute: Floats) -> Floats:
        """Return the minute of each integration's first good sync after a minute; infinity without any."""
        return self._own.next_success(who, minute)

    def headroom(self, who: Ints, minute: Floats, per_day: Floats) -> Floats:
        """Return the share of the day's calls that the last sync told to be left; NaN where it told nothing."""
        left = self._own.last(self._calls_left, who, minute)
        with np.errstate(invalid="ignore"):
            share: Floats = left / per_day
        return share

    def trouble_minutes(self, who: Ints, minute: Floats) -> Floats:
        """Return for how long an integration has been failing: minutes since the first failed sync after its last
        good one; 0 where its last sync was good or there was none."""
        return self._own.failing_for(who, minute)


class _Counted:
    """Attempts by group and time, with running sums."""

    def __init__(self, group: Ints, attempts: Attempts, span: float) -> None:
        keys = group * span + attempts.minute
        order = np.argsort(keys, kind="stable")
        self._span, self._keys = span, keys[order]
        failed = ~attempts.ok[order]
        self._failed = np.concatenate([[0], np.cumsum(failed)])
        self._latency = np.concatenate([[0.0], np.cumsum(attempts.latency_ms[order].astype(np.float64))])
        self._minute, ordered = attempts.minute[order], group[order]
        fresh = np.ones(len(order), dtype=bool)
        fresh[1:] = (ordered[1:] != ordered[:-1]) | ~failed[:-1]
        begun = np.where(failed & fresh, np.arange(len(order)), 0)
        self._began = np.where(failed, np.maximum.accumulate(begun), -1)
        self._group, self._order = ordered, order
        good = np.where(~failed, np.arange(len(order)), -1)
        self._good = np.maximum.accumulate(good) if len(order) else good
        later = np.where(~failed, np.arange(len(order)), len(order))
        self._next_good = np.append(np.minimum.accumulate(later[::-1])[::-1], len(order))

    def between(self, group: Ints, low: Floats, high: Floats) -> tuple[Ints, Ints, Floats]:
        """Return number, failures and summed latency of the attempts in [low, high)."""
        first = np.searchsorted(self._keys, group * self._span + np.maximum(low, -DAY_MINUTES), side="left")
        beyond = np.searchsorted(self._keys, group * self._span + high, side="left")
        failed: Ints = self._failed[beyond] - self._failed[first]
        return (beyond - first).astype(np.int64), failed, self._latency[beyond] - self._latency[first]

    def since_success(self, group: Ints, minute: Floats) -> Floats:
        last, is_known = self._last(group, minute)
        good = self._good[last]
        is_own = is_known & (good >= 0) & (self._group[np.maximum(good, 0)] == group)
        return np.where(is_own, minute - self._minute[np.maximum(good, 0)], np.inf)

    def next_success(self, group: Ints, minute: Floats) -> Floats:
        after = np.searchsorted(self._keys, group * self._span + minute, side="right")
        good = self._next_good[after]
        place = np.minimum(good, len(self._group) - 1)
        is_own = (good < len(self._group)) & (self._group[place] == group)
        return np.where(is_own, self._minute[place], np.inf)

    def last(self, values: Floats, group: Ints, minute: Floats) -> Floats:
        """Return what the last attempt before each minute has in an array of all attempts; NaN without one."""
        last, is_known = self._last(group, minute)
        return np.where(is_known, values[self._order[last]], np.nan)

    def _last(self, group: Ints, minute: Floats) -> tuple[Ints, Bools]:
        last = np.searchsorted(self._keys, group * self._span + minute, side="left") - 1
        place = np.maximum(last, 0)
        return place, (last >= 0) & (self._group[place] == group)

    def failing_for(self, group: Ints, minute: Floats) -> Floats:
        place, is_known = self._last(group, minute)
        is_failing = is_known & (self._began[place] >= 0)
        return np.where(is_failing, minute - self._minute[np.maximum(self._began[place], 0)], 0.0)
