"""The simulated world of syncs: stepped tick by tick, with or without a policy, many draws of it at once.

A tick is 15 minutes. ``SyncWorld.begin_tick`` lets the world move on, ``finish_tick`` takes what a policy commands
and lets the syncs run. What outages, other apps, records, grants and luck do is drawn by (seed, entity, event) and
never depends on the commands, so two runs of the same seeds are paired.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.sync.attempts import TIMEOUT_MS, Attempts, Cause, joined, said
from crewflow_assets.twin.sync.calendar import Calendar
from crewflow_assets.twin.sync.ceiling import Ceiling, any_of
from crewflow_assets.twin.sync.fleet import Customer, Fleet, build_fleet, draw_customers
from crewflow_assets.twin.sync.hidden import HiddenState
from crewflow_assets.twin.sync.luck import DayLuck, Luck, Network, OtherApps, hop_ms, revocations, usual_other_load
from crewflow_assets.twin.sync.outages import Kind, Phase
from crewflow_assets.twin.sync.parameters import DEFAULTS, TICK_MINUTES, TICKS_PER_DAY, SyncParameters
from crewflow_assets.twin.sync.people import People
from crewflow_assets.twin.sync.policy import Commands, Policy, View
from crewflow_assets.twin.sync.schedule import Schedule
from crewflow_assets.twin.sync.servers import Servers
from crewflow_assets.twin.sync.throttling import limits_of

SYSTEM_LATENCY = np.array([1.0, 1.3, 0.8])
"""Of ``SYSTEMS``, as a factor: an assumption."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw of the world: its seed, its integrations, its parameters, and outages put in by hand by system."""

    seed: int
    customers: Sequence[Customer]
    parameters: SyncParameters = DEFAULTS
    injected: Mapping[str, Sequence[Phase]] | None = None


def standard_draw(seed: int, integrations: int, parameters: SyncParameters = DEFAULTS) -> Draw:
    """Return a draw with integrations of its own: "i-1", "i-2" …, of the companies "c-1", "c-2" …"""
    return Draw(seed, tuple(draw_customers(Randomness(seed), integrations)), parameters)


