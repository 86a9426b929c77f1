"""Claims: each cause for training is one row, so that it gets one training, however often it is noticed.

Who notices a cause records it (`request`); the run that trains for it takes it (`take`), shows that it lives
(`working`) and ends it (`finish`). A run that stands where another one holds the claim does nothing. A claim
whose run failed, died or never began is requested again, up to a limit (`next_step`, `give_back`).
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.database import insert_into, reading, transaction
from crewflow_assets.store.training_tables import TrainingClaim

ATTEMPTS = 3
PAUSES = (timedelta(minutes=5), timedelta(minutes=30))
"""How long after the first and the second failure the next attempt is."""
GRACE = timedelta(seconds=60)
"""How long the tick that recorded a cause has for starting its run."""
LEASE = timedelta(minutes=5)
"""A run that gave no sign of life for so long is taken for dead."""
BEAT_SECONDS = 20.0
BY_HAND = "manual"

logger = logging.getLogger("crewflow.training")


class ClaimState(StrEnum):
    """Where a claim stands."""

    REQUESTED = "requested"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"
    GIVEN_UP = "given_up"


OPEN = (ClaimState.REQUESTED.value, ClaimState.RUNNING.value, ClaimState.FAILED.value)


@dataclass(frozen=True, slots=True)
class Cause:
    """What a training is for. ``watermark`` tells causes of one reason apart."""

    model: str
    reason: str
    watermark: str

    def __str__(self) -> str:
        """Render as ``cost_code_mapping/corrections/2026-02-01T12:30:00+00:00``."""
        return f"{self.model}/{self.reason}/{self.watermark}"


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done about an open claim, and why."""

    action: Literal["wait", "run", "give back"]
    said: str


class RunState(StrEnum):
    """What Dagster knows of a claim's run: none, one that may yet train, or how it ended."""

    UNKNOWN = "unknown"
    ALIVE = "alive"
    SUCCEEDED = "ended before a champion was decided"
    FAILED = "failed"
    CANCELED = "was cancelled"


def cause_of(claim: TrainingClaim) -> Cause:
    """Return a claim's cause."""
    return Cause(claim.model, claim.reason, claim.watermark)


def request(session: Session, cause: Cause, *, why: str, attempts_allowed: int = ATTEMPTS) -> bool:
    """Record a cause, and answer whether it is new."""
    now = clock.now()
    statement = insert_into(session, TrainingClaim).values(
        model=cause.model,
        reason=cause.reason,
        watermark=cause.watermark,
        why=why,
        state=ClaimState.REQUESTED.value,
        attempts=0,
        attempts_allowed=attempts_allowed,
        requested_at=now,
        not_before=now,
    )
    return session.scalar(statement.on_conflict_do_nothing().returning(TrainingClaim.model)) is not None


def take(cause: Cause, run_id: str, *, why: str, lease: timedelta = LEASE) -> TrainingClaim | None:
    """Claim a cause for a run, or return None: another run trains for it, or one has. Taking twice is harmless.

    A cause that nobody recorded was started by hand; it has one attempt.

    Raises:
        ConflictError: the run had the claim and lost it, since it showed no sign of life.
    """
    with transaction() as session:
        request(session, cause, why=why, attempts_allowed=1)
        claim = _locked(session, cause)
        now = clock.now()
        if claim.run_id == run_id:
            if claim.state == ClaimState.RUNNING:
                return claim
            if claim.state == ClaimState.DONE:
                return None
            raise ConflictError(f"run {run_id} was given up for dead ({claim.error}); another one trains for {cause}")
        lives = claim.beat_at is not None and claim.beat_at > now - lease
        if claim.state == ClaimState.DONE or (claim.state == ClaimState.RUNNING and lives):
            return None
        claim.attempts += 1
        claim.state, claim.run_id = ClaimState.RUNNING.value, run_id
        claim.beat_at, claim.ended_at = now, None
        return claim


