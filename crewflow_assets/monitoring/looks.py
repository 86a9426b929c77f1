"""The weekly looks at a model: its requests, answers and calibration, beside the weeks that its champion knew."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time
from typing import Literal

import numpy as np
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crewflow_assets.arrays import Bools
from crewflow_assets.monitoring import alerts
from crewflow_assets.monitoring.accuracy import NOWHERE, WEEK, monday
from crewflow_assets.monitoring.blocks import Blocks, columns_of, described_blocks, residual_blocks
from crewflow_assets.monitoring.drift import ALPHA, FEWEST_WEEKS, Compared, Difference, compare
from crewflow_assets.monitoring.hook import Logged, Monitored
from crewflow_assets.monitoring.outcomes import join, monitored, predictions_of
from crewflow_assets.registry import CHAMPION
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.monitoring_tables import DriftLook
from crewflow_assets.store.tables import Prediction

Aspect = Literal["inputs", "predictions", "calibration"]
ASPECTS: tuple[Aspect, ...] = ("inputs", "predictions", "calibration")
OF_ANSWERS: tuple[Aspect, ...] = ("predictions", "calibration")
"""What depends on who answers: looked at where the champion did, not a challenger, pinned version or arm."""
REFERENCE_WEEKS = 26
SHOWN_WEEKS = 26
MOST_ROWS_A_WEEK = 4000
"""Of a week with more predictions, so many drawn at random are looked at."""
NAMED = 3
EPOCH = date(1970, 1, 5)
"""A Monday; weeks are numbered from it."""


@dataclass(frozen=True, slots=True)
class Champion:
    """The version that answers, and the moment before which all its training data happened."""

    label: str
    data_until: datetime


def begin_of(week: date) -> datetime:
    """Return the first moment of a day, UTC."""
    return datetime.combine(week, time(), UTC)


def looks_due(session: Session, spec: ModelSpec, now: datetime) -> dict[date, list[Aspect]]:
    """Return which aspects of which weeks, by their Mondays, are to be looked at: once each, of the last 26 weeks.

    A week is looked at when it is over, and its calibration when outcomes had time to become known.
    """
    this = monday(now)
    oldest = this - SHOWN_WEEKS * WEEK
    first = session.scalar(
        select(func.min(Prediction.created_at)).where(
            Prediction.model == spec.name, Prediction.created_at >= begin_of(oldest)
        )
    )
    if first is None:
        return {}
    looked_at = select(DriftLook.week, DriftLook.aspect).where(DriftLook.model == spec.name, DriftLook.week >= oldest)
    done = {(week, aspect) for week, aspect in session.execute(looked_at)}
    late = {"calibration": monitored(spec).known_after_weeks}
    due: dict[date, list[Aspect]] = {}
    for n in range((this - monday(first)) // WEEK):
        week = monday(first) + n * WEEK
        for aspect in ASPECTS:
            if (week, aspect) not in done and week + (1 + late.get(aspect, 0)) * WEEK <= this:
                due.setdefault(week, []).append(aspect)
    return due


def look(
    session: Session,
    spec: ModelSpec,
    week: date,
    champion: Champion,
    at: datetime,
    *,
    aspects: Sequence[Aspect] = ASPECTS,
) -> list[DriftLook]:
    """Compare a week with the reference in some aspects; reads alone, and takes seconds.

    The reference are the 26 weeks before the champion's data ended, or, where these hold too few weeks with
    predictions, those before the week itself. Outcomes that become known later change nothing of what was said.

    Raises:
        NotReadyError: the spec does not say how its predictions are judged.
    """
    judge = monitored(spec)
    end = min(week, monday(champion.data_until))
    by_week = _read(session, spec, end - REFERENCE_WEEKS * WEEK, end)
    if end < week and sum(map(bool, by_week.values())) < FEWEST_WEEKS:
        end = week
        by_week = _read(session, spec, end - REFERENCE_WEEKS * WEEK, end)
    by_week |= _read(session, spec, week, week + WEEK)
    logged = [one for part in by_week.values() for one in part]
    found = []
    for aspect in aspects:
        read = [one for one in logged if aspect not in OF_ANSWERS or one.variant == CHAMPION]
        compared = _compare(session, spec, judge, aspect, read, week)
        found.append(
            DriftLook(
                model=spec.name,
                aspect=aspect,
                week=week,
                looked_at=at,
                model_version=champion.label,
                reference_begins=end - REFERENCE_WEEKS * WEEK,
                reference_ends=end,
                rows=compared.rows,
                companies=compared.companies,
                statistic=compared.statistic,
                threshold=compared.threshold,
                p_value=compared.p_value,
                drifted=compared.drifted,
                said=said_of(aspect, compared, _versions(read, week) if aspect in OF_ANSWERS else ""),
                parts=[asdict(one) for one in compared.differences[:NAMED]],
            )
        )
    return found


def keep(session: Session, found: Sequence[DriftLook]) -> None:
    """Keep what a look at a week found, in place of what an earlier look did; open, keep up and resolve alerts."""
    for row in found:
        session.merge(row)
        over = begin_of(row.week) + WEEK
        if row.drifted:
            alerts.note(session, row.model, f"{row.aspect} drift", f"week of {row.week}: {row.said}", over)
    for model, week in {(row.model, row.week) for row in found}:
        alerts.resolve_quiet(session, model, begin_of(week) + WEEK)


def said_of(aspect: Aspect, compared: Compared, versions: str = "") -> str:
    """Return what people read of a comparison; ``versions`` says which ones answered, where that matters."""
    if compared.p_value is None:
        return f"too little to compare: {compared.lacking}"
    if not compared.drifted:
        return f"{aspect} as in the weeks before{versions} (p = {compared.p_value:.3f}; an alarm takes {ALPHA:g})"
    named = "; ".join(_said(aspect, one) for one in compared.differences[:NAMED] if one.standardised > 0)
    differ = "differs" if aspect == "calibration" else "differ"
    return f"{aspect} {differ} from the weeks before{versions} (p = {compared.p_value:.4f}): {named}"


def _versions(logged: Sequence[Logged], week: date) -> str:
    """Say which versions answered in the week and which before it: the first that came, and the last."""
    sides: dict[bool, list[str]] = {early: [] for early in (False, True)}
    for one in logged:
        sides[one.created_at < begin_of(week)].append(one.model_version)
    now, before = (" to ".join(dict.fromkeys([*side[:1], *side[-1:]])) or "none" for side in sides.values())
    return f", answered by {now} and before by {before},"


def _said(aspect: Aspect, one: Difference) -> str:
    if aspect == "calibration":
        return f"{one.group}: what happened less what was said is {one.now:+.3f}, was {one.before:+.3f}"
    return f"{one.group} is {one.most} in {one.now:.0%}, was {one.before:.0%}"


def _read(session: Session, spec: ModelSpec, begin: date, end: date) -> dict[date, list[Logged]]:
    return {
        week: predictions_of(session, spec, begin_of(week), begin_of(week + WEEK), most=MOST_ROWS_A_WEEK)
        for n in range((end - begin) // WEEK)
        if (week := begin + n * WEEK)
    }


def _compare(
    session: Session, spec: ModelSpec, judge: Monitored, aspect: Aspect, logged: Sequence[Logged], week: date
) -> Compared:
    number = (week - EPOCH) // WEEK
    if aspect == "calibration":
        known = [one for one in join(session, spec, logged) if one.weight > 0 and one.said is not None]
        weeks = [_number(one.created_at) for one in known]
        companies = [one.company_id or NOWHERE for one in known]
        said = np.array([one.said for one in known], float)
        actual = np.array([one.actual for one in known], float)
        before = np.array(weeks) < number
        if not before.any():
            return _nothing(weeks, companies, number)
        unit = float(actual[before].std() or 1.0) if judge.numbers else 1.0
        weights = np.array([one.weight for one in known])
        blocks = residual_blocks(said / unit, actual / unit, weights, companies, weeks, before)
    else:
        weeks = [_number(one.created_at) for one in logged]
        companies = [one.company_id or NOWHERE for one in logged]
        before = np.array(weeks) < number
        if not before.any():
            return _nothing(weeks, companies, number)
        described = [judge.described(one) if aspect == "inputs" else judge.answered(one) for one in logged]
        blocks = described_blocks(columns_of(described), companies, weeks, before)
    return compare(blocks, number, _reference(blocks, number), seed=number)


def _reference(blocks: Blocks, number: int) -> Bools:
    return np.asarray(blocks.weeks < number)


def _nothing(weeks: Sequence[int], companies: Sequence[str], number: int) -> Compared:
    now = [company for week, company in zip(weeks, companies, strict=True) if week == number]
    return Compared(rows=len(now), companies=len(set(now)), lacking="nothing is known of the weeks before")


def _number(moment: datetime) -> int:
    return (monday(moment) - EPOCH) // WEEK


def looks_of(session: Session, spec: ModelSpec, since: date) -> list[DriftLook]:
    """Return what was found since a Monday, by week and aspect."""
    return list(
        session.scalars(
            select(DriftLook)
            .where(DriftLook.model == spec.name, DriftLook.week >= since)
            .order_by(DriftLook.week, DriftLook.aspect)
        )
    )