class SyncWorld:
    """A number of draws of the world, side by side; see the module's docstring.

    Attributes:
        start: Midnight UTC at which it begins.
        ticks: How long it is.
        fleet: The integrations of all draws.
        servers: The API servers, their outages and status pages.
        schedule: When the integrations sync.

    Raises:
        ValueError: ``start`` is not a midnight UTC.
    """

    def __init__(self, draws: Sequence[Draw], *, start: datetime, days: int) -> None:
        if start.utcoffset() != timedelta(0) or start.time() != start.min.time():
            raise ValueError(f"the world begins at {start.isoformat()}; pass a midnight UTC")
        luck = [Randomness(draw.seed) for draw in draws]
        parameters = [draw.parameters for draw in draws]
        self.start, self.ticks, self.draws = start, days * TICKS_PER_DAY, tuple(draws)
        self.fleet: Fleet = build_fleet(
            [(random, draw.customers, draw.parameters) for random, draw in zip(luck, draws, strict=True)]
        )
        self.servers = Servers(
            [(random, draw.parameters, draw.injected or {}) for random, draw in zip(luck, draws, strict=True)],
            days=days,
            weekday=start.weekday(),
        )
        fleet = self.fleet
        self.schedule = Schedule(fleet)
        self._calendar = Calendar(start, days)
        self._luck = Luck(fleet, luck, self._calendar)
        self._others = OtherApps(fleet, luck, parameters, days)
        self._network = Network(luck, parameters, days)
        self._people = People(fleet, parameters, self._calendar, revocations(fleet, luck, parameters, days))
        self._ceiling = Ceiling(fleet, parameters, self.servers.timeline, self._network)
        self._latency = (
            fleet.spread(parameters, lambda p: p.latency_ms) * SYSTEM_LATENCY[fleet.system] * fleet.latency
        )
        self._limits = limits_of(fleet, parameters, self._latency)
        self._per_record = fleet.spread(parameters, lambda p: p.calls_per_record)
        self._transient = fleet.spread(parameters, lambda p: p.transient_rate)
        self._other_load = usual_other_load(fleet, fleet.spread(parameters, lambda p: p.other_load), self._calendar)
        self._reports = fleet.limit("reports_left") > 0
        self._is_shared = fleet.limit("shared") > 0

        self.tick = -1
        self._day: DayLuck
        self._bursts: Floats
        self._drift = np.zeros(len(fleet))
        self._pending = np.zeros(len(fleet))
        self._attempts: Attempts | None = None

    def moment(self, tick: int) -> datetime:
        """Return when a tick begins."""
        return self.start + timedelta(minutes=tick * TICK_MINUTES)

    @property
    def reports_left(self) -> Bools:
        """Whether each integration's API says how many calls of the day are left."""
        return self._reports

    @property
    def daily_limit(self) -> Floats:
        """Calls a day that each integration's API allows; infinity without a limit."""
        return self._limits.per_day

    @property
    def backlog(self) -> Floats:
        """Records that wait for each integration's next sync."""
        return self._pending.copy()

    def begin_tick(self) -> None:
        """Let the next tick begin: records come in, other apps call, grants end, people act.

        Raises:
            ValueError: the world is over.
        """
        if self.tick + 1 >= self.ticks:
            raise ValueError(f"the world is over after {self.ticks} ticks; build one with more days")
        self.tick += 1
        day, row = divmod(self.tick, TICKS_PER_DAY)
        if row == 0:
            self._day, self._bursts = self._luck.of(day), self._others.bursts(day)
            self._limits.used[:] = 0
        records = np.where(self.schedule.has_begun(self.tick), self._day.records[row], 0)
        self._pending += records
        self._people.live(self.tick, self._day, records)
        self._drift = 0.97 * self._drift + np.sqrt(1 - 0.97**2) * self._day.normal["drift"][row]
        busy = self._calendar.busy[self.fleet.zone, self.tick]
        self._limits.others[:] = self._other_load * busy * np.exp(0.5 * self._drift) + self._bursts[row]

    def view(self) -> View:
        """Return what the platform sees as the tick begins."""
        return View(
            tick=self.tick,
            moment=self.moment(self.tick),
            attempts=self._attempts,
            statuses=self.servers.said(self.tick - 1),
            next_tick=self.schedule.next_tick.copy(),
            paused_until=self.schedule.paused_until.copy(),
        )

    def hidden_risks(self, who: Ints | None = None) -> Mapping[Cause, Floats]:
        """Return what only the twin knows: the probabilities by cause that a sync in this tick would fail."""
        chosen = np.arange(len(self.fleet)) if who is None else who
        limits = self._limits.chosen(chosen)
        return self._ceiling.risks(
            self.tick,
            chosen,
            self._minutes(chosen),
            is_locked_out=self._people.is_locked_out[chosen],
            refused=self._people.refused[chosen],
            throttled=limits.chance_of_hitting(self._needed(chosen)),
        )

    def hidden_state(self) -> HiddenState:
        """Return the state behind syncs and retries, as the tick begins."""
        people, limits = self._people, self._limits
        needed = self._needed(np.arange(len(self.fleet)))
        return HiddenState(
            people.is_locked_out.copy(), people.refused > 0, limits.others.copy(), limits.used.copy(), needed
        )

    @property
    def hidden_network(self) -> Network:
        """The troubles on our side of the line."""
        return self._network

    def hidden_grants_ending(self, ticks: float) -> Bools:
        """Say whose grant ends of age within so many ticks, which only the twin knows."""
        return self._people.ends_within(self.tick, ticks)

    def hidden_lasting_interval(self) -> Floats:
        """Return the least interval, in ticks, at which the calls of the day would last, as only the twin knows."""
        left = TICKS_PER_DAY - self.tick % TICKS_PER_DAY
        ahead = slice(self.tick, self.tick + left)
        records = self.fleet.records * self._calendar.records[:, ahead].sum(axis=1)[self.fleet.zone]
        busy = self._calendar.busy[:, ahead].sum(axis=1)[self.fleet.zone]
        others = np.where(self._is_shared, self._other_load * busy * np.exp(0.5 * self._drift) * TICK_MINUTES, 0)
        calls = (records + self._pending) * self._per_record + others
        return self._limits.lasting_interval(self.fleet.polling, calls, left)

    def finish_tick(self, commands: Commands | None = None) -> Attempts:
        """Carry the commands out, let the syncs of the tick run, and return them."""
        if commands is not None:
            grants, records = commands.reauthorise, commands.review_records
            self._people.ask(self.tick, grants=grants, records=records)
            self.schedule.obey(self.tick, commands)
        self._attempts = self._run(self.schedule.running(self.tick))
        self.schedule.ran(self.tick, self._attempts.who)
        self._limits.used[:] += np.where(self._is_shared, self._limits.others * TICK_MINUTES, 0)
        return self._attempts

    def _minutes(self, who: Ints) -> Floats:
        row = self.tick % TICKS_PER_DAY
        late = np.minimum(0.2 * np.abs(self._day.normal["hop"][row, who]), 0.9)
        minutes: Floats = self.tick * TICK_MINUTES + self.fleet.minute[who] + late
        return minutes

    def _needed(self, who: Ints) -> Floats:
        needed: Floats = np.ceil(self.fleet.polling[who] + self._per_record[who] * self._pending[who])
        return needed

    def _run(self, who: Ints) -> Attempts:
        fleet, row = self.fleet, self.tick % TICKS_PER_DAY
        uniform = {name: values[row, who].astype(np.float64) for name, values in self._day.uniform.items()}
        normal = {name: values[row, who].astype(np.float64) for name, values in self._day.normal.items()}
        minute = self._minutes(who)
        ceiling = any_of(self.hidden_risks(who))
        phase = self.servers.timeline.at(fleet.server[who], minute)
        touched = self.servers.timeline.touches(phase, fleet.place[who])
        trouble = self._network.failing(fleet.draw[who], minute)
        limits, needed, refused = self._limits.chosen(who), self._needed(who), self._people.refused[who]
        is_stopped, made, hits = limits.run(needed, normal["others"])
        fails_at = [
            (uniform["network"] < trouble, Cause.NETWORK),
            (uniform["api"] < np.where(touched, self.servers.timeline.failing[phase], 0), Cause.API_DOWN),
            (self._people.is_locked_out[who], Cause.AUTH),
            (is_stopped, Cause.RATE_LIMIT),
            (uniform["transient"] < self._transient[who], Cause.TRANSIENT),
            (refused > 0, Cause.DATA_QUALITY),
        ]
        cause = np.select([met for met, _ in fails_at], [int(each) for _, each in fails_at], default=0)
        error = said(cause, uniform["error"])

        is_through = (cause == Cause.NONE) | (cause == Cause.DATA_QUALITY)
        reached = is_through | (cause == Cause.RATE_LIMIT)
        half_way = cause == Cause.TRANSIENT
        calls = np.where(reached, made, np.where(half_way, np.ceil(made / 2), 1 + np.floor(3 * uniform["error"])))
        counted = reached | half_way
        self._limits.used[who] += np.where(counted, calls, 0)
        written = np.maximum(made - fleet.polling[who], 0) / self._per_record[who]
        left = np.where(cause == Cause.RATE_LIMIT, np.maximum(self._pending[who] - written, 0), self._pending[who])
        self._pending[who] = np.where(is_through, 0, left)

        wait = limits.wait_seconds(needed, until_midnight=(TICKS_PER_DAY - row) * TICK_MINUTES * 60.0)
        is_planned = (cause == Cause.API_DOWN) & (self.servers.timeline.kind[phase] == Kind.MAINTENANCE)
        has_answer = ~np.isin(cause, (Cause.NETWORK, Cause.API_DOWN))
        day_left = np.maximum(limits.left_today() - np.where(counted, calls, 0), 0)
        busy = self._calendar.busy[fleet.zone[who], self.tick]
        slow = np.where(touched, self.servers.timeline.latency[phase], 1.0)
        latency = self._latency[who] * (1 + 0.35 * busy) * slow * np.exp(0.22 * normal["latency"])
        return Attempts(
            who=who,
            tick=np.full(len(who), self.tick),
            minute=minute,
            error=error,
            latency_ms=np.where(error == 2, TIMEOUT_MS, latency).astype(np.float32),
            network_latency_ms=hop_ms(normal["hop"], trouble).astype(np.float32),
            calls=calls.astype(np.int32),
            calls_left=np.where(has_answer & self._reports[who], np.floor(day_left), np.nan).astype(np.float32),
            hits=np.where(counted, hits, 0).astype(np.int32),
            retry_after_seconds=np.select(
                [cause == Cause.RATE_LIMIT, is_planned], [wait, np.full(len(who), 1800.0)], default=np.nan
            ).astype(np.float32),
            records_failed=np.where(cause == Cause.DATA_QUALITY, refused, 0).astype(np.int32),
            grant_seconds=np.where(has_answer, self._people.grant_seconds(self.tick, who), np.nan).astype(np.float32),
            interval_minutes=self.schedule.interval_minutes(self.tick, who).astype(np.float32),
            cause=cause.astype(np.int8),
            ceiling=ceiling.astype(np.float32),
        )


def run(
    world: SyncWorld,
    policy: Policy | None = None,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Attempts:
    """Step the world to its end and return all attempts, by time of their ticks.

    Args:
        world: That has not begun.
        policy: Decides at each tick; None leaves everything as it is.
        progress: Told after each day how many days of how many are over.
    """
    days: list[Attempts] = []
    parts: list[Attempts] = []
    for tick in range(world.ticks):
        world.begin_tick()
        parts.append(world.finish_tick(None if policy is None else policy.decide(world.view())))
        if (tick + 1) % TICKS_PER_DAY == 0:
            days.append(joined(parts))
            parts = []
            progress((tick + 1) // TICKS_PER_DAY, world.ticks // TICKS_PER_DAY)
    return joined(days)
