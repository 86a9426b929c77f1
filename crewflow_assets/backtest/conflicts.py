"""Paired worlds of timecards: the same conflicts left to people, resolved by the model, and at the ceiling."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.backtest.conflict_worlds import ceiling_of, histories, table_of
from crewflow_assets.conflict_resolution.evaluation import rows_of, score
from crewflow_assets.conflict_resolution.model import ConflictPredictor
from crewflow_assets.twin.notes import draw_parameters
from crewflow_assets.twin.timecards.parameters import TimecardParameters

FIRST_SEED = 8001
MANUAL, LEARNED, BEST = "manual", "learned", "ceiling"
RESOLVERS = (MANUAL, LEARNED)


@dataclass(frozen=True, slots=True)
class Size:
    """How many draws of how many companies; of their ``days``, the last ``counted`` count."""

    draws: int = 50
    companies: int = 4
    days: int = 60
    counted: int = 30


@dataclass(frozen=True, slots=True)
class ConflictSums:
    """What became of the conflicts: sums by draw.

    Attributes:
        conflicts: Decided by a person in the world; the others nobody ever decided.
        automatic: Of these, resolved without one.
        agreed: Of the automatic ones, as a person decided.
        true: Of all, resolved as is true, which no person may have found.
        true_automatic: Of the automatic ones.
    """

    conflicts: Floats
    automatic: Floats
    agreed: Floats
    true: Floats
    true_automatic: Floats


def resolve_conflicts(
    size: Size, predictor: ConflictPredictor, progress: Callable[[str, int, int], None] = lambda _w, _d, _t: None
) -> dict[str, ConflictSums]:
    """Let each way resolve the same conflicts.

    Companies are never seen in training, and each begins without any history: what the model sees of a company are
    the decisions of its own people until then, of which the first weeks are not counted. The ceiling counts habits on
    the rows that it is asked too, which flatters it.

    Args:
        size: How much.
        predictor: The learned way.
        progress: Told what is under way, how much of it is done, and of how much.
    """
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in (*RESOLVERS, BEST)}
    for place in range(size.draws):
        seed = FIRST_SEED + place
        found = histories(
            draw_parameters(TimecardParameters, seed),
            companies=size.companies,
            days=size.days,
            seed=seed,
            prefix=f"x{place}",
        )
        table = table_of(list(found))
        late = table["opened_at"] > table["opened_at"].max() - pd.Timedelta(days=size.counted)
        asked = table[late]
        labels, truth = asked["label"].to_numpy(), asked["truth"].to_numpy()
        said = predictor.probability(rows_of(asked)[0]).argmax(axis=1)
        sure = score(predictor, asked).automatic
        best = ceiling_of(table, asked)
        nobody = np.zeros(len(asked), bool)
        rows[MANUAL].append(_counts(labels, truth, labels, nobody))
        rows[LEARNED].append(_counts(labels, truth, np.where(sure, said, labels), sure))
        rows[BEST].append(
            (len(asked), best.automatic.sum(), best.agrees[best.automatic].sum(), np.nan, np.nan)  # guesses, unnamed
        )
        progress("conflicts", place + 1, size.draws)
    return {
        name: ConflictSums(*(np.array(column, float) for column in zip(*each, strict=True)))
        for name, each in rows.items()
    }


def _counts(
    labels: Ints,
    truth: Ints,
    resolved: Ints,
    automatic: Bools,
) -> tuple[float, ...]:
    right = resolved == truth
    return (
        len(labels),
        automatic.sum(),
        (resolved == labels)[automatic].sum(),
        right.sum(),
        right[automatic].sum(),
    )