@contextmanager
def working(cause: Cause, run_id: str, *, beat_seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Show that a run lives while the block works.

    Raises:
        ConflictError: the run does not hold the claim.
    """
    _beat(cause, run_id)
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(beat_seconds):
            try:
                _beat(cause, run_id)
            except ConflictError as error:  # the block's next step finds out, and stops
                logger.warning("%s", error)
                return
            except OperationalError:
                logger.warning("no sign of life could be written for run %s", run_id, exc_info=True)

    thread = threading.Thread(target=copy_context().run, args=(go_on,), name=f"claim-{run_id[:8]}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    _beat(cause, run_id)


def held(cause: Cause, run_id: str) -> bool:
    """Say whether a run holds the claim on a cause."""
    with reading() as session:
        claim = session.get(TrainingClaim, (cause.model, cause.reason, cause.watermark))
        return claim is not None and (claim.run_id, claim.state) == (run_id, ClaimState.RUNNING)


def finish(cause: Cause, run_id: str, *, version: str, data_until: datetime) -> None:
    """End a claim well: a version was trained on all data before ``data_until``.

    Raises:
        ConflictError: the run does not hold the claim.
    """
    with transaction() as session:
        claim = _held(session, cause, run_id)
        claim.state, claim.error = ClaimState.DONE.value, None
        claim.version, claim.data_until, claim.ended_at = version, data_until, clock.now()


def give_back(session: Session, claim: TrainingClaim, error: str, *, pauses: tuple[timedelta, ...] = PAUSES) -> None:
    """Count an attempt as failed; the next one follows after a pause, unless it was the last."""
    now = clock.now()
    if claim.state != ClaimState.RUNNING:  # its run ended before it took the claim
        claim.attempts += 1
    claim.error, claim.ended_at = error, now
    if claim.attempts < claim.attempts_allowed:
        claim.state = ClaimState.FAILED.value
        claim.not_before = now + pauses[min(claim.attempts, len(pauses)) - 1]
        return
    claim.state = ClaimState.GIVEN_UP.value
    cause = cause_of(claim)
    write_audit(
        session,
        company_id=None,
        actor="training",
        action="training.give_up",
        subject_type="model",
        subject_id=claim.model,
        before=None,
        after={"cause": str(cause), "attempts": claim.attempts, "run_id": claim.run_id, "error": error},
    )
    logger.error("%s: %s", cause, standing(claim))


def next_step(claim: TrainingClaim, now: datetime, run: RunState, *, lease: timedelta = LEASE) -> Step:
    """Decide about an open claim, from what its row says and what Dagster knows of the run of its present attempt.

    The present attempt is the one that runs, or the one to be started next.
    """
    begun = claim.state == ClaimState.RUNNING
    if run in (RunState.FAILED, RunState.CANCELED, RunState.SUCCEEDED):
        before = "" if begun else " before it began"
        return Step("give back", f"its run {run.value}{before}")
    if begun:
        if claim.beat_at is None or claim.beat_at <= now - lease:
            last = "ever" if claim.beat_at is None else f"since {claim.beat_at:%Y-%m-%d %H:%M:%S}"
            return Step("give back", f"run {claim.run_id} gave no sign of life {last}")
        return Step("wait", standing(claim))
    if run is RunState.ALIVE:
        return Step("wait", f"attempt {claim.attempts + 1} waits for its turn in Dagster")
    if claim.state == ClaimState.REQUESTED and claim.requested_at > now - GRACE:
        return Step("wait", "requested just now")
    if claim.not_before > now:
        return Step("wait", standing(claim))
    return Step("run", f"{claim.why}; attempt {claim.attempts + 1} of {claim.attempts_allowed}")


def standing(claim: TrainingClaim) -> str:
    """Say in a phrase where a claim stands."""
    state = ClaimState(claim.state)
    if state is ClaimState.REQUESTED:
        return "its training was requested"
    if state is ClaimState.RUNNING:
        return f"run {claim.run_id} trains for it (attempt {claim.attempts} of {claim.attempts_allowed})"
    if state is ClaimState.DONE:
        return f"version {claim.version} was trained for it"
    if state is ClaimState.FAILED:
        return (
            f"attempt {claim.attempts} of {claim.attempts_allowed} failed ({claim.error}); "
            f"the next is at {claim.not_before:%H:%M}"
        )
    return (
        f"given up after {claim.attempts} of {claim.attempts_allowed} attempts: {claim.error}; "
        f"look at run {claim.run_id} in Dagster, and start {claim.model}_training by hand"
    )


def open_claims(session: Session) -> list[TrainingClaim]:
    """Return the claims that something is still to be done about, oldest first; locked in a transaction."""
    query = select(TrainingClaim).where(TrainingClaim.state.in_(OPEN)).order_by(TrainingClaim.requested_at)
    return list(session.scalars(query.with_for_update(skip_locked=True)))


def under_way(session: Session, model: str) -> TrainingClaim | None:
    """Return the model's open claim that is oldest; the model's other ones wait until it is done or given up."""
    of_model = (TrainingClaim.model == model, TrainingClaim.state.in_(OPEN))
    order = (TrainingClaim.requested_at, TrainingClaim.reason, TrainingClaim.watermark)
    return session.scalar(select(TrainingClaim).where(*of_model).order_by(*order).limit(1))


def end_with_another(session: Session, claim: TrainingClaim) -> bool:
    """End a claim of which nothing has begun with a training that ended well while it waited, if there is one."""
    done = last_done(session, claim.model)
    if claim.attempts or done is None or done.ended_at is None or done.ended_at < claim.requested_at:
        return False
    claim.state = ClaimState.DONE.value
    claim.version, claim.data_until, claim.ended_at = done.version, done.data_until, clock.now()
    return True


def last_done(session: Session, model: str) -> TrainingClaim | None:
    """Return the model's training that knew the newest data."""
    done = (TrainingClaim.model == model, TrainingClaim.state == ClaimState.DONE.value)
    return session.scalar(select(TrainingClaim).where(*done).order_by(TrainingClaim.data_until.desc()).limit(1))


def newest(session: Session, model: str) -> TrainingClaim | None:
    """Return the model's newest claim, whatever became of it."""
    of_model = TrainingClaim.model == model
    return session.scalar(select(TrainingClaim).where(of_model).order_by(TrainingClaim.requested_at.desc()).limit(1))


def _locked(session: Session, cause: Cause) -> TrainingClaim:
    key = (cause.model, cause.reason, cause.watermark)
    return session.get_one(TrainingClaim, key, with_for_update=True, populate_existing=True)


def _held(session: Session, cause: Cause, run_id: str) -> TrainingClaim:
    claim = _locked(session, cause)
    if claim.run_id != run_id or claim.state != ClaimState.RUNNING:
        raise ConflictError(f"run {run_id} does not hold the claim on {cause}: {standing(claim)}")
    return claim


def _beat(cause: Cause, run_id: str) -> None:
    with transaction() as session:
        _held(session, cause, run_id).beat_at = clock.now()
