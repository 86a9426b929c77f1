"""A company's recorded history against the models, as far as logs allow, and what logs cannot tell.

What was done is known, and how it ended. What would have happened otherwise is estimated where the log says with
which probability it was done (retries, see ``retry_strategy.off_policy``), or compared with what people decided
(conflicts); of prevention no more is shown than what was done and what was withheld by lot.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.backtest.models import Models
from crewflow_assets.errors import NotFoundError, NotReadyError
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.integration_health.days import PLACE, read_days
from crewflow_assets.store.sync_tables import SyncAction
from crewflow_assets.store.tables import Company

DAYS = 60
FEWEST_RETRIES = 100
"""Logged retries with a propensity, fewer of which say nothing of another policy."""
UNKNOWN = (
    "Which syncs an action kept from failing: without it each would have gone one way only, and just the withheld "
    "ones say which. The simulated worlds (crewflow backtest) are where that is measured.",
    "What a retry after another delay would have done to later syncs: a decision is judged by its own retry alone.",
    "Delays that were never tried after such a failure: where the log has none, the estimate rests on the model.",
    "Whether a person's decision on a conflict was right: agreement is measured, not truth.",
    "Conflicts and failures that nobody ever reported.",
)


@dataclass(frozen=True, slots=True)
class Replay:
    """What a company's history says: facts by name, and sentences on what it does not."""

    company_id: str
    facts: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...] = UNKNOWN


def replay(session: Session, models: Models, company_id: str) -> Replay:
    """Replay the last 60 days of a company.

    Args:
        session: An open session.
        models: That would have acted.
        company_id: Whose history.

    Raises:
        NotFoundError: the company is unknown.
    """
    if session.get(Company, company_id) is None:
        raise NotFoundError(f"company {company_id!r} is unknown; `crewflow import --help` says how to bring it in")
    facts = [*_syncs(company_id), *_actions(session, company_id), *_retries(models, company_id)]
    return Replay(company_id, (*facts, *_conflicts(models, company_id)))


def _syncs(company_id: str) -> list[tuple[str, str]]:
    last = clock.now().date() - timedelta(days=1)
    days = read_days(last - timedelta(days=DAYS - 1), last)
    mine = [place for place, (company, _) in enumerate(days.keys) if company == company_id]
    sums = days.values[mine].sum(axis=(0, 1))
    total, errors = (round(float(sums[PLACE[name]])) for name in ("total", "errors"))
    if not total:
        return [("syncs", f"none in the last {DAYS} days")]
    return [
        ("syncs", f"{total:,} of {len(mine)} integrations in {DAYS} days, {errors:,} failed ({errors / total:.1%})")
    ]


def _actions(session: Session, company_id: str) -> list[tuple[str, str]]:
    since = clock.now() - timedelta(days=DAYS)
    query = select(SyncAction.action, SyncAction.state).where(
        SyncAction.company_id == company_id, SyncAction.decided_at >= since
    )
    counts = Counter((action, state == "withheld") for action, state in session.execute(query))
    if not counts:
        return [("actions", "none were decided")]
    said = [f"{number} {action}{' (withheld)' if held else ''}" for (action, held), number in sorted(counts.items())]
    return [("actions", ", ".join(said))]


def _retries(models: Models, company_id: str) -> list[tuple[str, str]]:
    from crewflow_assets.retry_strategy.evaluation import plan_figures
    from crewflow_assets.retry_strategy.table import feature_table

    try:
        table = feature_table(clock.now())
    except NotReadyError:
        return [("retries", "none are recorded")]
    mine = table[table["company_id"] == company_id]
    usable = mine[mine["propensity"] > 0]
    said = [("retries", f"{len(mine):,} recorded, {len(usable):,} of them with the probability of their delay")]
    if len(mine):
        said.append(("retries that succeeded", f"{mine['label'].mean():.1%}"))
    if len(usable) < FEWEST_RETRIES:
        return [*said, ("learned retries", f"not estimated: {FEWEST_RETRIES} such retries are needed")]
    seen = _seen(set(usable["entity"]))
    for figure in plan_figures(models.retry, usable):
        name = {"plan_value": "doubly robust", "plan_value_ips": "inverse propensity"}[figure.name]
        said.append((f"worth of a learned retry, {name}", f"{figure}; a success is worth 1{seen}"))
    return said


def _conflicts(models: Models, company_id: str) -> list[tuple[str, str]]:
    from crewflow_assets.conflict_resolution.context import decided_cases
    from crewflow_assets.conflict_resolution.evaluation import score
    from crewflow_assets.conflict_resolution.lifecycle import feature_table

    try:
        decided = [one for one in decided_cases(clock.now()) if one.company_id == company_id]
    except NotReadyError:  # the lake holds no conflicts of anyone
        decided = []
    if not decided:
        return [("conflicts", "none were decided by people")]
    scored = score(models.conflict, feature_table(decided))
    sure = scored.automatic
    agreed, automatic = int(scored.right[sure].sum()), int(sure.sum())
    return [
        ("conflicts", f"{len(decided):,} decided by people"),
        ("would be automatic", f"{automatic:,} of these{_seen({company_id})}"),
        ("resolved as the person did", f"{agreed:,} of the {automatic:,}"),
    ]


def _seen(entities: set[str]) -> str:
    """Warn where a training may have seen what is asked."""
    if any(fold_of(entity) == "train" for entity in entities):
        return " (a champion of this installation was trained on this company too: too good)"
    return ""
