import numpy as np
import pytest

from crewflow_assets.twin.retries.bodies import BODIES
from crewflow_assets.twin.retries.play import once, play
from crewflow_assets.twin.retries.policies import Explorer
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.attempts import ERRORS, Cause
from crewflow_assets.twin.sync.parameters import SYSTEMS
from tests.twin.retries.conftest import DOWN_FROM, DOWN_UNTIL, retry_world

QUICKBOOKS = SYSTEMS.index("quickbooks")


def after(world: RetryWorld, seconds: float) -> np.ndarray:
    return once(world, np.full(len(world.calls), seconds))


def in_outage(world: RetryWorld) -> np.ndarray:
    calls = world.calls
    inside = (calls.minute >= DOWN_FROM) & (calls.minute < DOWN_UNTIL) & (calls.cause == Cause.API_DOWN)
    return np.flatnonzero(inside & (world.fleet.system[calls.who] == QUICKBOOKS))


def test_there_is_a_call_for_each_failed_sync(failed: RetryWorld) -> None:
    attempts, calls = failed.recorded.attempts, failed.calls
    assert sorted(calls.attempt) == np.flatnonzero(~attempts.ok).tolist()
    assert (attempts.cause[calls.attempt] == calls.cause).all()
    assert [BODIES[body].error for body in calls.body] == attempts.error[calls.attempt].tolist()
    assert {ERRORS[error].name for error in attempts.error[calls.attempt]} >= {"server_error", "rate_limit", "auth"}
    order = np.lexsort((calls.minute, calls.who))
    assert (order == np.arange(len(calls))).all()


def test_worlds_repeat_by_their_seed_and_differ_by_it() -> None:
    first, again, other = (retry_world(seed, 12, 3) for seed in (1, 1, 2))
    assert len(first.calls) == len(again.calls)
    assert (after(first, 300) == after(again, 300)).all()
    assert len(first.calls) != len(other.calls) or (first.calls.minute != other.calls.minute).any()


def test_an_outage_is_over_when_it_is_over(failed: RetryWorld) -> None:
    down = in_outage(failed)
    assert len(down) > 20
    left = (DOWN_UNTIL - failed.calls.minute[down]) * 60
    early, late = np.full(len(failed.calls), np.nan), np.full(len(failed.calls), np.nan)
    early[down], late[down] = left - 90, left + 90
    early[early < 1] = np.nan
    assert not once(failed, early)[down].any()
    assert once(failed, late)[down].mean() > 0.9


def test_a_grant_and_a_refused_record_wait_for_a_person(failed: RetryWorld) -> None:
    for cause in (Cause.AUTH, Cause.DATA_QUALITY):
        mine = failed.calls.cause == cause
        assert mine.sum() > 10
        assert after(failed, 30)[mine].mean() < 0.05
        assert after(failed, 6 * 3600)[mine].mean() > after(failed, 30)[mine].mean()


def test_a_refused_record_is_taken_from_the_minute_in_which_it_is_mended(failed: RetryWorld) -> None:
    calls = failed.calls
    mended = np.isfinite(calls.mended_minute) & (calls.mended_minute > 0) & (calls.cause == Cause.DATA_QUALITY)
    mended &= calls.mended_minute < failed.minutes - 60
    delay = np.full(len(calls), np.nan)
    delay[mended] = (calls.mended_minute - calls.minute)[mended] * 60 - 60
    delay[delay < 1] = np.nan
    assert not once(failed, delay)[mended].any()
    delay[mended] = (calls.mended_minute - calls.minute)[mended] * 60 + 60
    assert once(failed, delay)[mended].mean() > 0.8


def test_a_brief_trouble_passes_by_its_own_length(failed: RetryWorld) -> None:
    brief = failed.calls.cause == Cause.TRANSIENT
    shares = [after(failed, seconds)[brief].mean() for seconds in (2, 150, 3600)]
    assert brief.sum() > 15
    assert shares == sorted(shares)
    assert shares[-1] > 0.8


def test_what_a_throttled_sync_wrote_need_not_be_written_again(failed: RetryWorld) -> None:
    calls, state = failed.calls, failed.state()
    call = np.flatnonzero(calls.cause == Cause.RATE_LIMIT)[:1]
    state.rest[call] = 1e6
    outcomes = failed.retry(state, call, calls.minute[call] + 30, np.zeros(1, dtype=bool))
    assert outcomes.cause in (Cause.RATE_LIMIT, Cause.NETWORK, Cause.API_DOWN, Cause.AUTH)
    if outcomes.cause == Cause.RATE_LIMIT:
        assert 1 <= state.rest[call] <= 1e6
        assert outcomes.retry_after_seconds >= 60


def test_retries_use_up_the_calls_of_their_integrations_day(failed: RetryWorld) -> None:
    who = int(np.flatnonzero(failed.fleet.system == SYSTEMS.index("sage"))[0])
    free, full = failed.state(), failed.state()
    full.used[who] = failed.limits.per_day[who]
    call = np.flatnonzero(failed.calls.who == who)[:1]
    if not len(call):
        pytest.skip("this integration never failed in this world")
    at, no = failed.calls.minute[call] + 600, np.zeros(1, dtype=bool)
    failed.retry(free, call, at, no)
    stopped = failed.retry(full, call, at, no)
    assert not stopped.ok.any()
    assert stopped.cause in (Cause.RATE_LIMIT, Cause.AUTH, Cause.API_DOWN, Cause.NETWORK)


def test_a_repeated_write_without_a_key_is_there_twice_unless_it_is_looked_up(failed: RetryWorld) -> None:
    calls = failed.calls
    open_ = calls.write & calls.committed & np.isin(calls.cause, (Cause.TRANSIENT, Cause.API_DOWN, Cause.NETWORK))
    call = np.flatnonzero(open_)[:1]
    assert len(call), "no write of unknown outcome took effect in this world; take another seed"
    late = np.maximum(np.maximum(calls.brief_until[call], DOWN_UNTIL) + 60, calls.minute[call] + 200)
    for idempotent, look_up, duplicates in ((False, False, 1), (False, True, 0), (True, False, 0)):
        calls.idempotent[call] = idempotent
        state = failed.state()
        for minute in range(60):  # until nothing else is in the way
            if failed.retry(state, call, late + minute, np.array([look_up])).ok.all():
                break
        assert state.duplicates[call] >= duplicates
        assert state.duplicates[call].any() == bool(duplicates)


def test_the_explorers_log_can_be_played_again(failed: RetryWorld) -> None:
    from crewflow_assets.twin.retries.play import instead

    log = play(failed, Explorer(failed)).log
    assert (instead(failed, log, log.delay_seconds) == log.ok).mean() > 0.99
    never = instead(failed, log, np.full(len(log), np.nan))
    assert not never.any()


def test_parameters_are_one_set_a_draw(failed: RetryWorld) -> None:
    with pytest.raises(ValueError, match="0 retry parameters for 1 draws"):
        RetryWorld(failed.recorded, [])
