"""The best that could be known: the probability that a sync fails, given the hidden state as its tick begins.

It knows what servers, grants, records, other apps and our network are at, not what they will do: outages last on by
the distribution of their lengths, a server that slows down before an outage goes down at its rate. Mechanisms are
taken as independent of each other within the minutes to the sync.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.sync.attempts import Cause
from crewflow_assets.twin.sync.fleet import Fleet
from crewflow_assets.twin.sync.luck import Network
from crewflow_assets.twin.sync.outages import MINUTES_PER_DAY, MONTH_DAYS, Kind, Timeline, outage_survival
from crewflow_assets.twin.sync.parameters import TICK_MINUTES, SyncParameters

MEAN_FAILING = 0.845
MEAN_SHARE = 0.675
MEAN_TROUBLE = 0.75
"""Means over the draws of ``outages.draw_phases`` and ``luck.Network`` at the default parameters: how surely a sync
fails in an outage or in network trouble, and how many customers an outage touches. They weigh only what is yet to
begin, which is rare."""


class Ceiling:
    """The hidden risks of the integrations of a fleet."""

    def __init__(
        self, fleet: Fleet, parameters: Sequence[SyncParameters], timeline: Timeline, network: Network
    ) -> None:
        self._fleet, self._timeline, self._network = fleet, timeline, network
        per_minute = 1 / (MONTH_DAYS * MINUTES_PER_DAY)
        unheralded = fleet.spread(parameters, lambda p: p.outages_per_month * (1 - p.degradation_share))
        self._outages = unheralded * per_minute * MEAN_SHARE * MEAN_FAILING
        self._lead = fleet.spread(parameters, lambda p: p.degradation_lead_minutes)
        self._longest = fleet.spread(parameters, lambda p: p.longest_outage_hours)
        self._troubles = fleet.spread(parameters, lambda p: p.network_troubles_per_month) * per_minute
        self._trouble = fleet.spread(parameters, lambda p: p.network_trouble_minutes)
        self._transient = fleet.spread(parameters, lambda p: p.transient_rate)

    def risks(
        self,
        tick: int,
        who: Ints,
        minute: Floats,
        *,
        is_locked_out: Bools,
        refused: Ints,
        throttled: Floats,
    ) -> Mapping[Cause, Floats]:
        """Return the probabilities by cause of a sync in ``minute`` of the world, seen from the tick's beginning.

        Args:
            tick: The tick that begins.
            who: The integrations asked about; the other arrays have one element for each.
            minute: When the sync would run.
            is_locked_out: Whether the grant has ended.
            refused: Records waiting that the other side refuses.
            throttled: Probability that the rate limit stops the sync.
        """
        now = np.full(len(who), float(tick * TICK_MINUTES))
        return {
            Cause.NETWORK: self._network_risk(who, now, minute),
            Cause.API_DOWN: self._api_risk(who, now, minute),
            Cause.AUTH: is_locked_out.astype(np.float64),
            Cause.RATE_LIMIT: throttled,
            Cause.DATA_QUALITY: (refused > 0).astype(np.float64),
            Cause.TRANSIENT: self._transient[who],
        }

    def _network_risk(self, who: Ints, now: Floats, minute: Floats) -> Floats:
        wait, mean = minute - now, self._trouble[who]
        under_way = self._network.failing(self._fleet.draw[who], now)
        # begun since the tick and not over: rate × mean × (1 - exp(-wait / mean))
        begun = self._troubles[who] * mean * -np.expm1(-wait / mean) * MEAN_TROUBLE
        return np.where(under_way > 0, under_way * np.exp(-wait / mean), begun)

    def _api_risk(self, who: Ints, now: Floats, minute: Floats) -> Floats:
        line, fleet = self._timeline, self._fleet
        wait = minute - now
        phase = line.at(fleet.server[who], now)
        kind = np.where(line.touches(phase, fleet.place[who]), line.kind[phase], Kind.NORMAL)
        failing, age = line.failing[phase], now - line.start[phase]
        risk = self._outages[who] * wait
        risk = np.where((kind == Kind.PASSING) | (kind == Kind.AFTERMATH), np.maximum(failing, risk), risk)
        falls = -np.expm1(-wait / self._lead[who])
        risk = np.where(kind == Kind.OMEN, falls * MEAN_FAILING + (1 - falls) * failing, risk)
        risk = np.where(kind == Kind.MAINTENANCE, np.where(line.end[phase] > minute, failing, 0.0), risk)
        longest = self._longest[who]
        lasts = outage_survival(age + wait, longest) / np.maximum(outage_survival(age, longest), 1e-12)
        return np.where(kind == Kind.OUTAGE, lasts * failing, risk)


def any_of(risks: Mapping[Cause, Floats]) -> Floats:
    """Return the probability that at least one of them comes true."""
    fine = np.ones(len(next(iter(risks.values()))))
    for risk in risks.values():
        fine *= 1 - risk
    return 1 - fine
