"""Our model in the closed loop: fitted on worlds of other seeds, asked at each tick."""

from collections.abc import Callable, Mapping
from datetime import datetime

import numpy as np

from crewflow_assets.backtest.moments import RecentHistory, tables, ticks_of
from crewflow_assets.backtest.suspects import Suspects
from crewflow_assets.sync_health.events import describe
from crewflow_assets.sync_health.explaining import risk_factors
from crewflow_assets.sync_health.features import columns_of, feature_rows
from crewflow_assets.sync_health.limits import forecast
from crewflow_assets.sync_health.model import SyncHealthPredictor, fit
from crewflow_assets.sync_health.policy import FORECAST_ACTS_ABOVE, Risk
from crewflow_assets.twin.notes import draw_parameters
from crewflow_assets.twin.sync.parameters import TICK_MINUTES, TICKS_PER_DAY, SyncParameters
from crewflow_assets.twin.sync.policy import View
from crewflow_assets.twin.sync.world import SyncWorld, run, standard_draw

TRAINING_SEED = 1
LOOK_AT_ALL = TICKS_PER_DAY // 4 + 1
"""Ticks between two looks at all that are due; one more than six hours, so that every hour gets its turn."""


def fit_on_twin(
    draws: int, integrations: int, days: int, start: datetime, progress: Callable[[int, int], None]
) -> SyncHealthPredictor:
    """Fit the model on worlds without action, whose parameters are drawn from the ranges too.

    The first week is history alone.
    """
    seeds = range(TRAINING_SEED, TRAINING_SEED + draws)
    each = [standard_draw(seed, integrations, draw_parameters(SyncParameters, seed)) for seed in seeds]
    world = SyncWorld(each, start=start, days=days)
    attempts, statuses = tables(world, run(world, progress=progress))
    found = columns_of(describe(attempts, statuses))
    ticks = ticks_of(world, found["micros"])
    counted = ticks >= 7 * TICKS_PER_DAY
    return fit(feature_rows(found)[counted], found["failed"][counted], ticks[counted], seed=0)


class ModelScorer:
    """Asks the model about the integrations that are due and worth a look, from what the platform saw.

    Attributes:
        looked: Integrations described at the ticks at which all that were due were looked at.
        missed: Of those, how many were at risk without having been worth a look.
    """

    def __init__(self, world: SyncWorld, predictor: SyncHealthPredictor, *, from_tick: int) -> None:
        self._history, self._suspects = RecentHistory(world), Suspects(world)
        self._predictor, self._from = predictor, from_tick
        self._just_failed = np.empty(0, dtype=np.int64)
        self.looked = self.missed = 0

    def see(self, view: View) -> None:
        """Take in the tick before."""
        self._suspects.see(view)
        if view.attempts is not None:
            self._history.add(view.attempts)
            self._just_failed = view.attempts.who[~view.attempts.ok]

    def risks(self, view: View) -> Mapping[int, Risk]:
        """Return those at risk of the ones that are due or have just failed, so that people are asked at once."""
        due = np.flatnonzero((view.next_tick <= view.tick) & (view.paused_until <= view.tick))
        chosen = np.union1d(self._suspects.among(due, view.tick), self._just_failed)
        asked = np.union1d(due, chosen) if (view.tick - self._from) % LOOK_AT_ALL == 0 else chosen
        if not len(asked):
            return {}
        late = np.maximum(view.next_tick[asked] - view.tick, 0) * float(TICK_MINUTES)
        who, found = self._history.described(asked, view.tick, late)
        rows = feature_rows(found)
        probability = self._predictor.full.probability(rows)
        forecasts = [forecast(found, place) for place in range(len(who))]
        limited = np.array([one is not None and one.probability > FORECAST_ACTS_ABOVE for one in forecasts])
        called = np.flatnonzero((probability > FORECAST_ACTS_ABOVE) | limited)
        if len(asked) > len(chosen):
            self.looked += len(asked)
            self.missed += int((~np.isin(who[called], chosen)).sum())
        if not len(called):
            return {}
        contributions = self._predictor.full.contributions(rows[called])
        risks = {}
        for place, parts in zip(called, contributions, strict=True):
            likely = float(probability[place])
            risks[int(who[place])] = Risk(likely, risk_factors(rows[place], parts, likely), forecasts[place])
        return risks
