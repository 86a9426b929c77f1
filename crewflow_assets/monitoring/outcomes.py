"""What became of predictions: the log, joined with what happened, people decided, and callers reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets.contract import RANDOM_FROM
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotReadyError
from crewflow_assets.ingest.event_kinds import PredictionOutcome
from crewflow_assets.ingest.events import EventHandler, RecordedEvent
from crewflow_assets.models import spec_named
from crewflow_assets.monitoring.hook import SLOW_CLOCK, Basis, Logged, Monitored, Seen, inverse
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import batched
from crewflow_assets.store.tables import Event, Prediction

AT_ONCE = timedelta(days=7)
"""Predictions are joined a week at a time, so that requests and answers of one week alone are in memory."""

ROWS_PER_FETCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A prediction whose outcome is known; see ``Seen`` for what the last fields mean."""

    prediction_id: str
    company_id: str | None
    model_version: str
    variant: str
    created_at: datetime
    known_at: datetime
    said: float | None
    outcome: str
    actual: float
    right: bool
    basis: Basis
    weight: float


def monitored(spec: ModelSpec) -> Monitored:
    """Return how a model's predictions are judged.

    Raises:
        NotReadyError: its spec does not say.
    """
    if spec.monitored is None:
        raise NotReadyError(f"{spec.name} says nowhere how its outcomes are found; give its spec `monitored`")
    return spec.monitored()


def predictions_of(
    session: Session, spec: ModelSpec, since: datetime, until: datetime, *, most: int | None = None
) -> list[Logged]:
    """Return the logged predictions of a model that were made from a moment on and before another, oldest first.

    Of more than ``most`` a sample is returned, drawn by the random end of the ids.
    """
    found = session.scalars(
        select(Prediction)
        .where(Prediction.model == spec.name, Prediction.created_at >= since, Prediction.created_at < until)
        .order_by(func.substr(Prediction.id, RANDOM_FROM), Prediction.id)
        .limit(most)
        .execution_options(yield_per=ROWS_PER_FETCH)
    )
    return sorted((_logged(row) for row in found), key=lambda one: (one.created_at, one.id))


def outcomes(session: Session, spec: ModelSpec, since: datetime, until: datetime) -> list[Outcome]:
    """Return what became of a model's predictions that were made in [since, until), as far as it is known by now.

    What nobody looked at is not among them: silence is never acceptance.

    Raises:
        NotReadyError: the spec does not say how outcomes are found.
    """
    found: list[Outcome] = []
    begin = since
    while begin < until:
        end = min(begin + AT_ONCE, until)
        found += join(session, spec, predictions_of(session, spec, begin, end))
        begin = end
    return found


def join(session: Session, spec: ModelSpec, logged: Sequence[Logged]) -> list[Outcome]:
    """Return the outcomes of predictions, in their order.

    What was posted about one says what happened in place of what was found; what it weighs stays as found.
    """
    if not logged:
        return []
    judge = monitored(spec)
    seen = judge.seen(session, logged)
    seen |= _reported(session, judge, logged, seen)
    return [
        Outcome(
            prediction_id=one.id,
            company_id=one.company_id,
            model_version=one.model_version,
            variant=one.variant,
            created_at=one.created_at,
            known_at=known.at,
            said=judge.said(one),
            outcome=known.outcome,
            actual=known.actual,
            right=known.right,
            basis=known.basis,
            weight=known.weight,
        )
        for one in logged
        if (known := seen.get(one.id)) is not None
    ]


def _reported(
    session: Session, judge: Monitored, logged: Sequence[Logged], seen: Mapping[str, Seen]
) -> dict[str, Seen]:
    """Return what callers posted as ``prediction_outcome``; of several, the last.

    Basis, weight and moment are those of what was found. Where nothing was, a withheld one is blind, and of an
    automatic one someone chose to look.
    """
    by_id = {one.id: one for one in logged}
    found: dict[str, Seen] = {}
    first = min(one.created_at for one in logged) - SLOW_CLOCK
    named = Event.payload["prediction_id"].as_string()
    for part in batched(list(by_id)):
        rows = session.execute(
            select(Event.company_id, Event.occurred_at, Event.payload)
            .where(Event.kind == "prediction_outcome", Event.occurred_at >= first, named.in_(part))
            .order_by(Event.occurred_at, Event.id)
        )
        for company_id, at, payload in rows:
            one = by_id[payload["prediction_id"]]
            said = judge.reported(one, payload["outcome"], payload["value"])
            if said is None or one.company_id != company_id:
                continue  # posted before the prediction was in the log, so that nothing could refuse it
            posted = Seen(at=at, outcome=payload["outcome"], actual=said[0], right=said[1], basis="reported")
            if one.id in seen:
                posted = replace(seen[one.id], outcome=posted.outcome, actual=posted.actual, right=posted.right)
            elif one.withheld:
                posted = replace(posted, basis="blind", weight=inverse(one))
            elif judge.automatic(one):
                posted = replace(posted, basis="reviewed", weight=0.0)
            found[one.id] = posted
    return found


def check_reported(session: Session, events: Sequence[RecordedEvent]) -> None:
    """Refuse posted outcomes of another company's predictions, and words that mean nothing for their model.

    An outcome may come before its prediction is in the log, which is written a moment after the answer; it is kept.

    Raises:
        InvalidInputError: such outcomes; every one is listed.
    """
    payloads = [PredictionOutcome.model_validate(one.payload.model_dump()) for one in events]
    ids = sorted({payload.prediction_id for payload in payloads})
    known: Mapping[str, Prediction] = {
        row.id: row
        for part in batched(ids)
        for row in session.scalars(select(Prediction).where(Prediction.id.in_(part)))
    }
    problems = []
    for one, payload in zip(events, payloads, strict=True):
        row = known.get(payload.prediction_id)
        if row is None:
            continue
        where = ("events", one.index, "payload")
        if row.company_id != one.event.company_id:
            text = f"company {one.event.company_id!r} has no prediction {payload.prediction_id!r}"
            problems.append(FieldProblem((*where, "prediction_id"), text))
        elif (judge := monitored(spec_named(row.model))).reported(
            _logged(row), payload.outcome, payload.value
        ) is None:
            text = f"{payload.outcome!r} is no outcome of {row.model}; send {judge.outcome_words}"
            problems.append(FieldProblem((*where, "outcome"), text))
    if problems:
        raise InvalidInputError("outcomes do not fit their predictions; nothing was recorded", tuple(problems))


EVENT_HANDLERS: dict[str, EventHandler] = {"prediction_outcome": check_reported}


def _logged(row: Prediction) -> Logged:
    return Logged(
        id=row.id,
        company_id=row.company_id,
        model_version=row.model_version,
        variant=row.variant,
        inputs=row.inputs,
        output=row.output,
        withheld=row.withheld,
        propensity=row.propensity,
        created_at=row.created_at,
    )
