"""Experiments as records: starting, stopping, resuming and approving them, each with its audit row."""

import secrets
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, NotFoundError
from crewflow_assets.experiments.assignment import arm_of
from crewflow_assets.experiments.config import ExperimentConfig, check
from crewflow_assets.models import spec_named
from crewflow_assets.store.audit import write_audit
from crewflow_assets.store.database import transaction
from crewflow_assets.store.experiment_tables import Experiment, ExperimentLook

RUNNING, ENDED = "running", "ended"
EndedReason = Literal["stopped", "harm", "duration", "approved"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm: its name, the version label that answers, and its share of companies in per cent."""

    name: str
    version: str
    percent: float


@dataclass(frozen=True, slots=True)
class Assignment:
    """A running experiment as the gateway needs it."""

    experiment: str
    model: str
    salt: str
    arms: tuple[Arm, ...]

    def arm(self, company_id: str) -> Arm:
        """Return the company's arm, the same every time."""
        name = arm_of(self.salt, self.arms, company_id)
        return next(arm for arm in self.arms if arm.name == name)


def arms_of(row: Experiment) -> tuple[Arm, ...]:
    """Return an experiment's arms in the order of assignment."""
    return tuple(Arm(**arm) for arm in row.arms)


def assignment_of(row: Experiment) -> Assignment:
    """Return how an experiment assigns companies."""
    return Assignment(row.name, row.model, row.salt, arms_of(row))


def running(session: Session) -> list[Assignment]:
    """Return the experiments that assign companies now, at most one a model."""
    rows = session.scalars(
        select(Experiment).where(
            Experiment.state == RUNNING, Experiment.started_at <= clock.now(), Experiment.ends_at > clock.now()
        )
    )
    return [assignment_of(row) for row in rows]


def find(session: Session, name: str, *, lock: bool = False) -> Experiment:
    """Return the experiment of that name.

    Raises:
        NotFoundError: there is none.
    """
    wanted = select(Experiment).where(Experiment.name == name)
    row = session.scalar(wanted.with_for_update() if lock else wanted)
    if row is None:
        raise NotFoundError(f"there is no experiment {name!r}; `crewflow experiment list` shows those there are")
    return row


def every(session: Session) -> list[Experiment]:
    """Return all experiments, the running ones first, then the newest first."""
    rows = session.scalars(select(Experiment).order_by(Experiment.started_at.desc(), Experiment.id.desc()))
    return sorted(rows, key=lambda row: row.state != RUNNING)


def last_look(session: Session, row: Experiment) -> ExperimentLook | None:
    """Return the newest look at an experiment."""
    return session.scalar(
        select(ExperimentLook).where(ExperimentLook.experiment == row.id).order_by(ExperimentLook.at.desc()).limit(1)
    )


def start(
    session: Session, config: ExperimentConfig, *, versions: Collection[str], champion: str | None, by: str
) -> Experiment:
    """Start an experiment now.

    Args:
        session: The transaction.
        config: What is compared.
        versions: The version labels that the registry has of the model.
        champion: The one that is champion, which has to be an arm.
        by: Who starts it.

    Raises:
        InvalidInputError: names every wrong field.
        NotFoundError: there is no such model.
        ConflictError: the name is taken, or the model has a running experiment.
    """
    check(config, spec_named(config.model), versions, champion)
    if session.scalar(select(Experiment.id).where(Experiment.name == config.name)) is not None:
        raise ConflictError(f"there was an experiment {config.name!r} already; choose another name")
    other = session.scalar(select(Experiment).where(Experiment.model == config.model, Experiment.state == RUNNING))
    if other is not None:
        over = "its time is over: take its last look with" if other.ends_at <= clock.now() else "end it with"
        verb = "look" if other.ends_at <= clock.now() else "stop"
        raise ConflictError(
            f"{config.model} is in the experiment {other.name!r}; {over} `crewflow experiment {verb} {other.name}`"
        )
    now = clock.now()
    arms = [Arm(name, arm.model_version, arm.percentage) for name, arm in config.variants.items()]
    row = Experiment(
        name=config.name,
        model=config.model,
        salt=secrets.token_hex(8),
        arms=[asdict(arm) for arm in arms],
        metrics=list(config.metrics),
        state=RUNNING,
        started_at=now,
        started_by=by,
        ends_at=now + timedelta(days=config.duration_days),
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        raise ConflictError(f"another experiment of {config.model}, or of that name, was started just now") from error
    _audit(session, row, by, "start", None)
    return row


def stop(session: Session, name: str, *, by: str, why: str) -> Experiment:
    """End a running experiment by a person's hand; the champion answers again within seconds.

    Raises:
        NotFoundError: there is no such experiment.
        ConflictError: it has ended already.
    """
    row = find(session, name, lock=True)
    _must_run(row)
    return end(session, row, reason="stopped", by=by, why=why)


def resume(session: Session, name: str, *, by: str, why: str) -> Experiment:
    """Take back that an experiment stopped itself for harm; from then on it does not stop for harm.

    Raises:
        NotFoundError: there is no such experiment.
        ConflictError: it did not stop itself, its time is over, or another one runs.
    """
    row = find(session, name, lock=True)
    if row.ended_reason != "harm":
        state = "runs" if row.state == RUNNING else f"has ended ({row.ended_reason})"
        raise ConflictError(f"the experiment {name!r} {state}; only what stopped itself for harm is resumed")
    if row.ends_at <= clock.now():
        raise ConflictError(f"the time of {name!r} was over on {row.ends_at:%Y-%m-%d}; start a new experiment")
    other = session.scalar(select(Experiment).where(Experiment.model == row.model, Experiment.state == RUNNING))
    if other is not None:
        raise ConflictError(f"{row.model} is in the experiment {other.name!r} now; stop that one first")
    before = snapshot(row)
    row.state, row.harm_overruled_by = RUNNING, by
    row.ended_at = row.ended_by = row.ended_reason = row.ended_why = None
    _audit(session, row, by, "resume", before, why=why)
    return row


def end(session: Session, row: Experiment, *, reason: EndedReason, by: str, why: str) -> Experiment:
    """End a running experiment, in the caller's transaction."""
    before = snapshot(row)
    row.state, row.ended_reason = ENDED, reason
    row.ended_at, row.ended_by, row.ended_why = clock.now(), by, why
    _audit(session, row, by, "end", before, why=why)
    return row


def propose(session: Session, row: Experiment, winner: str | None, *, by: str, why: str) -> None:
    """Propose an arm for promotion, or take the proposal back with None, in the caller's transaction."""
    before = snapshot(row)
    row.winner, row.winner_at = winner, clock.now() if winner is not None else None
    _audit(session, row, by, "propose", before, why=why)


def approve(name: str, *, by: str, why: str) -> tuple[Experiment, Arm]:
    """Make the winner's version champion and end the experiment; may be repeated if it was cut off in between.

    Raises:
        NotFoundError: there is no such experiment.
        ConflictError: it has no winner, was approved already, or the champion is a version that was not compared.
    """
    from crewflow_assets import registry
    from crewflow_assets.promotion import Expected, promote

    with transaction() as session:
        row = find(session, name)
        if row.approved_at is not None:
            raise ConflictError(f"{name!r} was approved by {row.approved_by!r} on {row.approved_at:%Y-%m-%d %H:%M}")
        if row.winner is None:
            raise ConflictError(f"{name!r} has no winner; `crewflow experiment status {name}` says what was found")
        arm = next(arm for arm in arms_of(row) if arm.name == row.winner)
        spec, compared = spec_named(row.model), {one.version for one in arms_of(row)}
    champion = next((one for one in registry.describe(spec) if registry.CHAMPION in one.aliases), None)
    if champion is not None and champion.label not in compared:
        raise ConflictError(
            f"the champion of {spec.name} is {champion.label} by now, which {name!r} did not compare; "
            f"`crewflow model rollback {spec.name} --to {arm.version}` makes the winner champion all the same"
        )
    expected = Expected(None if champion is None else champion.number)
    promote(spec, arm.version, by=by, why=f"experiment {name}: {why}", method="experiment", instead_of=expected)
    with transaction() as session:
        row = find(session, name, lock=True)
        row.approved_at, row.approved_by = clock.now(), by
        if row.state == RUNNING:
            end(session, row, reason="approved", by=by, why=why)
        else:
            _audit(session, row, by, "approve", None, why=why)
    return row, arm


def snapshot(row: Experiment) -> dict[str, Any]:
    """Return what the audit log keeps of an experiment."""
    return {
        "model": row.model,
        "arms": row.arms,
        "metrics": row.metrics,
        "state": row.state,
        "ends_at": row.ends_at.isoformat(),
        "ended_reason": row.ended_reason,
        "winner": row.winner,
        "approved_by": row.approved_by,
        "harm_overruled_by": row.harm_overruled_by,
    }


def _must_run(row: Experiment) -> None:
    if row.state != RUNNING:
        raise ConflictError(f"{row.name!r} has ended already ({row.ended_reason}, {row.ended_at:%Y-%m-%d %H:%M})")


def _audit(
    session: Session, row: Experiment, by: str, action: str, before: dict[str, Any] | None, *, why: str | None = None
) -> None:
    write_audit(
        session,
        company_id=None,
        actor=by,
        action=f"experiment.{action}",
        subject_type="experiment",
        subject_id=row.name,
        before=before,
        after=snapshot(row) | ({} if why is None else {"why": why}),
    )
