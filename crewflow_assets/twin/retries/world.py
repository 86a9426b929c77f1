"""The calls that failed in a world of syncs, and what becomes of them when they are tried again.

A call is the work of one failed sync. It stands for itself: what the next sync carries is other work. Whether a
retry succeeds follows from the hidden state at its moment: is the API up, our network well, the grant renewed, the
refused record mended, is there room below the rate limit, has the brief trouble passed? Retries use up the limits of
their own integration; the syncs of the world do not feel them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.retries.bodies import (
    BODIES,
    CONNECTION,
    DAY,
    GATEWAY,
    INTERNAL,
    PLAIN,
    PLANNED,
    TIMEOUT,
    body_of,
)
from crewflow_assets.twin.retries.chance import Keys, keys_of, mixed, normal, uniform
from crewflow_assets.twin.retries.parameters import RetryParameters, brief_seconds
from crewflow_assets.twin.retries.record import Recorded
from crewflow_assets.twin.retries.surroundings import Surroundings
from crewflow_assets.twin.sync.attempts import TIMEOUT_MS, Cause, said
from crewflow_assets.twin.sync.outages import MINUTES_PER_DAY, Kind
from crewflow_assets.twin.sync.parameters import TICK_MINUTES, TICKS_PER_DAY
from crewflow_assets.twin.sync.throttling import OTHERS_SIGMA, Limits, limits_of

NETWORK, API, ERROR, BODY, BRIEF, FRESH, LATENCY, OTHERS, COMMITTED, WRITE, KEYED = range(11)
"""Salts of the numbers drawn for a call or a retry of it."""
UNCLEAR = np.array([body.is_unclear for body in BODIES])
BROKEN = np.array([body.error in (CONNECTION, INTERNAL, GATEWAY) for body in BODIES])
TIMED_OUT = np.array([body.error == TIMEOUT for body in BODIES])
LASTING = (int(Cause.AUTH), int(Cause.DATA_QUALITY))
"""Causes whose retries hear the same body again."""


@dataclass(frozen=True, slots=True)
class Calls:
    """The failed calls, one element each, by time within an integration.

    Attributes:
        attempt: Row in the world's attempts.
        who: Which integration of the fleet.
        tick: In which tick it failed.
        minute: When it failed, since the world's beginning.
        cause: Hidden; of the first failure.
        rest: Hidden; API calls that the work still takes.
        write: Whether it creates or changes a record.
        idempotent: Whether it reads, or carries an idempotency key.
        body: What the API said, a place in ``bodies.BODIES``.
        retry_after_seconds: As told; NaN without.
        latency_ms: Of the failed attempt.
        key: Of the numbers drawn for it.
        mended_minute: Hidden; when its refused records are mended, 0 without any, infinity if the world ends before.
        brief_until: Hidden; the minute at which its brief trouble is over, 0 without one.
        committed: Hidden; whether the write has taken effect all the same.
    """

    attempt: Ints
    who: Ints
    tick: Ints
    minute: Floats
    cause: Ints
    rest: Floats
    write: Bools
    idempotent: Bools
    body: Ints
    retry_after_seconds: Floats
    latency_ms: Floats
    key: Keys
    mended_minute: Floats
    brief_until: Floats
    committed: Bools

    def __len__(self) -> int:
        return len(self.who)


class State:
    """What changes while retries are played: one element a call, and the API calls that they used up."""

    def __init__(self, calls: Calls, integrations: int, days: int) -> None:
        size = len(calls)
        self.attempts: Ints = np.zeros(size, dtype=np.int64)
        self.rest = calls.rest.copy()
        self.brief_since, self.brief_until = calls.minute.copy(), calls.brief_until.copy()
        self.committed = calls.committed.copy()
        self.duplicates: Ints = np.zeros(size, dtype=np.int64)
        self.used: Floats = np.zeros((integrations, days + 1))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How retries ended, one element each; see ``Failures`` for the fields."""

    ok: Bools
    cause: Ints
    body: Ints
    retry_after_seconds: Floats
    latency_ms: Floats


