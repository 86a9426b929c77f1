"""Which version of a model answers: every move of an alias is decided, recorded and carried out here.

A move is first a row in ``promotions`` with its audit row, in one transaction, and then the registry's alias. Whoever
is killed in between leaves a row that says ``moving``; the next look carries it out (`reconcile`).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from crewflow_assets import clock, registry
from crewflow_assets.errors import ConflictError
from crewflow_assets.registry import CHALLENGER, CHAMPION, VersionInfo
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import reading
from crewflow_assets.store.experiment_tables import Experiment
from crewflow_assets.store.training_tables import ModelSwitch, Promotion
from crewflow_assets.training.moves import Method, audited, carry_out, movers, record, settle, switch, unmoved

BY_PEOPLE = ("approval", "experiment", "rollback")
TRAINING: Final = "training"
MOVED = ("moving", "done")
CLOCKS = timedelta(minutes=5)  # those of two machines differ by less


@dataclass(frozen=True, slots=True)
class Expected:
    """Which version number was champion when something was decided; None for none."""

    champion: int | None


def promote(
    spec: ModelSpec,
    label: str,
    *,
    by: str,
    why: str,
    method: Method,
    alias: str = CHAMPION,
    run_id: str | None = None,
    instead_of: Expected | None = None,
) -> Promotion | None:
    """Point an alias at a version and record who or what decided it; None where it pointed there already.

    A new champion takes the alias of a challenger that is not newer. Where a person decides, what training
    proposed no longer waits.

    Raises:
        NotFoundError: there is no such version.
        ConflictError: the version belongs to another contract, or the champion is not ``instead_of``.
    """
    version = registry.find(spec, label)
    with movers(spec) as session:
        settle(session, spec)
        _check(spec, version, instead_of)
        moved = record(session, spec, alias, version, by=by, why=why, method=method, run_id=run_id)
        if alias == CHAMPION and method in BY_PEOPLE:
            _end_pending(session, spec, "superseded", by, why)
    carry_out(spec)
    return moved


def propose(spec: ModelSpec, label: str, *, why: str, run_id: str | None, instead_of: Expected) -> Promotion | None:
    """Make a version champion that training found good, or let it wait where a person has to approve.

    A person also has to while an experiment on the champion is undecided: it could not be approved against another.

    Returns:
        The row, ``pending`` where it waits; None where nothing changed.

    Raises:
        ConflictError: the champion is not the one that the version was compared with.
    """
    version = registry.find(spec, label)
    with movers(spec) as session:
        settle(session, spec)
        _check(spec, version, instead_of)
        experiment = _undecided(session, spec, instead_of.champion)
        if experiment is not None:
            why = f"{why}; the experiment {experiment!r} is undecided (`crewflow experiment status {experiment}`)"
        facts: dict[str, Any] = {"by": TRAINING, "why": why, "method": TRAINING, "run_id": run_id}
        required = switch(session, spec).approval_required or experiment is not None
        if not required or instead_of.champion == version.number:
            row = record(session, spec, CHAMPION, version, **facts)
            _end_pending(session, spec, "superseded", TRAINING, f"{version.label} needed no approval")
        else:
            row = _wait(session, spec, version, **facts)
    carry_out(spec)
    return row


def approve(spec: ModelSpec, label: str, *, by: str, why: str) -> Promotion | None:
    """Promote the version that waits for approval.

    Raises:
        ConflictError: that version does not wait.
    """
    version = registry.find(spec, label)
    with movers(spec) as session:
        settle(session, spec)
        _waiting(session, spec, label)
        _check(spec, version, None)
        _end_pending(session, spec, "approved", by, why)
        row = record(session, spec, CHAMPION, version, by=by, why=why, method="approval", run_id=None)
    carry_out(spec)
    return row


def reject(spec: ModelSpec, label: str, *, by: str, why: str) -> Promotion:
    """Refuse the version that waits for approval; no training promotes it any more.

    Raises:
        ConflictError: that version does not wait.
    """
    version = registry.find(spec, label)
    with movers(spec) as session:
        row = _waiting(session, spec, label)
        _end_pending(session, spec, "rejected", by, why)
    registry.tag(version, registry.DECISION, f"rejected by {by}: {why}")
    return row


def rollback(spec: ModelSpec, *, by: str, why: str, to: str | None = None) -> Promotion:
    """Make an earlier champion champion again, by default the one before the present one.

    No training promotes the version that is rolled back from, until a person does.

    Raises:
        ConflictError: the version is the champion already, or no earlier champion is known.
        NotFoundError: there is no such version.
    """
    with movers(spec) as session:
        settle(session, spec)
        present = registry.alias_numbers(spec).get(CHAMPION)
        version = registry.find(spec, to) if to is not None else _former(session, spec, present)
        if version.number == present:
            raise ConflictError(f"{spec.name} {version.label} is the champion already; name another one with --to")
        _check(spec, version, None)
        row = record(session, spec, CHAMPION, version, by=by, why=why, method="rollback", run_id=None)
        assert row is not None, "the champion is another version"
    carry_out(spec)
    return row


def require_approval(spec: ModelSpec, required: bool, *, by: str, why: str) -> bool:
    """Let a model's promotions wait for a person from now on, or no longer; False where it was so already."""
    with movers(spec) as session:
        row = switch(session, spec)
        if row.approval_required == required:
            return False
        before = {"approval_required": row.approval_required}
        row.approval_required, row.set_by, row.set_at = required, by, clock.now()
        audited(session, spec, "model.approval", by, before, {"approval_required": required, "reason": why})
    return True


def approval_required(session: Session, spec: ModelSpec) -> bool:
    """Say whether the model's promotions wait for a person."""
    row = session.get(ModelSwitch, spec.name)
    return row is not None and row.approval_required


