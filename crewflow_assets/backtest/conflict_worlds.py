"""Simulated timecard conflicts as the model's rows, with the truth beside them, for backtest and benchmarks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from crewflow_assets.arrays import AnyFloats, Bools
from crewflow_assets.conflict_resolution.context import decided_in
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS
from crewflow_assets.conflict_resolution.lifecycle import feature_table
from crewflow_assets.conflict_resolution.model import LEAST_CONFIDENCE, MANUAL
from crewflow_assets.evaluation.calibration import TARGET_RIGHT
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.twin.timecards.crews import Employer
from crewflow_assets.twin.timecards.filling import events_of
from crewflow_assets.twin.timecards.parameters import TimecardParameters
from crewflow_assets.twin.timecards.world import TimecardHistory, build_timecards

END = datetime(2026, 6, 1, tzinfo=UTC)
WORKERS = 14


def histories(
    parameters: TimecardParameters, *, companies: int, days: int, seed: int, prefix: str = "c"
) -> Iterator[TimecardHistory]:
    """Yield the histories of simulated companies, which depend on seed, name and parameters alone."""
    since = END.date() - timedelta(days=days)
    employers = [Employer(f"{prefix}-{number}", "quickbooks", WORKERS, since) for number in range(companies)]
    yield from build_timecards(employers, seed=seed, end=END, parameters=parameters)


def events(history: TimecardHistory) -> Iterator[tuple[str, datetime, str, Mapping[str, Any]]]:
    """Yield company, moment, kind and payload of what happened, by time, as ``ingest/`` would keep it."""
    for event in events_of(history):
        payload = PAYLOADS[event.kind].model_validate(event.payload).model_dump(mode="json")
        yield event.company_id, event.occurred_at, event.kind, payload


def table_of(found: Sequence[TimecardHistory]) -> pd.DataFrame:
    """Return the feature table of the decided conflicts, with the hidden ``mechanism``, ``truth`` and ``usual``."""
    decided = [one for history in found for one in decided_in(events(history))]
    hidden = pd.DataFrame(
        [
            (h.company_id, h.conflict_id, h.mechanism, RESOLUTIONS.index(h.right), h.usual)
            for history in found
            for h in history.hidden
        ],
        columns=["company_id", "conflict_id", "mechanism", "truth", "usual"],
    )
    return feature_table(decided).merge(hidden, on=["company_id", "conflict_id"], how="left", validate="1:1")


@dataclass(frozen=True, slots=True, eq=False)
class Ceiling:
    """What who knows mechanism and habit, but neither the truth nor how the person will decide, could do."""

    agrees: AnyFloats
    """How often such a best guess is what people decide, for each row asked."""
    automatic: Bools
    """The largest share of rows that is as often right as is promised."""


def ceiling_of(known: pd.DataFrame, asked: pd.DataFrame) -> Ceiling:
    """Return the ceiling on the rows asked, from how people decided in the same world.

    Args:
        known: Rows of ``table_of`` from which the share of each decision by mechanism and habit is counted.
        asked: Rows of the same world.
    """
    keys = ["mechanism", "usual"]
    shares = known.groupby(keys)["label"].value_counts(normalize=True).unstack(fill_value=0)
    shares = shares.reindex(columns=range(len(RESOLUTIONS)), fill_value=0.0)
    rows = shares.reindex(pd.MultiIndex.from_frame(asked[keys])).fillna(1 / len(RESOLUTIONS)).to_numpy()
    agrees = rows.max(axis=1)
    order = np.argsort(-agrees, kind="stable")
    allowed = (agrees >= LEAST_CONFIDENCE) & (rows.argmax(axis=1) != MANUAL)
    ranked = order[allowed[order]]
    automatic = np.zeros(len(asked), bool)
    if len(ranked):
        mean = np.cumsum(agrees[ranked]) / np.arange(1, len(ranked) + 1)
        ends = np.r_[np.diff(agrees[ranked]) != 0, True]  # rows alike are automatic together or not at all
        kept = np.flatnonzero((mean >= TARGET_RIGHT) & ends)
        automatic[ranked[: kept[-1] + 1 if len(kept) else 0]] = True
    return Ceiling(agrees, automatic)
