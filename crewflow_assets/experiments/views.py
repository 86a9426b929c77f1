"""An experiment as people and programs read it."""

from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from crewflow_assets.experiments.analysis import ArmCounts, Results
from crewflow_assets.experiments.ledger import arms_of, last_look
from crewflow_assets.store.experiment_tables import Experiment, ExperimentLook


def view(session: Session, row: Experiment) -> dict[str, Any]:
    """Return an experiment with what its last look showed, as JSON values."""
    return _rendered(row, last_look(session, row))


def views(session: Session, rows: list[Experiment]) -> list[dict[str, Any]]:
    """Return experiments with their last looks, in order."""
    look = ExperimentLook
    last = (
        select(look.experiment, func.max(look.at).label("at"))
        .where(look.experiment.in_([row.id for row in rows]))
        .group_by(look.experiment)
        .subquery()
    )
    wanted = select(look).join(last, and_(look.experiment == last.c.experiment, look.at == last.c.at))
    newest = {taken.experiment: taken for taken in session.scalars(wanted)}
    return [_rendered(row, newest.get(row.id)) for row in rows]


def _rendered(row: Experiment, taken: ExperimentLook | None) -> dict[str, Any]:
    results = Results.model_validate(taken.results) if taken is not None else None
    counts = {arm.variant: arm for arm in results.arms} if results is not None else {}
    return {
        "name": row.name,
        "model": row.model,
        "state": row.state,
        "started_at": row.started_at.isoformat(),
        "started_by": row.started_by,
        "ends_at": row.ends_at.isoformat(),
        "ended_at": None if row.ended_at is None else row.ended_at.isoformat(),
        "ended_by": row.ended_by,
        "ended_reason": row.ended_reason,
        "ended_why": row.ended_why,
        "variants": [
            {
                "name": arm.name,
                "model_version": arm.version,
                "percentage": arm.percent,
                "companies": _count(counts.get(arm.name)),
                "companies_with_outcome": _count(counts.get(arm.name), with_outcome=True),
            }
            for arm in arms_of(row)
        ],
        "metrics": row.metrics,
        "looked_at": None if taken is None else taken.at.isoformat(),
        "verdict": None if taken is None else taken.verdict,
        "why": None if taken is None else taken.why,
        "sample_ratio_ok": None if results is None else results.ratio_ok,
        "results": [] if results is None else [one.model_dump(mode="json") for one in results.comparisons],
        "winner": row.winner,
        "approved_by": row.approved_by,
    }


def _count(arm: ArmCounts | None, *, with_outcome: bool = False) -> int | None:
    if arm is None:
        return None
    return arm.with_outcome if with_outcome else arm.answered
