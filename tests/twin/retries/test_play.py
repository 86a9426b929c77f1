import numpy as np
import pytest

from crewflow_assets.twin.retries.bodies import AUTH, BODIES, REFUSED
from crewflow_assets.twin.retries.ceiling import Ceiling
from crewflow_assets.twin.retries.parameters import EDGES
from crewflow_assets.twin.retries.play import play
from crewflow_assets.twin.retries.policies import EXPLORED_HOURS, Aws, Explorer, Fixed, Never
from crewflow_assets.twin.retries.policy import Decisions, Failures
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.attempts import Cause

ERROR = np.array([body.error for body in BODIES])


class Watching(Fixed):
    """Notes what it was asked and told."""

    def __init__(self) -> None:
        super().__init__(20.0, 3)
        self.asked: list[Failures] = []
        self.heard_of = 0

    def decide(self, failures: Failures) -> Decisions:
        self.asked.append(failures)
        return super().decide(failures)

    def heard(self, who: np.ndarray, minute: np.ndarray, ok: np.ndarray) -> None:  # noqa: ARG002
        self.heard_of += len(ok)


def test_each_integration_is_played_in_order_of_time_and_at_most_once_a_wave(failed: RetryWorld) -> None:
    policy = Watching()
    played = play(failed, policy)
    last = np.zeros(len(failed.fleet))
    for failures in policy.asked:
        assert len(set(failures.who.tolist())) == len(failures)
        assert (failures.minute >= last[failures.who]).all()
        last[failures.who] = failures.minute
    assert policy.heard_of == played.retries.sum() == len(played.log)
    assert sum(map(len, policy.asked)) == len(failed.calls) + (~played.log.ok).sum()


def test_the_log_tells_what_was_decided_and_what_came_of_it(failed: RetryWorld) -> None:
    played = play(failed, Fixed(20.0, 3))
    log = played.log
    assert np.allclose(log.minute, log.failed_minute + log.delay_seconds / 60)
    assert np.allclose(log.delay_seconds, 20 * 2.0 ** (log.attempt - 1))
    assert (np.bincount(log.call, log.ok, len(failed.calls)) == np.isfinite(played.done_minute)).all()
    assert played.retries.max() == 3
    first = log.attempt == 1
    assert (log.failed_minute[first] == failed.calls.minute[log.call[first]]).all()
    assert (played.mended(1440) == np.isfinite(played.done_minute)).all()
    assert (played.mended(0.5) <= played.mended(5)).all()


def test_nothing_is_retried_beyond_the_horizon_or_the_worlds_end(failed: RetryWorld) -> None:
    played = play(failed, Fixed(1800.0, 8), horizon_hours=3)
    late = played.log.minute - failed.calls.minute[played.log.call]
    assert late.max() <= 180
    assert played.log.minute.max() < failed.minutes


def test_who_never_retries_does_nothing(failed: RetryWorld) -> None:
    played = play(failed, Never())
    assert played.retries.sum() == len(played.log) == 0
    assert not played.mended(1440).any()


def test_the_aws_way_leaves_refusals_alone_and_keeps_to_its_budget(failed: RetryWorld) -> None:
    played = play(failed, Aws(failed))
    first = ERROR[failed.calls.body]
    assert not played.retries[np.isin(first, (AUTH, REFUSED))].any()
    assert played.retries.max() == 2
    told = ~np.isnan(played.log.retry_after_seconds)
    assert (played.log.delay_seconds[told] >= played.log.retry_after_seconds[told]).all()
    assert played.log.delay_seconds[~told].max() <= 20

    class Poor(Aws):
        CAPACITY = 5.0

    assert play(failed, Poor(failed)).retries.sum() < played.retries.sum()


def test_the_explorer_tries_every_delay_as_often_as_it_says(failed: RetryWorld) -> None:
    log = play(failed, Explorer(failed), horizon_hours=EXPLORED_HOURS).log
    early = (log.failed_minute < 24 * 60) & np.isnan(log.retry_after_seconds) & (log.attempt <= 3)
    bucket = np.searchsorted(EDGES, log.delay_seconds[early], side="right") - 1
    assert set(bucket.tolist()) == set(range(len(EDGES) - 1))
    weights = np.bincount(bucket, 1 / log.propensity[early], len(EDGES) - 1) / early.sum()
    assert np.abs(weights - 1).max() < 0.75  # each bucket, weighted by its propensity, stands for all decisions
    told = ~np.isnan(log.retry_after_seconds)
    kept = log.delay_seconds[told] >= np.minimum(log.retry_after_seconds[told], EDGES[-1] * 0.999)
    assert kept.all()


@pytest.fixture(scope="module")
def shares(failed: RetryWorld) -> dict[str, tuple[float, float]]:
    counted = failed.calls.minute < failed.minutes - 1440
    found = {}
    for name, policy in {
        "fixed": Fixed(900.0, 3),
        "aws": Aws(failed, 600.0, 4, None),
        "ceiling": Ceiling(failed, 0.6),
        "hasty": Ceiling(failed, 0.2),
        "without people": Ceiling(failed, 0.6, for_people=False),
    }.items():
        played = play(failed, policy)
        found[name] = (float(played.mended(1440)[counted].mean()), float(played.retries[counted].mean()))
        if name == "without people":
            people = np.isin(failed.calls.cause, (Cause.AUTH, Cause.DATA_QUALITY))
            assert not played.retries[people].any()
        if name in ("ceiling", "hasty"):
            assert played.duplicates.sum() == 0
    return found


def test_the_ceiling_does_more_with_less_than_policies_that_see_nothing(
    shares: dict[str, tuple[float, float]],
) -> None:
    for name in ("fixed", "aws"):
        assert shares["ceiling"][0] > shares[name][0]
    assert shares["ceiling"][1] < shares["fixed"][1]
    assert shares["hasty"][1] > shares["ceiling"][1]
    assert shares["without people"][0] < shares["ceiling"][0]


def test_the_ceilings_chances_come_true(failed: RetryWorld) -> None:
    from crewflow_assets.twin.retries.ceiling import DELAYS
    from crewflow_assets.twin.retries.play import once

    asked: list[tuple[np.ndarray, np.ndarray]] = []

    class Asking(Never):
        def decide(self, failures: Failures) -> Decisions:
            asked.append((failures.call, Ceiling(failed, 0.5).chance(failures)))
            return super().decide(failures)

    play(failed, Asking())
    call = np.concatenate([one for one, _ in asked])
    chance = np.concatenate([one for _, one in asked])
    for place in (20, 35, 45):
        delay = np.full(len(failed.calls), DELAYS[place])
        happened = once(failed, delay)[call]
        assert abs(chance[:, place].mean() - happened.mean()) < 0.06
        sure = chance[:, place] > 0.8
        assert happened[sure].mean() > 0.8
