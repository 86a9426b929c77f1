"""The rate limits: how many calls a sync can make before it gives up, and when it cannot make enough.

A sync that is answered with 429 waits and tries again within its patience. Within a minute the calls of the other
apps vary by a log-normal factor that nobody knows beforehand.
"""

from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.sync.fleet import Fleet
from crewflow_assets.twin.sync.parameters import SyncParameters

OTHERS_SIGMA = 0.3
"""Spread of the logarithm of the other apps' calls within a tick: an assumption."""
HITS_A_MINUTE = 6.0
"""Calls answered with 429 in a minute in which none gets through; the client backs off. An assumption."""
OWN_SHARE = 0.8
"""Our client keeps its own pace below this share of the limit a minute: an assumption."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of some integrations and the state of their use, one element each; calls, and calls a minute.

    ``others`` is what the other apps make a minute in this tick, ``used`` what counts against the day so far.
    """

    per_minute: Floats
    per_day: Floats
    pace: Floats
    patience: Floats
    others: Floats
    used: Floats

    def chosen(self, who: Ints) -> "Limits":
        """Return those of some integrations."""
        return Limits(
            self.per_minute[who],
            self.per_day[who],
            self.pace[who],
            self.patience[who],
            self.others[who],
            self.used[who],
        )

    def left_today(self) -> Floats:
        """Return the calls that the day still allows."""
        return np.maximum(self.per_day - self.used, 0)

    def chance_of_hitting(self, needed: Floats) -> Floats:
        """Return the probability that a sync cannot make the calls needed."""
        from scipy.special import ndtr

        spare = self.per_minute - needed / self.patience
        with np.errstate(divide="ignore", invalid="ignore"):
            minute = 1 - ndtr(np.log(np.maximum(spare, 0) / self.others) / OTHERS_SIGMA)
        minute = np.where(spare <= 0, 1.0, np.where(self.others > 0, minute, 0.0))
        return np.where(needed > self.left_today(), 1.0, minute)

    def run(self, needed: Floats, normal: Floats) -> tuple[Bools, Floats, Floats]:
        """Return which syncs cannot make their calls, the calls that get through, and those answered with 429."""
        spare = np.maximum(self.per_minute - self.others * np.exp(OTHERS_SIGMA * normal), 0)
        allowed = np.minimum(spare * self.patience, self.left_today())
        is_stopped = needed > allowed
        made = np.minimum(needed, allowed)
        starved = np.clip(1 - spare / self.pace, 0, 1)
        minutes = np.minimum(made / np.maximum(np.minimum(self.pace, spare), 1e-9), self.patience)
        hits = np.ceil(HITS_A_MINUTE * starved * np.where(is_stopped, self.patience, minutes))
        return is_stopped, made, np.where(is_stopped, np.maximum(hits, 1), hits)

    def wait_seconds(self, needed: Floats, *, until_midnight: float) -> Floats:
        """Return what a 429 says to wait: a minute, or until midnight where what is left of the day is too little."""
        return np.where(needed > self.left_today(), until_midnight, 60.0)

    def lasting_interval(self, polling: Floats, ahead: Floats, ticks: int) -> Floats:
        """Return the least interval in ticks at which the calls of the day last for the ticks that are left of it.

        Args:
            polling: Calls of a sync without records.
            ahead: Calls that records and the other apps will make before the day is over.
            ticks: Left of the day.
        """
        syncs = np.maximum((self.left_today() - ahead) / polling, 1e-9)
        return np.maximum(np.where(np.isinf(self.per_day), 1.0, ticks / syncs), 1.0)


def limits_of(fleet: Fleet, parameters: list[SyncParameters], usual_latency_ms: Floats) -> Limits:
    """Return the limits of a fleet, with nothing used; ``pace`` is what our client makes a minute unhindered."""
    in_flight = np.minimum(fleet.spread(parameters, lambda p: p.own_concurrency), fleet.limit("concurrent"))
    return Limits(
        per_minute=fleet.limit("calls_per_minute"),
        per_day=fleet.limit("calls_per_day"),
        pace=np.minimum(in_flight * 60_000 / usual_latency_ms, OWN_SHARE * fleet.limit("calls_per_minute")),
        patience=fleet.spread(parameters, lambda p: p.patience_minutes),
        others=np.zeros(len(fleet)),
        used=np.zeros(len(fleet)),
    )
