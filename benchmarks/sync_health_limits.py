"""How often the rate-limit forecast's interval holds in the simulated world, which knows when a limit is reached."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.evaluation.intervals import cluster_mean
from crewflow_assets.sync_health.contract import RateLimitForecast
from crewflow_assets.twin.sync.parameters import TICK_MINUTES, TICKS_PER_DAY
from crewflow_assets.twin.sync.world import SyncWorld

WITHIN = (60.0, 120.0, 360.0, 1440.0)
SAID = (0.05, 0.2, 0.5, 0.8, 1.0)


@dataclass(frozen=True, slots=True)
class LimitOutcomes:
    """What became of forecasts, one element each: minutes until the limit, and until the calls began anew.

    ``hit`` is the tick's beginning at which a sync would first have been refused for the day's calls, so that the
    limit was reached within the tick before it; NaN where the calls began anew before.
    """

    hit: Floats
    reset: Floats
    draw: Ints

    def within(self, minutes: float) -> Floats:
        """Return 1 where the limit was reached within so many minutes, 0 where not, NaN where it began anew first."""
        known = np.where((self.hit <= minutes), 1.0, 0.0)
        return np.where(np.isnan(self.hit) & (self.reset < minutes), np.nan, known)


def is_stopped(world: SyncWorld) -> Bools:
    """Return whose sync would be refused for the day's calls if it ran in the tick that begins; the twin knows."""
    state = world.hidden_state()
    return np.asarray(state.needed > world.daily_limit - state.used)


def outcomes(stopped: Bools, who: Ints, tick: Ints, draw: Ints) -> LimitOutcomes:
    """Return what became of forecasts made as ticks began.

    Args:
        stopped: ``is_stopped`` of each tick, shape (ticks, integrations), whole days.
        who: The integrations.
        tick: When.
        draw: Of which draw of the world they are.
    """
    days = stopped.reshape(-1, TICKS_PER_DAY, stopped.shape[1])
    first = np.full(days.shape, -1)
    following = np.full((days.shape[0], days.shape[2]), -1)
    for row in range(TICKS_PER_DAY - 1, -1, -1):
        following = np.where(days[:, row], row, following)
        first[:, row] = following
    day, rows = np.divmod(tick, TICKS_PER_DAY)
    found = first[day, rows, who]
    return LimitOutcomes(
        hit=np.where(found >= 0, (found - rows) * float(TICK_MINUTES), np.nan),
        reset=(TICKS_PER_DAY - rows) * float(TICK_MINUTES),
        draw=draw,
    )


def placed(forecasts: Sequence[RateLimitForecast], found: LimitOutcomes) -> tuple[Bools, Bools, Bools]:
    """Return where the limit came before the interval, in it, and after it; none of them where the reset hides it."""
    low = np.array([one.low_minutes for one in forecasts])
    high = np.array([np.inf if one.high_minutes is None else one.high_minutes for one in forecasts])
    before = found.hit < low
    after = np.where(np.isnan(found.hit), found.reset, found.hit) - TICK_MINUTES >= high
    return before, ~np.isnan(found.hit) & ~before & ~after, after


def print_coverage(forecasts: Sequence[RateLimitForecast], found: LimitOutcomes) -> None:
    """Print how often the interval held, by the minutes forecast, and how often the limit came within two hours."""
    said = np.array([one.minutes for one in forecasts])
    before, within, after = placed(forecasts, found)
    print(
        "| forecast | n | reset came first, unknown | reached before the interval | in it | after it | in it, "
        "95 % interval |\n|---|---|---|---|---|---|---|"
    )
    edges = (0.0, *WITHIN)
    bands = zip(edges, WITHIN, strict=False)
    groups = [(f"in {low:g} to {high:g} minutes", (said >= low) & (said < high)) for low, high in bands]
    for name, chosen in [*groups, ("all", np.ones(len(said), bool))]:
        known = chosen & (before | within | after)
        if not known.any():
            continue
        share = cluster_mean(within[known].astype(float), found.draw[known].astype(object))
        print(
            f"| {name} | {chosen.sum():,} | {(chosen & ~known).sum():,} | {before[known].mean():.1%} | "
            f"{share.value:.1%} | {after[known].mean():.1%} | {share.low:.1%} to {share.high:.1%} |"
        )
    likely, came = np.array([one.probability for one in forecasts]), found.within(120)
    print("\n| said to be reached within 2 hours | n | mean said | reached | 95 % interval |\n|---|---|---|---|---|")
    for low, high in zip((-1.0, *SAID), SAID, strict=False):
        chosen = (likely > low) & (likely <= high) & ~np.isnan(came)
        if chosen.any():
            share = cluster_mean(came[chosen], found.draw[chosen].astype(object))
            print(
                f"| {max(low, 0):.0%} to {high:.0%} | {chosen.sum():,} | {likely[chosen].mean():.1%} | "
                f"{share.value:.1%} | {share.low:.1%} to {share.high:.1%} |"
            )
