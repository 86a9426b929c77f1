"""The model's policy in the closed loop: the platform's own plan for each risk, kept without a database."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np

from crewflow_assets.backtest.preventing import FRESHNESS_MINUTES
from crewflow_assets.settings import get_settings
from crewflow_assets.sync_health.alerts import LIMIT_WINDOW, QUIET
from crewflow_assets.sync_health.contract import ActionName
from crewflow_assets.sync_health.integrations import SHORTEST_GRANT_SECONDS
from crewflow_assets.sync_health.policy import (
    GRANT_ENDS_WITHIN,
    SCHEDULE,
    Plan,
    Risk,
    Situation,
    TroubleCause,
    is_answered,
    is_dormant,
    plan,
    trouble_of,
)
from crewflow_assets.twin.sync.parameters import TICK_MINUTES
from crewflow_assets.twin.sync.policy import Commands, View
from crewflow_assets.twin.sync.world import SyncWorld

NO_RISK = Risk(0.0)


class Scorer(Protocol):
    """Sees what the platform sees, and names the integrations that may be in trouble."""

    def see(self, view: View) -> None:
        """Take note of the tick before; called at every tick."""

    def risks(self, view: View) -> Mapping[int, Risk]:
        """Return the risks that call for a look, by place in the fleet, from what happened before the tick."""


class Watched:
    """What the watch does at each tick, for all draws at once: plan, command, alert.

    Nothing is withheld. Alerts are counted as people are told them: one a cause and integration until it has been
    quiet for a day, and no more a day and company than the setting says.

    Attributes:
        actions: How many of each kind were taken.
        told: Alerts that people were told, by draw.
        asked: Times that people were asked for a grant or for records, by draw.
    """

    def __init__(self, world: SyncWorld, scorer: Scorer, *, from_tick: int) -> None:
        self._world, self._scorer, self._from = world, scorer, from_tick
        self._standing: dict[int, dict[ActionName, Plan]] = {}
        self._decided: dict[tuple[int, ActionName], datetime] = {}
        self._schedule_ended: dict[int, datetime] = {}
        self._last_minute = np.full(len(world.fleet), -np.inf)
        self._last_ok = np.full(len(world.fleet), -np.inf)
        self._grant_ends = np.full(len(world.fleet), np.inf)
        self._open: dict[tuple[int, TroubleCause], datetime] = {}
        self._told_at: dict[int, list[datetime]] = {}
        self.actions: Counter[str] = Counter()
        self.told = np.zeros(len(world.draws), dtype=np.int64)
        self.asked = np.zeros(len(world.draws), dtype=np.int64)

    def decide(self, view: View) -> Commands | None:
        """See ``crewflow_assets.twin.sync.policy.Policy``."""
        self._scorer.see(view)
        if view.attempts is not None:
            done = view.attempts
            self._last_minute[done.who] = done.minute
            self._last_ok[done.who[done.ok]] = done.minute[done.ok]
            told = done.grant_seconds >= SHORTEST_GRANT_SECONDS  # no word is NaN
            self._grant_ends[done.who[told]] = done.minute[told] + done.grant_seconds[told] / 60
        if view.tick < self._from:
            return None
        self._end_what_is_over(view.moment)
        commands = Commands.none(len(self._world.fleet))
        risks = dict.fromkeys(self._ending(view), NO_RISK) | dict(self._scorer.risks(view))
        for place, risk in risks.items():
            situation = self._situation(place)
            trouble = trouble_of(risk, situation, view.moment)
            if trouble is None or is_dormant(situation.last_attempt_at, view.moment):
                continue
            planned = plan(risk, situation, view.moment)
            if planned is not None:
                self._take(place, planned, view, commands)
            self._alert(place, trouble.cause, view.moment)
        return commands

    def _ending(self, view: View) -> list[int]:
        """Return the integrations whose grant ends soon, whatever their risk."""
        soon = view.tick * TICK_MINUTES + GRANT_ENDS_WITHIN / timedelta(minutes=1)
        return [int(place) for place in np.flatnonzero(self._grant_ends <= soon)]

    def _situation(self, place: int) -> Situation:
        standing = self._standing.get(place, {})
        schedule = next((action for action in standing if action in SCHEDULE), None)
        return Situation(
            interval_minutes=float(self._world.fleet.interval[place] * TICK_MINUTES),
            freshness_minutes=FRESHNESS_MINUTES,
            last_attempt_at=self._moment(self._last_minute[place]),
            last_ok_at=self._moment(self._last_ok[place]),
            schedule=schedule,
            schedule_until=None if schedule is None else standing[schedule].until,
            schedule_ended_at=self._schedule_ended.get(place),
            held=frozenset(standing),
            grant_ends_at=self._moment(self._grant_ends[place]),
        )

    def _take(self, place: int, planned: Plan, view: View, commands: Commands) -> None:
        standing = self._standing.setdefault(place, {})
        until = view.tick + int(np.ceil((planned.until - view.moment) / timedelta(minutes=TICK_MINUTES)))
        match planned.action:
            case "slow_down":
                commands.slow_minutes[place], commands.slow_until[place] = planned.interval_minutes or 0, until
            case "pause":
                commands.pause_until[place] = until
                if standing.pop("slow_down", None) is not None:
                    commands.slow_minutes[place], commands.slow_until[place] = 1, view.tick
            case "reauthorise":
                commands.reauthorise[place] = True
            case "review_records":
                commands.review_records[place] = True
        standing[planned.action] = planned
        self._decided[place, planned.action] = view.moment
        self.actions[planned.action] += 1
        self.asked[self._world.fleet.draw[place]] += planned.action not in SCHEDULE

    def _end_what_is_over(self, now: datetime) -> None:
        for place in list(self._standing):
            standing = self._standing[place]
            situation = self._situation(place)
            for action in list(standing):
                answered = is_answered(action, self._decided[place, action], situation, now)
                if answered or standing[action].until <= now:
                    del standing[action]
                    if action in SCHEDULE:
                        self._schedule_ended[place] = now
            if not standing:
                del self._standing[place]

    def _alert(self, place: int, cause: TroubleCause, now: datetime) -> None:
        seen = self._open.get((place, cause))
        self._open[place, cause] = now
        if seen is not None and now - seen < QUIET:
            return
        told = [moment for moment in self._told_at.get(place, ()) if now - moment < LIMIT_WINDOW]
        if len(told) < get_settings().alerts_per_day:  # each company of this world has one integration
            self._told_at[place] = [*told, now]
            self.told[self._world.fleet.draw[place]] += 1

    def _moment(self, minute: float) -> datetime | None:
        return None if np.isinf(minute) else self._world.start + timedelta(minutes=float(minute))
