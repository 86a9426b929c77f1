"""The feature table: one row for each integration and day from which a forecast can be checked a week later."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import sliding_window_view

from crewflow_assets.arrays import Floats, Ints, Singles
from crewflow_assets.errors import NotReadyError
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.integration_health.days import ATTEMPTS, Days, read_days
from crewflow_assets.integration_health.features import (
    FEATURES,
    HORIZON_DAYS,
    feature_rows,
    known_days,
    scores_of,
)
from crewflow_assets.integration_health.score import WINDOW_DAYS
from crewflow_assets.lake.events import DAYS, folder_of

KEYS = ("company_id", "integration_id", "system", "day", "entity", "fold", "in_test", "in_training", "label")
TRAINING_DAYS = 180
FEWEST_DAYS = HORIZON_DAYS
"""An integration is forecast in training from so many days after its first sync."""
TEST_SHARE, MOST_TEST_DAYS = 0.25, 28


def feature_table(cutoff: datetime) -> pd.DataFrame:
    """Describe the last 180 whole UTC days before a moment; see ``as_table``.

    Raises:
        NotReadyError: the lake holds no sync attempts, or none of two weeks.
    """
    if not any(folder_of(ATTEMPTS).glob(DAYS)):
        raise NotReadyError("the lake holds no sync attempts; import data or run `crewflow demo`")
    last = cutoff.astimezone(UTC).date() - timedelta(days=1)
    days = read_days(last - timedelta(days=TRAINING_DAYS + WINDOW_DAYS - 1), last)
    table = as_table(days)
    if table.empty:
        raise NotReadyError(
            f"no integration has {FEWEST_DAYS + HORIZON_DAYS} days of syncs before {cutoff.isoformat()}: a forecast "
            "needs a week before and a week after; wait, or import older sync attempts"
        )
    return table


def as_table(days: Days) -> pd.DataFrame:
    """Return the feature table of some days.

    Columns: company_id, integration_id, system, day (the last that is known), entity, fold, in_test, in_training,
    label (the score in seven days), and the features. ``in_test`` marks the last quarter of the days, at most 28;
    ``in_training`` those whose label was known before that began; of the fold ``test`` no row is ever trained on.
    """
    before = np.concatenate([np.zeros_like(days.values[:, : WINDOW_DAYS - 1]), days.values], axis=1)
    windows = sliding_window_view(before, WINDOW_DAYS, axis=1).transpose(0, 1, 3, 2)  # (n, days, 30, measures)
    scores = scores_of(windows.sum(axis=2))["overall"]
    origins = windows.shape[1] - HORIZON_DAYS
    if origins < 1 or not len(days.keys):
        return pd.DataFrame(columns=[*KEYS, *FEATURES])
    chosen = ~np.isnan(scores[:, HORIZON_DAYS:]) & ~np.isnan(scores[:, :-HORIZON_DAYS])
    chosen &= known_days(windows.reshape(-1, *windows.shape[2:])).reshape(scores.shape)[:, :-HORIZON_DAYS] >= (
        FEWEST_DAYS
    )
    who, number = np.nonzero(chosen)
    rows = feature_rows(windows[who, number])
    entities = ["/".join(key) for key in days.keys]
    folds = [fold_of(entity) for entity in entities]
    began = _test_begins(number)
    frame = pd.DataFrame(
        {
            "company_id": [days.keys[place][0] for place in who.tolist()],
            "integration_id": [days.keys[place][1] for place in who.tolist()],
            "system": [days.systems[place] for place in who.tolist()],
            "day": [(days.first + timedelta(days=each)).isoformat() for each in number.tolist()],
            "entity": [entities[place] for place in who.tolist()],
            "fold": [folds[place] for place in who.tolist()],
            "in_test": number >= began,
            "in_training": number < began - HORIZON_DAYS,
            "label": scores[who, number + HORIZON_DAYS],
        }
    )
    return pd.concat([frame, pd.DataFrame(rows, columns=list(FEATURES))], axis=1)


def rows_of_table(table: pd.DataFrame) -> tuple[Singles, Floats]:
    """Return features and labels."""
    return table[list(FEATURES)].to_numpy(np.float32), table["label"].to_numpy(float)


def day_numbers(table: pd.DataFrame) -> Ints:
    """Return the day of each row as the number of days since 1970."""
    return table["day"].to_numpy("datetime64[D]").astype(np.int64)


def _test_begins(number: Ints) -> float:
    if not len(number):
        return 0.0
    span = int(number.max()) - int(number.min()) + 1
    return float(number.max() + 1 - min(round(TEST_SHARE * span), MOST_TEST_DAYS))
