"""Playing retries: each integration's in order of time, all integrations at once."""

from dataclasses import dataclass, fields
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.retries.policy import Decisions, Failures, RetryPolicy
from crewflow_assets.twin.retries.world import Outcomes, RetryWorld, State

HORIZON_HOURS = 24.0


@dataclass(frozen=True, slots=True)
class RetryLog:
    """Retries, one element each, in the order in which they were played.

    Attributes:
        call: Which call of the world.
        attempt: 1 for its first retry.
        failed_minute: When the failure happened that the retry follows.
        delay_seconds: Since then.
        minute: When it ran.
        ok: Whether it succeeded.
        body: Of the failure that it follows; so are the next three.
        retry_after_seconds: As told; NaN without.
        latency_ms: Of the failed call.
        cause: Hidden.
        propensity: With which its delay's bucket was drawn; NaN where it was not drawn.
        look_up: Whether it read first.
        rest: Hidden; API calls that the work took before it; so is the next.
        brief_since: When the last brief trouble began.
        brief_until: When it ends; 0 without one.
    """

    call: Ints
    attempt: Ints
    failed_minute: Floats
    delay_seconds: Floats
    minute: Floats
    ok: Bools
    body: Ints
    retry_after_seconds: Floats
    latency_ms: Floats
    cause: Ints
    propensity: Floats
    look_up: Bools
    rest: Floats
    brief_since: Floats
    brief_until: Floats

    def __len__(self) -> int:
        return len(self.call)


@dataclass(frozen=True, slots=True)
class Played:
    """What became of the calls of a world, one element each.

    Attributes:
        minute: When each failed first.
        done_minute: When a retry succeeded; NaN if none did.
        retries: Made.
        look_ups: Of these, such as read first.
        duplicates: Times that a write took effect once more.
        log: All retries.
    """

    minute: Floats
    done_minute: Floats
    retries: Ints
    look_ups: Ints
    duplicates: Ints
    log: RetryLog

    def mended(self, within_minutes: float) -> Bools:
        """Say which calls succeeded within so many minutes of their failure; abandoned ones did not."""
        done: Bools = self.done_minute - self.minute <= within_minutes
        return done


class _Pending:
    """The failure that each call waits at."""

    def __init__(self, world: RetryWorld) -> None:
        calls = world.calls
        self.minute, self.body, self.cause = calls.minute.copy(), calls.body.copy(), calls.cause.copy()
        self.told, self.latency = calls.retry_after_seconds.copy(), calls.latency_ms.copy()
        self.rest, self.brief_since, self.brief_until = (
            calls.rest.copy(),
            calls.minute.copy(),
            calls.brief_until.copy(),
        )
        size = len(calls)
        self.delay, self.propensity = np.full(size, np.nan), np.full(size, np.nan)
        self.look_up = np.zeros(size, dtype=bool)

    def decided(self, call: Ints, decisions: Decisions) -> None:
        self.delay[call], self.propensity[call] = decisions.delay_seconds, decisions.propensity
        self.look_up[call] = decisions.look_up

    def stands(self, call: Ints, state: State) -> None:
        self.rest[call] = state.rest[call]
        self.brief_since[call], self.brief_until[call] = state.brief_since[call], state.brief_until[call]

    def failed(self, call: Ints, minute: Floats, outcomes: Outcomes) -> None:
        self.minute[call], self.body[call], self.cause[call] = minute, outcomes.body, outcomes.cause
        self.told[call], self.latency[call] = outcomes.retry_after_seconds, outcomes.latency_ms


def play(world: RetryWorld, policy: RetryPolicy, *, horizon_hours: float = HORIZON_HOURS) -> Played:
    """Let a policy retry the failed calls of a world.

    A retry that would come later than the horizon after the call's first failure, or after the world's end, is not
    made. Policies that play the same world meet the same luck wherever they try a call in the same second.
    """
    calls, state, pending = world.calls, world.state(), _Pending(world)
    done = np.full(len(calls), np.nan)
    look_ups = np.zeros(len(calls), dtype=np.int64)
    latest = np.minimum(calls.minute + horizon_hours * 60, world.minutes - 1e-6)
    is_fresh = np.ones(len(calls), dtype=bool)
    edges = np.searchsorted(calls.who, np.arange(len(world.fleet) + 1))
    queues = [list(zip(calls.minute[a:b].tolist(), range(a, b), strict=True)) for a, b in pairwise(edges)]
    queues = [queue for queue in queues if queue]
    parts: list[RetryLog] = []
    while queues:
        popped = [heappop(queue) for queue in queues]
        minute, call = np.array([at for at, _ in popped]), np.array([number for _, number in popped])
        again = ~is_fresh[call]
        is_fresh[call] = False
        failed = np.ones(len(call), dtype=bool)
        if again.any():
            tried, at = call[again], minute[again]
            looked = pending.look_up[tried]
            outcomes = world.retry(state, tried, at, looked)
            look_ups[tried] += looked
            parts.append(_logged(state, pending, tried, at, outcomes.ok))
            done[tried[outcomes.ok]] = at[outcomes.ok]
            pending.failed(tried, at, outcomes)
            failed[again] = ~outcomes.ok
            policy.heard(calls.who[tried], at, outcomes.ok)
        asked = call[failed]
        if len(asked):
            decisions = policy.decide(_seen(world, state, pending, asked))
            pending.decided(asked, decisions)
            pending.stands(asked, state)
            due = pending.minute[asked] + decisions.delay_seconds / 60
            waits = np.zeros(len(call), dtype=bool)
            waits[failed] = due <= latest[asked]
            when = np.full(len(call), np.nan)
            when[failed] = due
            for place in np.flatnonzero(waits):
                heappush(queues[place], (float(when[place]), int(call[place])))
        queues = [queue for queue in queues if queue]
    return Played(calls.minute, done, state.attempts, look_ups, state.duplicates, _joined(parts))


