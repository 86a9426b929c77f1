import numpy as np

from crewflow_assets.twin.retries.world import RetryWorld


def test_what_is_seen_is_what_a_plain_count_finds(failed: RetryWorld) -> None:
    attempts, fleet = failed.recorded.attempts, failed.fleet
    random = np.random.default_rng(4)
    who, minute = random.integers(0, len(fleet), 60), random.uniform(0, failed.minutes, 60)
    around = failed.surroundings
    others, latency = around.others(who, minute, 60), around.latency_24h(who, minute)
    trouble, since = around.trouble_minutes(who, minute), around.since_success(who, minute)
    for place, (one, now) in enumerate(zip(who, minute, strict=True)):
        before = attempts.where((attempts.minute < now) & (attempts.minute >= now - 60))
        theirs = before.where((fleet.server[before.who] == fleet.server[one]) & (before.who != one))
        assert others[1][place] == len(theirs)
        assert others[0][place] == (~theirs.ok).sum()
        day = attempts.where((attempts.who == one) & (attempts.minute < now) & (attempts.minute >= now - 1440))
        if len(day):
            assert np.isclose(latency[place], day.latency_ms.astype(float).mean())
        else:
            assert np.isnan(latency[place])
        own = attempts.where((attempts.who == one) & (attempts.minute < now))
        good = own.minute[own.ok]
        assert since[place] == (now - good.max() if len(good) else np.inf)
        bad = own.minute[own.minute > (good.max() if len(good) else -1)]
        assert trouble[place] == (now - bad.min() if len(bad) else 0)


def test_headroom_is_the_share_of_calls_that_the_last_sync_told(failed: RetryWorld) -> None:
    attempts = failed.recorded.attempts
    told = attempts.where(~np.isnan(attempts.calls_left))
    one, now = int(told.who[-1]), float(told.minute[-1]) + 0.5
    share = failed.surroundings.headroom(np.array([one]), np.array([now]), failed.limits.per_day[[one]])
    assert share == told.calls_left[-1] / failed.limits.per_day[one]


def test_the_next_good_sync_is_the_integrations_own_and_later(failed: RetryWorld) -> None:
    attempts, calls = failed.recorded.attempts, failed.calls
    found = failed.surroundings.next_success(calls.who, calls.minute)
    assert np.isinf(failed.surroundings.next_success(calls.who[:1], np.array([failed.minutes]))).all()
    for place in range(0, len(calls), 7):
        later = attempts.ok & (attempts.who == calls.who[place]) & (attempts.minute > calls.minute[place])
        assert found[place] == (attempts.minute[later].min() if later.any() else np.inf)
