"""A company's recorded history against the models, as far as logs allow, and what logs cannot tell.

What was done is known, and how it ended. What would have happened otherwise is estimated where the log says with
which probability it was done (retries, see ``retry_strategy.off_policy``), or compared with what people decided
(conflicts); of prevention no more is shown than what was done and what was withheld by lot.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.backtest.models import FITTED, Models
from crewflow_assets.errors import NotFoundError, NotReadyError
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.integration_health.days import PLACE, read_days
from crewflow_assets.store.sync_tables import SyncAction
from crewflow_assets.store.tables import Company

if TYPE_CHECKING:
    from crewflow_assets.spec import Figure

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
        ("syncs", f"{total:,} of {_counted(len(mine), 'integration')} in {DAYS} days, {_of(errors, total)} failed")
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
    import pandas as pd

    from crewflow_assets.retry_strategy.evaluation import plan_figures
    from crewflow_assets.retry_strategy.rules import RELEASED_ON
    from crewflow_assets.retry_strategy.table import feature_table

    try:
        table = feature_table(clock.now())
    except NotReadyError:
        return [("retries", "none are recorded")]
    since = pd.Timestamp(clock.now() - timedelta(days=DAYS))
    mine = table[(table["company_id"] == company_id) & (table["decided_at"] >= since)]
    if mine.empty:
        return [("retries", f"none in the last {DAYS} days")]
    usable = mine[mine["propensity"] > 0]
    calls = mine.groupby(["entity", "call"]).agg(done=("label", "max"), kind=("error_class", "first"))
    person = calls["kind"].isin(RELEASED_ON)
    done = int(calls["done"].sum())
    said = [
        ("retries", f"{len(mine):,} recorded, {len(usable):,} of them with the probability of their delay"),
        ("retries that succeeded", _of(int(mine["label"].sum()), len(mine))),
        ("calls that these retried", f"{len(calls):,}; {_of(done, len(calls))} got through in the end"),
        (
            "of these refused for what a person mends",
            f"{_of(int(person.sum()), len(calls))}; the rules retry none of them, but resend when the mending shows",
        ),
    ]
    if len(usable) < FEWEST_RETRIES:
        return [*said, ("learned retries", f"not estimated: {FEWEST_RETRIES} such retries are needed")]
    seen = _seen(models.versions["retry_strategy"], set(usable["entity"]))
    by_day = usable.assign(entity=usable["decided_at"].dt.date.astype(str))
    for figure in plan_figures(models.retry, by_day):
        name = {"plan_value": "doubly robust", "plan_value_ips": "inverse propensity"}[figure.name]
        said.append((f"worth of the next learned retry, {name}", f"{_worth(figure)}{seen}"))
    return said


def _worth(figure: "Figure") -> str:
    if figure.value is None:
        return "not to be told from this log"
    interval = "" if figure.low is None else f" [{figure.low:.3f}, {figure.high:.3f}]"
    return (
        f"{figure.value:.3f}{interval} where a success is worth 1; the logged delays {figure.baseline_value:.3f} "
        f"(n={figure.n:,}, interval by day)"
    )


def _of(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _conflicts(models: Models, company_id: str) -> list[tuple[str, str]]:
    from crewflow_assets.conflict_resolution.context import decided_cases
    from crewflow_assets.conflict_resolution.evaluation import score
    from crewflow_assets.conflict_resolution.lifecycle import feature_table

    try:
        now = clock.now()
        since = now - timedelta(days=DAYS)
        decided = [one for one in decided_cases(now) if one.company_id == company_id and one.decided_at >= since]
    except NotReadyError:  # the lake holds no conflicts of anyone
        decided = []
    if not decided:
        return [("conflicts", "none were decided by people")]
    scored = score(models.conflict, feature_table(decided))
    seen = _seen(models.versions["conflict_resolution"], {company_id})
    sure = scored.automatic
    agreed, automatic = int(scored.right[sure].sum()), int(sure.sum())
    return [
        ("conflicts", f"{len(decided):,} decided by people"),
        ("would be automatic", f"{_of(automatic, len(decided))}{seen}"),
        ("of these resolved as the person did", _of(agreed, automatic) if automatic else "–"),
    ]


def _seen(version: str, entities: set[str]) -> str:
    """Warn where the training of a champion may have seen what is asked."""
    if version != FITTED and any(fold_of(entity) == "train" for entity in entities):
        return "; flattering, as this installation's champion was trained on this company too"
    return ""
