"""The feature table: one row for each sync attempt of the last months, with what went before it and how it ended."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Bools, Floats, Singles
from crewflow_assets.errors import NotReadyError
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.lake.events import read_events
from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, STATUS_COLUMNS
from crewflow_assets.sync_health.features import FEATURES, columns_of, feature_rows
from crewflow_assets.sync_health.measures import MINUTE
from crewflow_assets.sync_health.parts import history_in_parts
from crewflow_assets.sync_health.recent import KEPT_DAYS

if TYPE_CHECKING:
    import ibis
    import pyarrow as pa

TRAINING_DAYS = 120
_ORDER = ["occurred_at", "company_id", "integration_id", "event_id"]
LONGEST_LEAD, USUAL_LEAD = 240.0, 60.0
"""Minutes. The watch looks at any time between two syncs, so training does too."""
TEST_SHARE, MOST_TEST_DAYS = 0.2, 28


def feature_table(cutoff: datetime) -> pd.DataFrame:
    """Describe the attempts of the last 120 days before a moment.

    Columns: company_id, integration_id, system, occurred_at, entity, fold, in_test, label, and the features.
    ``in_test`` marks the last fifth of the time, at most 28 days; of the fold ``test`` no row is ever trained on.

    Raises:
        NotReadyError: the lake holds no sync attempts.
    """
    attempts = read_events("sync_attempt", before=cutoff)
    connection: Any = attempts.get_backend()
    try:
        statuses = read_events("api_status", before=cutoff, connection=connection).select(*STATUS_COLUMNS)
    except NotReadyError:  # nobody need read status pages
        statuses = connection.create_table("no_statuses", schema=_schema(STATUS_COLUMNS), temp=True)
    began = cutoff - timedelta(days=TRAINING_DAYS)
    seen = attempts.filter(attempts.occurred_at >= _literal(began - timedelta(days=KEPT_DAYS)))
    parts = history_in_parts(_with_lead(seen), statuses)
    found = [_as_rows(part.filter(part.occurred_at >= _literal(began)).to_pyarrow()) for part in parts]
    return _marked(pd.concat(found).sort_values(_ORDER, ignore_index=True).drop(columns="event_id"))


def as_table(described: "pa.Table") -> pd.DataFrame:
    """Return the feature table of what ``events.history`` found, in its order; see ``feature_table``."""
    return _marked(_as_rows(described).drop(columns="event_id"))


def _as_rows(described: "pa.Table") -> pd.DataFrame:
    columns = columns_of(described)
    frame = described.select(["event_id", "company_id", "integration_id", "system", "occurred_at"]).to_pandas()
    entity = frame["company_id"] + "/" + frame["integration_id"]
    folds = {name: fold_of(name) for name in entity.unique()}
    rest = {
        "entity": entity,
        "fold": entity.map(folds),
        "label": columns["failed"].astype(np.int8),
    }
    features = pd.DataFrame(feature_rows(columns), columns=list(FEATURES), index=frame.index)
    rows: pd.DataFrame = pd.concat([frame.assign(**rest), features], axis=1)
    return rows


def _marked(table: pd.DataFrame) -> pd.DataFrame:
    """Mark the test time."""
    table.insert(list(table.columns).index("label"), "in_test", _in_test(_micros_of(table)))
    return table


def rows_of_table(table: pd.DataFrame) -> tuple[Singles, Floats, Floats]:
    """Return features, failures and moments in microseconds."""
    return table[list(FEATURES)].to_numpy(np.float32), table["label"].to_numpy(float), _micros_of(table)


def _micros_of(table: pd.DataFrame) -> Floats:
    return table["occurred_at"].astype("datetime64[us, UTC]").astype("int64").to_numpy().astype(float)


def _in_test(micros: Floats) -> Bools:
    if not len(micros):
        return np.zeros(0, bool)
    last, span = micros.max(), micros.max() - micros.min()
    return np.asarray(micros > last - min(TEST_SHARE * span, MOST_TEST_DAYS * 24 * 60 * MINUTE))


def _with_lead(attempts: "ibis.Table") -> "ibis.Table":
    """Say how long before each attempt it is described: anywhere in its interval, drawn from its moment's digits."""
    import ibis

    digits = attempts.occurred_at.microsecond() + 7919 * attempts.occurred_at.second()
    share = (digits % 997) / 997
    interval = ibis.least(attempts.interval_minutes.fill_null(USUAL_LEAD), LONGEST_LEAD)
    return attempts.mutate(lead_minutes=share * interval).select(*ATTEMPT_COLUMNS)


def _literal(moment: datetime) -> "ibis.Value":
    import ibis

    return ibis.timestamp(moment.isoformat())


def _schema(columns: dict[str, str]) -> "ibis.Schema":
    import ibis

    return ibis.schema(columns)
