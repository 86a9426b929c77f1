"""A look at an experiment: what the data shows now, what follows from it, and carrying that out.

Looks may be taken at any moment and as often as one likes: the intervals and the ratio test hold at all of them at
once, so the first look that shows something is as good as the last.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.experiments.analysis import Comparison, Results, analyse
from crewflow_assets.experiments.config import CONTROL
from crewflow_assets.experiments.ledger import (
    ENDED,
    RUNNING,
    arms_of,
    assignment_of,
    end,
    find,
    last_look,
    propose,
)
from crewflow_assets.experiments.metrics import metric_named
from crewflow_assets.models import spec_named
from crewflow_assets.monitoring.outcomes import outcomes
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.experiment_tables import Experiment, ExperimentLook
from crewflow_assets.store.tables import Prediction

ACTOR = "experiments"

Kind = Literal["harm", "winner", "ratio", "over", "open"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows from a look: ``harm`` stops it, ``winner`` proposes an arm, ``ratio`` forbids any conclusion,
    ``over`` is a time that passed without a difference shown, ``open`` goes on."""

    kind: Kind
    why: str
    arm: str | None = None


def decide(results: Results, *, over: bool, harm_overruled: bool) -> Verdict:
    """Return what follows from a look; a pure function of its arguments.

    Harm comes first, since stopping is safe even where the ratio is wrong. The winner is the arm whose first metric
    is surely better, the largest difference where several are, and none of whose metrics is surely worse.

    Args:
        results: The analysis.
        over: Whether the experiment's time is over.
        harm_overruled: Whether a person had it go on in spite of harm.
    """
    harmed = _harmed(results)
    if harmed and not harm_overruled:
        return Verdict("harm", "; ".join(map(said, harmed)), harmed[0].variant)
    if not results.ratio_ok:
        counts = ", ".join(f"{arm.variant} {arm.answered} ({arm.with_outcome} with outcome)" for arm in results.arms)
        return Verdict(
            "ratio",
            f"companies by arm are not as planned, or were not at an earlier look; now {counts}; "
            f"p = {results.ratio_p_value:.2g} at any look",
        )
    spoilt = {one.variant for one in harmed}
    better = [
        results.of(arm.variant)[0]
        for arm in results.arms
        if arm.variant not in spoilt | {CONTROL} and results.of(arm.variant)[0].reading == "better"
    ]
    if better:
        best = max(better, key=lambda one: abs(one.difference or 0.0))
        return Verdict("winner", said(best), best.variant)
    if over:
        return Verdict("over", "its time is over and no arm was shown to differ from the control by the first metric")
    return Verdict("open", "nothing is decided yet")


def _harmed(results: Results) -> list[Comparison]:
    """Return the comparisons that came out surely worse than the control."""
    return [one for one in results.comparisons if one.reading == "worse"]


def said(one: Comparison) -> str:
    """Return a comparison as a sentence's part, such as ``mapping_accuracy of treatment +0.052 [+0.011, +0.093]``."""
    if one.difference is None or one.low is None or one.high is None:
        return f"{one.metric} of {one.variant}: too few companies"
    percent = one.unit == "minutes"
    numbers = [f"{x:+.1%}" if percent else f"{x:+.3f}" for x in (one.difference, one.low, one.high)]
    return f"{one.metric} of {one.variant} {numbers[0]} [{numbers[1]}, {numbers[2]}], {one.reading}"


def look(name: str) -> tuple[Experiment, ExperimentLook]:
    """Take a look now, keep it, and carry out what follows: stop for harm, propose a winner, end what is over.

    A proposal is taken back where its arm is surely worse by any metric by now, or the ratio is wrong.
    An experiment that has ended is not looked at again: its last look is returned.

    Raises:
        NotFoundError: there is no such experiment.
        NotReadyError: its model does not say how outcomes are found.
    """
    at = clock.now()
    with reading() as session:
        row = find(session, name)
        kept = last_look(session, row)
        if row.state == ENDED and kept is not None:
            return row, kept
        results = results_of(session, row, at)
    if kept is not None:
        results = results.after(Results.model_validate(kept.results))
    with transaction() as session:
        row = find(session, name, lock=True)
        verdict = decide(results, over=row.ends_at <= at, harm_overruled=row.harm_overruled_by is not None)
        taken = ExperimentLook(
            experiment=row.id, at=at, results=results.model_dump(mode="json"), verdict=verdict.kind, why=verdict.why
        )
        session.add(taken)
        if row.state == RUNNING:
            _carry_out(session, row, results, verdict, over=row.ends_at <= at)
    return row, taken


def _carry_out(session: Session, row: Experiment, results: Results, verdict: Verdict, *, over: bool) -> None:
    against = [said(one) for one in _harmed(results) if one.variant == row.winner]
    if row.winner is not None and (against or verdict.kind == "ratio"):
        propose(session, row, None, by=ACTOR, why="; ".join(against) or verdict.why)
    if row.winner is None and verdict.kind == "winner":
        propose(session, row, verdict.arm, by=ACTOR, why=verdict.why)
    if verdict.kind == "harm":
        end(session, row, reason="harm", by=ACTOR, why=verdict.why)
    elif over:
        end(session, row, reason="duration", by=ACTOR, why=verdict.why)


def results_of(session: Session, row: Experiment, at: datetime) -> Results:
    """Analyse an experiment with what is known by a moment, without keeping anything."""
    spec, assignment = spec_named(row.model), assignment_of(row)
    until = min(at, row.ends_at, row.ended_at or at)
    versions = {arm.name: arm.version for arm in assignment.arms}

    def belongs(company_id: str | None, variant: str, version: str) -> bool:
        """Whether this experiment made the prediction; one before may have had arms of the same names."""
        return (
            company_id is not None and versions.get(variant) == version and assignment.arm(company_id).name == variant
        )

    asked = session.execute(
        select(Prediction.company_id, Prediction.variant, Prediction.model_version)
        .where(
            Prediction.model == row.model,
            Prediction.created_at >= row.started_at,
            Prediction.created_at < until,
            Prediction.variant.in_(list(versions)),
        )
        .distinct()
    )
    answered = Counter(variant for company_id, variant, version in asked if belongs(company_id, variant, version))
    found = (
        one
        for one in outcomes(session, spec, row.started_at, until)
        if belongs(one.company_id, one.variant, one.model_version)
    )
    metrics = [metric_named(spec, name) for name in row.metrics]
    return analyse(arms_of(row), metrics, answered, found, last=row.ends_at <= at)


def looks_of(session: Session, row: Experiment) -> list[tuple[datetime, Results]]:
    """Return all looks at an experiment, the oldest first."""
    rows = session.scalars(
        select(ExperimentLook).where(ExperimentLook.experiment == row.id).order_by(ExperimentLook.at)
    )
    return [(one.at, Results.model_validate(one.results)) for one in rows]
