"""The best that could be decided by one who knows the hidden state at the moment of the decision.

It knows what is wrong and how it stands: for how long an outage or a brief trouble has lasted, when a maintenance is
planned to end, when those who were told will renew a grant or mend a record, what the other apps are about to call.
It does not know how long an outage, a brief trouble or a trouble of our network will last, nor luck; for these it
has the distributions that they are drawn from.
"""

import numpy as np

from crewflow_assets.arrays import Floats, Ints
from crewflow_assets.twin.retries.parameters import brief_survival
from crewflow_assets.twin.retries.play import HORIZON_HOURS
from crewflow_assets.twin.retries.policies import SHORTEST, Never
from crewflow_assets.twin.retries.policy import Decisions, Failures
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.attempts import Cause
from crewflow_assets.twin.sync.outages import Kind, outage_survival
from crewflow_assets.twin.sync.parameters import TICK_MINUTES

DELAYS: Floats = np.geomspace(SHORTEST, HORIZON_HOURS * 3600, 60)
"""Seconds: the delays that are weighed."""
WORTHWHILE = 0.05
MOST = 20
"""Retries of a call at most."""


class Ceiling(Never):
    """Retries as soon as the chance of success reaches a mark, or else when it is best within the horizon.

    Args:
        world: Whose calls are retried.
        sure: The mark, in (0, 1).
        horizon_hours: After a call's first failure; later it is of no use.
        for_people: Whether calls that wait for a person (grants, refused records) are retried when that is done.
    """

    def __init__(
        self, world: RetryWorld, sure: float, *, horizon_hours: float = HORIZON_HOURS, for_people: bool = True
    ) -> None:
        self._world, self._sure, self._horizon, self._for_people = world, sure, horizon_hours, for_people
        draws = world.recorded.world.draws
        self._longest = world.fleet.spread([d.parameters for d in draws], lambda p: p.longest_outage_hours)
        self._trouble = world.fleet.spread([d.parameters for d in draws], lambda p: p.network_trouble_minutes)

    def decide(self, failures: Failures) -> Decisions:
        """See ``RetryPolicy``."""
        latest = failures.first_minute + self._horizon * 60
        at = failures.minute[:, None] + DELAYS / 60
        chance = np.where(at <= np.minimum(latest, self._world.minutes - 1)[:, None], self.chance(failures), 0.0)
        first = np.argmax(chance >= self._sure, axis=1)
        reached = chance.max(axis=1) >= self._sure
        best = np.where(reached, first, np.argmax(chance, axis=1))
        is_worth = (chance[np.arange(len(best)), best] >= WORTHWHILE) & (failures.attempts < MOST)
        if not self._for_people:
            is_worth &= ~np.isin(failures.hidden_cause, (int(Cause.AUTH), int(Cause.DATA_QUALITY)))
        looked = failures.write & ~failures.idempotent
        decisions = Decisions.plain(np.where(is_worth, DELAYS[best], np.nan))
        return Decisions(decisions.delay_seconds, looked, decisions.propensity)

    def chance(self, failures: Failures) -> Floats:
        """Return the probability that a retry after each of ``DELAYS`` succeeds, shape (failures, delays)."""
        world, who, call = self._world, failures.who, failures.call
        now = failures.minute[:, None]
        at = np.minimum(now + DELAYS / 60, world.minutes - 1)
        tick = (at / TICK_MINUTES).astype(np.int64)
        here = (failures.minute / TICK_MINUTES).astype(np.int64)
        each = np.broadcast_to(who[:, None], tick.shape)
        ok = self._api(who, failures.minute, at)
        ok *= 1 - self._network(who, failures.minute)[:, None] * np.exp(-DELAYS / 60 / self._trouble[who, None])
        ok *= tick >= world.free_tick[here, who][:, None]
        ok *= at >= world.calls.mended_minute[call][:, None]
        rest = np.broadcast_to(failures.hidden_rest[:, None], tick.shape)
        ok *= 1 - world.limits_in(each.ravel(), tick.ravel()).chance_of_hitting(rest.ravel()).reshape(tick.shape)
        ok *= (failures.hidden_cause[:, None] != Cause.RATE_LIMIT) | (DELAYS >= 60)  # within a minute nothing changes
        age = failures.hidden_brief_seconds[:, None]
        scale = world.brief_scale[who, None]
        lasts = brief_survival(np.nan_to_num(age) + DELAYS, scale) / np.maximum(
            brief_survival(np.nan_to_num(age), scale), 1e-9
        )
        ok *= np.where(np.isnan(age), 1.0, 1 - lasts)
        chances: Floats = ok * (1 - world.transient[who, None])
        return chances

    def _network(self, who: Ints, minute: Floats) -> Floats:
        return self._world.recorded.world.hidden_network.failing(self._world.fleet.draw[who], minute)

    def _api(self, who: Ints, minute: Floats, at: Floats) -> Floats:
        """Return the chance that the API answers at some moments, seen from each minute."""
        world, line = self._world, self._world.recorded.world.servers.timeline
        phase = line.at(world.fleet.server[who], minute)
        is_touched = line.touches(phase, world.fleet.place[who])
        kind = np.where(is_touched, line.kind[phase], Kind.NORMAL)[:, None]
        failing, age = line.failing[phase][:, None], (minute - line.start[phase])[:, None]
        longest = self._longest[who, None]
        lasts = outage_survival(age + at - minute[:, None], longest) / np.maximum(
            outage_survival(age, longest), 1e-12
        )
        planned = at < line.end[phase][:, None]
        risk = np.select(
            [kind == Kind.OUTAGE, (kind == Kind.MAINTENANCE) | (kind == Kind.AFTERMATH) | (kind == Kind.PASSING)],
            [lasts * failing, planned * failing],
            default=0.0,
        )
        up: Floats = 1 - risk
        return up
