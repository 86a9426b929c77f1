"""Claims: one cause, one training, whoever notices it and however often."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry
from crewflow_assets.store.training_tables import TrainingClaim
from crewflow_assets.training import claims
from crewflow_assets.training.claims import Cause, RunState

NOW = datetime(2026, 2, 1, 12, 30, tzinfo=UTC)
CAUSE = Cause("cost_code_mapping", "corrections", "2026-01-30T00:00:00+00:00")
WHY = "21 corrections"


@pytest.fixture(autouse=True)
def at_noon() -> Iterator[None]:
    with clock.fixed(NOW):
        yield


def request(cause: Cause = CAUSE, **more: int) -> bool:
    with transaction() as session:
        return claims.request(session, cause, why=WHY, **more)


def row(cause: Cause = CAUSE) -> TrainingClaim:
    with reading() as session:
        claim = session.get_one(TrainingClaim, (cause.model, cause.reason, cause.watermark))
        session.expunge(claim)
        return claim


def give_back(error: str = "its run failed") -> None:
    with transaction() as session:
        [claim] = claims.open_claims(session)
        claims.give_back(session, claim, error)


def test_a_cause_is_recorded_once(store: Engine) -> None:
    assert request()
    assert not request()
    assert request(Cause(CAUSE.model, CAUSE.reason, "later"))


def test_of_two_runs_one_gets_the_claim(store: Engine) -> None:
    request()
    assert claims.take(CAUSE, "run-1", why=WHY) is not None
    assert claims.take(CAUSE, "run-1", why=WHY) is not None  # its next step
    assert claims.take(CAUSE, "run-2", why=WHY) is None
    assert (row().state, row().attempts, row().run_id) == ("running", 1, "run-1")


def test_of_many_runs_at_once_one_gets_the_claim(store: Engine) -> None:
    request()
    begin = threading.Barrier(6)
    took: list[str] = []

    def run(name: str) -> None:
        begin.wait()
        if claims.take(CAUSE, name, why=WHY) is not None:
            took.append(name)

    threads = [threading.Thread(target=run, args=(f"run-{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 1
    assert (row().attempts, row().run_id) == (1, took[0])


def test_of_many_sensors_at_once_one_records_the_cause(store: Engine) -> None:
    begin = threading.Barrier(6)
    new: list[bool] = []

    def tick() -> None:
        begin.wait()
        new.append(request())

    threads = [threading.Thread(target=tick) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == [False] * 5 + [True]


def test_a_finished_claim_is_never_taken_again(store: Engine) -> None:
    request()
    claims.take(CAUSE, "run-1", why=WHY)
    claims.finish(CAUSE, "run-1", version="1.4", data_until=NOW)
    assert claims.take(CAUSE, "run-2", why=WHY) is None
    assert claims.take(CAUSE, "run-1", why=WHY) is None
    assert not request()
    with reading() as session:
        last = claims.last_done(session, CAUSE.model)
        assert last is not None
        assert (last.version, last.data_until) == ("1.4", NOW)
    assert claims.standing(row()) == "version 1.4 was trained for it"


def test_a_run_started_by_hand_has_a_claim_of_its_own_and_one_attempt(store: Engine) -> None:
    by_hand = Cause(CAUSE.model, claims.BY_HAND, "run-9")
    assert claims.take(by_hand, "run-9", why="started by hand") is not None
    give_back()
    assert row(by_hand).state == "given_up"


def test_a_run_that_lost_its_claim_finds_out_at_its_next_step(store: Engine) -> None:
    request()
    claims.take(CAUSE, "run-1", why=WHY)
    give_back("run run-1 gave no sign of life")
    with pytest.raises(ConflictError, match="run run-1 was given up for dead"):
        claims.take(CAUSE, "run-1", why=WHY)
    assert claims.take(CAUSE, "run-2", why=WHY) is not None
    with pytest.raises(ConflictError, match="does not hold the claim"):
        claims.finish(CAUSE, "run-1", version="1.4", data_until=NOW)
    with pytest.raises(ConflictError), claims.working(CAUSE, "run-1"):
        pytest.fail("the work began")
    assert row().run_id == "run-2"


def test_a_run_that_takes_over_a_dead_one_needs_no_sensor(store: Engine) -> None:
    request()
    claims.take(CAUSE, "run-1", why=WHY)
    with clock.fixed(NOW + claims.LEASE - timedelta(seconds=1)):
        assert claims.take(CAUSE, "run-2", why=WHY) is None
    with clock.fixed(NOW + claims.LEASE + timedelta(seconds=1)):
        assert claims.take(CAUSE, "run-2", why=WHY) is not None
    assert (row().attempts, row().run_id) == (2, "run-2")


def test_a_working_run_shows_that_it_lives(store: Engine) -> None:
    request()
    claims.take(CAUSE, "run-1", why=WHY)
    later = NOW + timedelta(minutes=2)
    beaten = threading.Event()
    real = claims._beat

    def beat(cause: Cause, run_id: str) -> None:
        real(cause, run_id)
        if threading.current_thread() is not threading.main_thread():
            beaten.set()

    with pytest.MonkeyPatch.context() as patch, clock.fixed(later):
        patch.setattr(claims, "_beat", beat)
        with claims.working(CAUSE, "run-1", beat_seconds=0.01):
            assert beaten.wait(timeout=20)
            assert row().beat_at == later


def test_failures_are_tried_again_after_pauses_and_then_given_up_visibly(
    store: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    request()
    pauses = []
    for attempt in (1, 2, 3):
        assert claims.take(CAUSE, f"run-{attempt}", why=WHY) is not None
        give_back("its run failed")
        pauses.append(row().not_before - NOW)
    assert pauses[:2] == list(claims.PAUSES)
    assert (row().state, row().attempts) == ("given_up", 3)
    said = claims.standing(row())
    assert said == (
        "given up after 3 of 3 attempts: its run failed; look at run run-3 in Dagster, "
        "and start cost_code_mapping_training by hand"
    )
    assert said in caplog.text
    with reading() as session:
        [entry] = session.scalars(select(AuditEntry)).all()
        assert (entry.company_id, entry.action, entry.subject_id) == (None, "training.give_up", CAUSE.model)
    assert claims.take(CAUSE, "run-4", why=WHY) is not None  # a person runs it again in Dagster


def test_a_run_that_never_took_its_claim_counts_as_an_attempt(store: Engine) -> None:
    request()
    give_back("its run failed before it began")
    assert (row().state, row().attempts) == ("failed", 1)


def claim(state: str, **fields: object) -> TrainingClaim:
    base: dict[str, object] = {
        "model": "m",
        "reason": "r",
        "watermark": "w",
        "why": WHY,
        "state": state,
        "attempts": 1,
        "attempts_allowed": 3,
        "requested_at": NOW - timedelta(hours=1),
        "not_before": NOW - timedelta(minutes=1),
        "run_id": "run-1",
        "beat_at": NOW,
        "error": "its run failed",
    }
    return TrainingClaim(**(base | fields))


STALE = NOW - claims.LEASE


@pytest.mark.parametrize(
    ("given", "run", "action"),
    [
        (claim("requested", attempts=0, requested_at=NOW), RunState.UNKNOWN, "wait"),  # its tick is about to ask
        (claim("requested", attempts=0), RunState.UNKNOWN, "run"),  # its tick died
        (claim("requested", attempts=0), RunState.ALIVE, "wait"),  # queued
        (claim("requested", attempts=0), RunState.FAILED, "give back"),  # never began
        (claim("requested", attempts=0), RunState.CANCELED, "give back"),
        (claim("running"), RunState.ALIVE, "wait"),
        (claim("running"), RunState.UNKNOWN, "wait"),  # of another Dagster instance, and alive
        (claim("running", beat_at=STALE), RunState.ALIVE, "give back"),  # killed; Dagster has not noticed
        (claim("running", beat_at=STALE), RunState.UNKNOWN, "give back"),
        (claim("running"), RunState.FAILED, "give back"),
        (claim("running"), RunState.SUCCEEDED, "give back"),  # single steps, run by hand
        (claim("failed"), RunState.UNKNOWN, "run"),
        (claim("failed", not_before=NOW + timedelta(minutes=1)), RunState.UNKNOWN, "wait"),
        (claim("failed"), RunState.ALIVE, "wait"),  # asked for already
        (claim("failed"), RunState.FAILED, "give back"),  # the second attempt never began
    ],
)
def test_what_is_done_about_an_open_claim(given: TrainingClaim, run: RunState, action: str) -> None:
    assert claims.next_step(given, NOW, run).action == action