def once(world: RetryWorld, delay_seconds: Floats) -> Bools:
    """Return whether the first retry of each call succeeds after a delay of its own; NaN is none and no success.

    Each call is tried as if it were the only one: what retries use up of a limit is left out.
    """
    return _tried(world, world.state(), np.arange(len(world.calls)), world.calls.minute, delay_seconds)


def instead(world: RetryWorld, log: RetryLog, delay_seconds: Floats) -> Bools:
    """Return how each logged retry would have ended after another delay, all else before it being as it was.

    This is the truth that off-policy estimates of single decisions aim at; see ``once`` for what is left out.
    """
    ok = np.zeros(len(log), dtype=bool)
    for attempt in np.unique(log.attempt):
        mine = np.flatnonzero(log.attempt == attempt)
        call, state = log.call[mine], world.state()
        state.rest[call] = log.rest[mine]
        state.brief_since[call], state.brief_until[call] = log.brief_since[mine], log.brief_until[mine]
        ok[mine] = _tried(world, state, call, log.failed_minute[mine], delay_seconds[mine])
    return ok


def _tried(world: RetryWorld, state: State, call: Ints, failed_minute: Floats, delay_seconds: Floats) -> Bools:
    minute = failed_minute + delay_seconds / 60
    ok = np.zeros(len(call), dtype=bool)
    within = np.flatnonzero(minute < world.minutes)
    looked = np.zeros(len(within), dtype=bool)
    ok[within] = world.retry(state, call[within], minute[within], looked).ok
    return ok


def _seen(world: RetryWorld, state: State, pending: _Pending, call: Ints) -> Failures:
    calls, minute = world.calls, pending.minute[call]
    is_brief = minute < state.brief_until[call]
    return Failures(
        call=call,
        who=calls.who[call],
        minute=minute,
        body=pending.body[call],
        attempts=state.attempts[call],
        first_minute=calls.minute[call],
        retry_after_seconds=pending.told[call],
        write=calls.write[call],
        idempotent=calls.idempotent[call],
        latency_ms=pending.latency[call],
        hidden_cause=pending.cause[call],
        hidden_brief_seconds=np.where(is_brief, (minute - state.brief_since[call]) * 60, np.nan),
        hidden_rest=state.rest[call],
    )


def _logged(state: State, pending: _Pending, call: Ints, minute: Floats, ok: Bools) -> RetryLog:
    return RetryLog(
        call=call,
        attempt=state.attempts[call],
        failed_minute=pending.minute[call],
        delay_seconds=pending.delay[call],
        minute=minute,
        ok=ok,
        body=pending.body[call],
        retry_after_seconds=pending.told[call],
        latency_ms=pending.latency[call],
        cause=pending.cause[call],
        propensity=pending.propensity[call],
        look_up=pending.look_up[call],
        rest=pending.rest[call],
        brief_since=pending.brief_since[call],
        brief_until=pending.brief_until[call],
    )


def _joined(parts: list[RetryLog]) -> RetryLog:
    """Return all parts in one; without any, a log of no retries."""
    empty = RetryLog(*(np.empty(0, dtype=_DTYPES[entry.name]) for entry in fields(RetryLog)))
    return RetryLog(*(np.concatenate([getattr(p, e.name) for p in (empty, *parts)]) for e in fields(RetryLog)))


_DTYPES = {entry.name: np.dtype(np.float64) for entry in fields(RetryLog)} | {
    "call": np.dtype(np.int64),
    "attempt": np.dtype(np.int64),
    "body": np.dtype(np.int64),
    "cause": np.dtype(np.int64),
    "ok": np.dtype(np.bool_),
    "look_up": np.dtype(np.bool_),
}
