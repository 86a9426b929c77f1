"""Moves of aliases as rows: recorded in a transaction, carried out in the registry, finished by whoever comes next.

Movers of one model wait for each other, so that an alias ends where the newest row says.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock, registry
from crewflow_assets.registry import CHALLENGER, CHAMPION, VersionInfo
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.audit import Grounds, write_audit
from crewflow_assets.store.database import insert_into, transaction
from crewflow_assets.store.training_tables import ModelSwitch, Promotion

Method = Literal["training", "approval", "experiment", "rollback"]


@contextmanager
def movers(spec: ModelSpec) -> Iterator[Session]:
    """Open a transaction in which nobody else decides about the model's aliases."""
    registry.client()  # takes seconds at first, in which nobody is kept waiting
    with transaction() as session:
        switch(session, spec)
        yield session


def switch(session: Session, spec: ModelSpec) -> ModelSwitch:
    """Return the model's row, locked; made at the first use."""
    made = insert_into(session, ModelSwitch).values(model=spec.name, approval_required=False)
    session.execute(made.on_conflict_do_nothing(index_elements=["model"]))
    return session.get_one(ModelSwitch, spec.name, with_for_update=True)


def record(
    session: Session,
    spec: ModelSpec,
    alias: str,
    version: VersionInfo | None,
    *,
    by: str,
    why: str,
    method: Method,
    run_id: str | None,
) -> Promotion | None:
    """Write down a move that is to be carried out; None where the alias is there already.

    A candidate that becomes champion takes the alias of a challenger that is not newer; a baseline does not, since
    it stands in for one.
    """
    versions = {info.number: info for info in registry.describe(spec)}
    numbers = registry.alias_numbers(spec)
    present = versions.get(numbers.get(alias, -1))
    if (present.number if present else None) == (version.number if version else None):
        return None
    row = Promotion(
        model=spec.name,
        alias=alias,
        method=method,
        state="moving",
        from_number=present.number if present else None,
        from_label=present.label if present else None,
        to_number=version.number if version else None,
        to_label=version.label if version else None,
        why=why,
        decided_by=by,
        decided_at=clock.now(),
        run_id=run_id,
    )
    session.add(row)
    audited(session, spec, f"model.{method}", by, {alias: row.from_label}, {alias: row.to_label, "reason": why}, row)
    if version is None or alias != CHAMPION or method == "rollback" or version.tags[registry.ROLE] != "candidate":
        return row
    if 0 < numbers.get(CHALLENGER, 0) <= version.number:
        reason = f"{version.label} is champion"
        record(session, spec, CHALLENGER, None, by=by, why=reason, method=method, run_id=run_id)
    return row


def unmoved(session: Session, spec: ModelSpec) -> list[Promotion]:
    """Return the moves that are recorded and not known to be carried out, oldest first."""
    moving = (Promotion.model == spec.name, Promotion.state == "moving")
    return list(session.scalars(select(Promotion).where(*moving).order_by(Promotion.id)))


def carry_out(spec: ModelSpec) -> None:
    """Carry out the moves that are recorded, in a transaction of its own."""
    with movers(spec) as session:
        settle(session, spec)


def settle(session: Session, spec: ModelSpec) -> None:
    """Move the aliases as the rows say that are not carried out yet, in their order; doing it twice is harmless.

    A row whose version, or whose whole model, was deleted from the registry meanwhile is ``void``.
    """
    versions = {info.number: info for info in registry.describe(spec)} if (rows := unmoved(session, spec)) else {}
    for row in rows:
        version = versions.get(row.to_number or 0)
        moved = version is not None
        if version is not None:
            registry.promote(version, row.alias)
            registry.tag(version, registry.DECISION, row.why)
        elif row.to_number is None:
            moved = registry.take_away(spec, row.alias)
        row.state = "done" if moved else "void"
    session.flush()


def audited(
    session: Session,
    spec: ModelSpec,
    action: str,
    actor: str,
    before: dict[str, Any],
    after: dict[str, Any],
    row: Promotion | None = None,
) -> None:
    """Write the audit row of a decision on a model: the platform's own, of no company."""
    grounds = Grounds(method=row.method, model_version=row.to_label) if row else None
    write_audit(
        session,
        company_id=None,
        actor=actor,
        action=action,
        subject_type="model",
        subject_id=spec.name,
        before=before,
        after=after,
        grounds=grounds,
    )