def pending(session: Session, spec: ModelSpec) -> Promotion | None:
    """Return the promotion that waits for a person."""
    return next((row for row in _decided(session, spec) if row.state == "pending"), None)


def history(session: Session, spec: ModelSpec) -> list[Promotion]:
    """Return all decisions on the model's aliases, newest first."""
    return list(session.scalars(select(Promotion).where(Promotion.model == spec.name).order_by(Promotion.id.desc())))


def barred(session: Session, spec: ModelSpec, number: int) -> str | None:
    """Return why training must not promote a version: a person rolled it back, or rejected it; None where it may."""
    for row in _decided(session, spec):
        if row.to_number == number and row.method in BY_PEOPLE and row.state in MOVED:
            return None
        if row.to_number == number and row.state == "rejected":
            return f"{row.to_label} was rejected by {row.ended_by}: {row.ended_why}"
        if row.from_number == number and row.method == "rollback" and row.state in MOVED:
            return f"{row.from_label} was rolled back by {row.decided_by}: {row.why}"
    return None


def reconcile(spec: ModelSpec) -> bool:
    """Carry out what a killed process recorded and did not carry out; True where there was something."""
    with reading() as session:
        if not unmoved(session, spec):
            return False
    carry_out(spec)
    return True


def _check(spec: ModelSpec, version: VersionInfo, instead_of: Expected | None) -> None:
    if version.label.split(".")[0] != str(spec.contract_version):
        raise ConflictError(
            f"{spec.name} {version.label} answers another contract than {spec.contract_version}.x, which is served"
        )
    if instead_of is not None:
        champion = registry.alias_numbers(spec).get(CHAMPION)
        if champion != instead_of.champion:
            raise ConflictError(
                f"the champion of {spec.name} was moved while {version.label} was compared with it; compare again"
            )


def _undecided(session: Session, spec: ModelSpec, champion: int | None) -> str | None:
    """Return the experiment that has the champion among its arms and runs, or has ended with a winner that waits."""
    waits = and_(
        Experiment.winner.is_not(None), Experiment.approved_at.is_(None), Experiment.ended_reason != "stopped"
    )
    rows = session.scalars(
        select(Experiment)
        .where(Experiment.model == spec.name, or_(Experiment.state == "running", waits))
        .order_by(Experiment.id.desc())
    ).all()
    labels = {info.label for info in registry.describe(spec) if info.number == champion} if rows else set()
    return next((row.name for row in rows if labels & {arm["version"] for arm in row.arms}), None)


def _wait(
    session: Session, spec: ModelSpec, version: VersionInfo, *, by: str, why: str, method: Method, run_id: str | None
) -> Promotion | None:
    """Write down a promotion that a person has to approve; the version is challenger meanwhile."""
    row = pending(session, spec)
    if row is not None and row.to_number == version.number:
        return row
    _end_pending(session, spec, "superseded", by, f"{version.label} waits in its place")
    present = next((info for info in registry.describe(spec) if CHAMPION in info.aliases), None)
    row = Promotion(
        model=spec.name,
        alias=CHAMPION,
        method=method,
        state="pending",
        from_number=present.number if present else None,
        from_label=present.label if present else None,
        to_number=version.number,
        to_label=version.label,
        why=why,
        decided_by=by,
        decided_at=clock.now(),
        run_id=run_id,
    )
    session.add(row)
    after = {"pending": version.label, "reason": why}
    audited(session, spec, "model.pending", by, {CHAMPION: row.from_label}, after, row)
    waits = f"waits for approval: {why}"
    record(session, spec, CHALLENGER, version, by=by, why=waits, method=method, run_id=run_id)
    return row


def _waiting(session: Session, spec: ModelSpec, label: str) -> Promotion:
    row = pending(session, spec)
    if row is None:
        raise ConflictError(f"no version of {spec.name} waits for approval; see `crewflow model list`")
    if row.to_label != label:
        raise ConflictError(f"{spec.name} {label} does not wait for approval; {row.to_label} does")
    return row


def _end_pending(session: Session, spec: ModelSpec, state: str, by: str, why: str) -> None:
    row = session.scalar(select(Promotion).where(Promotion.model == spec.name, Promotion.state == "pending"))
    if row is None:
        return
    row.state, row.ended_by, row.ended_at, row.ended_why = state, by, clock.now(), why
    session.flush()  # before another one may wait
    before = {"pending": row.to_label}
    audited(session, spec, f"model.{state}", by, before, {"state": state, "reason": why}, row)


def _decided(session: Session, spec: ModelSpec) -> list[Promotion]:
    """Return the decisions on champions, newest first, without those before the data of the oldest version ended.

    These were about a registry before this one: one that is rebuilt gives the same numbers to other versions.
    """
    began = min((info.data_until for info in registry.describe(spec)), default=clock.now()) - CLOCKS
    return [row for row in history(session, spec) if row.alias == CHAMPION and row.decided_at > began]


def _former(session: Session, spec: ModelSpec, present: int | None) -> VersionInfo:
    """Return the champion before the present one, as if what was rolled back had never been."""
    champions: list[int | None] = []
    for row in reversed([row for row in _decided(session, spec) if row.state in MOVED]):
        champions = champions or [row.from_number]
        if row.method == "rollback" and row.to_number in champions:
            champions = champions[: champions.index(row.to_number) + 1]
        else:
            champions.append(row.to_number)
    if champions and champions[-1] == present:
        champions.pop()
    versions = {info.number: info for info in registry.describe(spec)}
    former = next((versions[n] for n in reversed(champions) if n in versions and n != present), None)
    if former is None:
        raise ConflictError(f"no earlier champion of {spec.name} is known; name a version with --to")
    return former