class RetryWorld:
    """The failed calls of a recorded world.

    Attributes:
        recorded: The world.
        calls: Its failed syncs.
        surroundings: What can be seen around a failure.
        minutes: How long the world is.
        free_tick: Hidden; by tick and integration, the first tick from there at which the grant is alive.

    Raises:
        ValueError: There are not as many parameters as draws.
    """

    def __init__(self, recorded: Recorded, parameters: Sequence[RetryParameters]) -> None:
        world = recorded.world
        if len(parameters) != len(world.draws):
            raise ValueError(f"{len(parameters)} retry parameters for {len(world.draws)} draws; pass one a draw")
        self.recorded, self.parameters = recorded, tuple(parameters)
        self.fleet, self.minutes = world.fleet, float(world.ticks * TICK_MINUTES)
        self.surroundings = Surroundings(world.fleet, recorded.attempts, self.minutes)
        sync = [draw.parameters for draw in world.draws]
        self.limits = limits_of(world.fleet, sync, np.ones(len(world.fleet)))
        self.transient = world.fleet.spread(sync, lambda p: p.transient_rate)
        draws = world.fleet.draw
        self.brief_scale = np.array([each.brief_trouble_scale for each in parameters])[draws]
        self._committed = np.array([each.committed_share for each in parameters])[draws]
        self._on_break = np.array([each.committed_on_break for each in parameters])[draws]
        self._keyed = np.array([[p.quickbooks_key_share, 0.0, p.xero_key_share] for p in parameters])
        luck = [Randomness(draw.seed) for draw in world.draws]
        names = [customer.integration_id for customer in world.fleet.customers]
        self._key = keys_of([luck[draw] for draw in draws], names, "retries")
        self.free_tick = _next_clear(recorded.locked_out)
        attempts = recorded.attempts
        ok_latency = np.where(attempts.ok, attempts.latency_ms, np.nan)
        self._latency = np.full(len(world.fleet), 800.0)
        sums = np.bincount(attempts.who, np.nan_to_num(ok_latency), len(world.fleet))
        counts = np.bincount(attempts.who, attempts.ok, len(world.fleet))
        np.divide(sums, counts, out=self._latency, where=counts > 0)
        self.calls = self._failed()

    def state(self) -> State:
        """Return the state before any retry."""
        return State(self.calls, len(self.fleet), int(self.minutes // MINUTES_PER_DAY))

    def retry(self, state: State, call: Ints, minute: Floats, look_up: Bools) -> Outcomes:
        """Try calls again, at most one of an integration, each in its minute, and note what that changes."""
        calls, fleet, who = self.calls, self.fleet, self.calls.who[call]
        second = np.floor(minute * 60).astype(np.int64)
        key = mixed(calls.key[call], second)
        tick = np.minimum((minute / TICK_MINUTES).astype(np.int64), self.recorded.world.ticks - 1)
        day = tick // TICKS_PER_DAY
        line = self.recorded.world.servers.timeline
        phase = line.at(fleet.server[who], minute)
        touched = line.touches(phase, fleet.place[who])
        trouble = self.recorded.world.hidden_network.failing(fleet.draw[who], minute)
        limits = self.limits_in(who, tick)
        luck = normal(mixed(self._key[who], np.floor(minute).astype(np.int64)), OTHERS)
        spare = np.maximum(limits.per_minute - limits.others * np.exp(OTHERS_SIGMA * luck), 0)
        left = np.maximum(limits.left_today() - state.used[who, day], 0)
        allowed = np.minimum(spare * limits.patience, left)
        is_stopped = state.rest[call] > allowed
        is_day = is_stopped & (state.rest[call] > left)
        in_brief = minute < state.brief_until[call]
        is_fresh = ~in_brief & (uniform(key, FRESH) < self.transient[who])
        fails_at = [
            (uniform(key, NETWORK) < trouble, Cause.NETWORK),
            (uniform(key, API) < np.where(touched, line.failing[phase], 0), Cause.API_DOWN),
            (self.recorded.locked_out[tick, who], Cause.AUTH),
            (is_stopped, Cause.RATE_LIMIT),
            (in_brief | is_fresh, Cause.TRANSIENT),
            (minute < calls.mended_minute[call], Cause.DATA_QUALITY),
        ]
        cause = np.select([met for met, _ in fails_at], [int(each) for _, each in fails_at], default=0)
        ok = cause == Cause.NONE
        begins = is_fresh & (cause == Cause.TRANSIENT)
        lasts = brief_seconds(uniform(key, BRIEF), self.brief_scale[who]) / 60
        state.brief_since[call] = np.where(begins, minute, state.brief_since[call])
        state.brief_until[call] = np.where(begins, minute + lasts, state.brief_until[call])

        reached = ok | np.isin(cause, (Cause.RATE_LIMIT, Cause.DATA_QUALITY))
        state.used[who, day] += np.where(reached, np.minimum(state.rest[call], allowed), 0)
        partly = np.maximum(state.rest[call] - np.floor(allowed), 1)
        state.rest[call] = np.where(cause == Cause.RATE_LIMIT, partly, state.rest[call])
        state.attempts[call] += 1

        is_planned = line.kind[phase] == Kind.MAINTENANCE
        body = self._said(call, key, cause, is_day, is_planned)
        self._take_effect(state, call, key, body, ok=ok, look_up=look_up)
        slow = np.where(touched, line.latency[phase], 1.0)
        latency = self._latency[who] * slow * np.exp(0.22 * normal(key, LATENCY))
        return Outcomes(
            ok=ok,
            cause=cause.astype(np.int64),
            body=body,
            retry_after_seconds=_retry_after(cause, is_day, is_planned, minute),
            latency_ms=np.where(TIMED_OUT[body] & ~ok, TIMEOUT_MS, latency),
        )

    def limits_in(self, who: Ints, tick: Ints) -> Limits:
        """Return the limits of integrations and their use in a tick, retries apart."""
        limits = self.limits.chosen(who)
        others, used = self.recorded.others[tick, who], self.recorded.used[tick, who]
        return replace(limits, others=others.astype(np.float64), used=used.astype(np.float64))

    def _said(self, call: Ints, key: Keys, cause: Ints, is_day: Bools, is_planned: Bools) -> Ints:
        """Return the body of each failure; what does not depend on the moment is said as before."""
        voice = np.where(np.isin(cause, LASTING), mixed(self.calls.key[call], cause), key)
        error = said(cause, uniform(voice, ERROR)).astype(np.int64)
        what = np.where((cause == Cause.RATE_LIMIT) & is_day, DAY, PLAIN)
        what = np.where((cause == Cause.API_DOWN) & is_planned, PLANNED, what)
        return body_of(self.fleet.system[self.calls.who[call]], error, cause, what, uniform(voice, BODY))

    def _take_effect(self, state: State, call: Ints, key: Keys, body: Ints, *, ok: Bools, look_up: Bools) -> None:
        """Let writes take effect, a second time too where nothing prevents it."""
        calls, who = self.calls, self.calls.who[call]
        share = np.where(BROKEN[body], self._on_break[who], self._committed[who])
        unseen = ~ok & UNCLEAR[body] & (uniform(key, COMMITTED) < share)
        takes = calls.write[call] & (ok | unseen) & ~look_up
        state.duplicates[call] += takes & state.committed[call] & ~calls.idempotent[call]
        state.committed[call] |= takes

    def _failed(self) -> Calls:
        recorded, fleet = self.recorded, self.fleet
        attempts = recorded.attempts
        failed = np.flatnonzero(~attempts.ok)
        row = failed[np.lexsort((attempts.minute[failed], attempts.who[failed]))]
        who, tick, minute = attempts.who[row], attempts.tick[row], attempts.minute[row]
        cause, needed = attempts.cause[row].astype(np.int64), recorded.needed[tick, who].astype(np.float64)
        key = mixed(self._key[who], tick)
        writes = np.maximum(needed - fleet.polling[who], 0) / np.maximum(needed, 1)
        write = (cause == Cause.DATA_QUALITY) | (uniform(key, WRITE) < writes)
        keyed = uniform(key, KEYED) < self._keyed[fleet.draw[who], fleet.system[who]]
        made = np.where(cause == Cause.RATE_LIMIT, attempts.calls[row], 0)
        mended = _next_clear(recorded.refused)[tick, who].astype(np.float64)
        mended = np.where(mended >= recorded.world.ticks, np.inf, mended * TICK_MINUTES)
        lasts = brief_seconds(uniform(key, BRIEF), self.brief_scale[who]) / 60
        line = recorded.world.servers.timeline
        is_planned = line.kind[line.at(fleet.server[who], minute)] == Kind.MAINTENANCE
        told = attempts.retry_after_seconds[row].astype(np.float64)
        what = np.where((cause == Cause.RATE_LIMIT) & (told > 60), DAY, PLAIN)
        what = np.where((cause == Cause.API_DOWN) & is_planned, PLANNED, what)
        voice = np.where(np.isin(cause, LASTING), mixed(key, cause), key)
        error = attempts.error[row].astype(np.int64)
        body = body_of(fleet.system[who], error, cause, what, uniform(voice, BODY))
        share = np.where(BROKEN[body], self._on_break[who], self._committed[who])
        return Calls(
            attempt=row,
            who=who,
            tick=tick,
            minute=minute,
            cause=cause,
            rest=np.maximum(needed - made, 1),
            write=write,
            idempotent=~write | keyed,
            body=body,
            retry_after_seconds=told,
            latency_ms=attempts.latency_ms[row].astype(np.float64),
            key=key,
            mended_minute=np.where(recorded.refused[tick, who], mended, 0.0),
            brief_until=np.where(cause == Cause.TRANSIENT, minute + lasts, 0.0),
            committed=write & UNCLEAR[body] & (uniform(key, COMMITTED) < share),
        )


def _retry_after(cause: Ints, is_day: Bools, is_planned: Bools, minute: Floats) -> Floats:
    until_midnight = (MINUTES_PER_DAY - minute % MINUTES_PER_DAY) * 60
    is_limit = cause == Cause.RATE_LIMIT
    return np.select(
        [is_limit & is_day, is_limit, (cause == Cause.API_DOWN) & is_planned],
        [np.ceil(until_midnight), np.full(len(cause), 60.0), np.full(len(cause), 1800.0)],
        default=np.nan,
    )


def _next_clear(state: Bools) -> Ints:
    """Return for each (tick, integration) the first tick from there at which the state is not so; ticks if never."""
    clear = np.empty(state.shape, dtype=np.int32)
    later = np.full(state.shape[1], len(state), dtype=np.int32)
    for tick in range(len(state) - 1, -1, -1):
        later = np.where(state[tick], later, tick).astype(np.int32)
        clear[tick] = later
    return clear  # type: ignore[return-value]
