"""The feature table: one row for each past retry, with what was known when its delay was chosen, and how it ended."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Bools, Floats
from crewflow_assets.errors import NotReadyError
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.lake.events import read_events
from crewflow_assets.retry_strategy.features import FEATURES, Failures, class_places, context_rows, with_delay
from crewflow_assets.retry_strategy.surroundings import MINUTE, Asked, Seen, surroundings
from crewflow_assets.retry_strategy.taxonomy import classify

if TYPE_CHECKING:
    import ibis

TRAINING_DAYS = 180
TEST_SHARE, MOST_TEST_DAYS = 0.2, 28
RETRY_COLUMNS = ("event_id", "company_id", "occurred_at", *PAYLOADS["retry_outcome"].model_fields)
ATTEMPT_COLUMNS = (
    *("company_id", "integration_id", "system", "occurred_at", "ok", "latency_ms", "calls_left", "calls_limit"),
)
DAY_MICROS = 24 * 60 * MINUTE


def feature_table(cutoff: datetime) -> pd.DataFrame:
    """Describe the retries of the last 180 days before a moment.

    Columns: those of ``as_table``.

    Raises:
        NotReadyError: the lake holds no retry outcomes.
    """
    began = cutoff - timedelta(days=TRAINING_DAYS)
    retries = _frame(read_events("retry_outcome", before=cutoff), RETRY_COLUMNS, began)
    try:
        seen = _frame(read_events("sync_attempt", before=cutoff), ATTEMPT_COLUMNS, began - timedelta(days=1))
    except NotReadyError:  # retries may be posted by one who posts no syncs
        seen = pd.DataFrame({name: pd.Series(dtype=object) for name in ATTEMPT_COLUMNS})
    return as_table(retries, seen)


def as_table(retries: pd.DataFrame, attempts: pd.DataFrame) -> pd.DataFrame:
    """Describe retries, oldest decision first.

    Args:
        retries: ``RETRY_COLUMNS``, one row a retry.
        attempts: ``ATTEMPT_COLUMNS``, the sync attempts of the same time and the day before.

    Returns:
        company_id, integration_id, system, decided_at (when the call had failed and the delay was chosen), entity,
        fold, in_test (the last fifth of the time, at most 28 days), label (1: the retry succeeded), call, attempt,
        delay_seconds, propensity, error_class, explained_by, recovered_after and recovered_by (seconds between which
        the trouble ended, as far as this call shows), and ``features.FEATURES``.
    """
    frame = retries.assign(
        micros=_micros(retries["occurred_at"]) - retries["delay_seconds"].to_numpy(float) * 1e6,
        call=retries["call_id"].where(retries["call_id"].notna(), retries["event_id"]),
    )
    frame = frame.sort_values(["micros", "company_id", "integration_id", "event_id"], ignore_index=True)
    classified = _classified(frame)
    entity = frame["company_id"] + "/" + frame["integration_id"]
    folds = {name: fold_of(name) for name in entity.unique()}
    table = frame[
        ["company_id", "integration_id", "system", "call", "attempt", "delay_seconds", "propensity"]
    ].assign(
        decided_at=pd.to_datetime(frame["micros"].astype("int64"), unit="us", utc=True),
        entity=entity,
        fold=entity.map(folds),
        in_test=_in_test(frame["micros"].to_numpy(float)),
        label=frame["ok"].astype(np.int8),
        error_class=[one.name for one in classified],
        explained_by=[one.how for one in classified],
        **_recovery(frame, entity),
    )
    context = context_rows(_failures(frame, attempts, table))
    rows = with_delay(context, frame["delay_seconds"].to_numpy(float))
    joined: pd.DataFrame = pd.concat([table, pd.DataFrame(rows, columns=list(FEATURES), index=table.index)], axis=1)
    return joined


def seen_of(attempts: pd.DataFrame) -> Seen:
    """Return sync attempts of ``ATTEMPT_COLUMNS`` as ``surroundings`` takes them."""
    return Seen(
        system=attempts["system"].to_numpy(object),
        company=attempts["company_id"].to_numpy(object),
        integration=attempts["integration_id"].to_numpy(object),
        micros=_micros(attempts["occurred_at"]),
        ok=attempts["ok"].to_numpy(bool),
        calls_left=attempts["calls_left"].to_numpy(float),
        calls_limit=attempts["calls_limit"].to_numpy(float),
    )


def _micros(moments: "pd.Series[Any]") -> Floats:
    if not len(moments):
        return np.zeros(0)
    return moments.astype("datetime64[us, UTC]").astype("int64").to_numpy().astype(np.float64)


def _frame(table: "ibis.Table", columns: tuple[str, ...], began: datetime) -> pd.DataFrame:
    """Read columns of a table; one that no day has yet is empty."""
    import ibis

    there = table.filter(table.occurred_at >= ibis.timestamp(began.isoformat()))
    frame: pd.DataFrame = there.select(*[name for name in columns if name in table.columns]).to_pyarrow().to_pandas()
    return frame.reindex(columns=list(columns))


def _classified(frame: pd.DataFrame) -> list[Any]:
    said = frame[["system", "status_code", "error_code", "error_message", "error_class"]].astype(object)
    said = said.where(said.notna(), None)
    return [
        classify(system, None if status is None else int(status), code, text, word)
        for system, status, code, text, word in said.itertuples(index=False)
    ]


def _failures(frame: pd.DataFrame, attempts: pd.DataFrame, table: pd.DataFrame) -> Failures:
    micros = frame["micros"].to_numpy(float)
    seen = seen_of(attempts)
    latency_24h = _latency_24h(frame, attempts, seen)
    asked = Asked(
        frame["system"].to_numpy(object),
        frame["company_id"].to_numpy(object),
        frame["integration_id"].to_numpy(object),
        micros,
    )
    first = frame["micros"].groupby(_calls(frame, table["entity"])).transform("min").to_numpy(float)
    known = frame["call_id"].notna() | (frame["attempt"] == 1)
    return Failures(
        error_class=class_places(table["error_class"].tolist()),
        system=asked.system,
        attempts=frame["attempt"].to_numpy(float),
        hour=np.floor(micros / (60 * MINUTE)) % 24,
        latency=frame["latency_ms"].to_numpy(float),
        latency_24h=latency_24h,
        status=frame["status_code"].to_numpy(float),
        retry_after=frame["retry_after_seconds"].to_numpy(float),
        since_first_failure=np.where(known, (micros - first) / 1e6, np.nan),
        write=_flag(frame["write"], default=False),
        idempotent=_flag(frame["idempotent"], default=True),
        around=surroundings(asked, seen),
    )


def _flag(values: "pd.Series[Any]", *, default: bool) -> Floats:
    return np.where(values.isna(), default, values == True).astype(np.float64)  # noqa: E712  # objects with nulls


def _latency_24h(frame: pd.DataFrame, attempts: pd.DataFrame, seen: Seen) -> Floats:
    """Return the mean latency of the integration's attempts in the 24 hours before each decision."""
    found = np.full(len(frame), np.nan)
    latency = attempts["latency_ms"].to_numpy(float)
    own = pd.Series(np.arange(len(attempts))).groupby([seen.company, seen.integration]).indices
    for key, rows in frame.groupby(["company_id", "integration_id"]).indices.items():
        places = own.get(key)
        if places is None:
            continue
        places = places[~np.isnan(latency[places])]
        places = places[np.argsort(seen.micros[places], kind="stable")]
        sums = np.r_[0.0, np.cumsum(latency[places])]
        micros = frame["micros"].to_numpy(float)[rows]
        until = np.searchsorted(seen.micros[places], micros, side="left")
        since = np.searchsorted(seen.micros[places], micros - DAY_MICROS, side="left")
        n = until - since
        found[rows] = np.divide(sums[until] - sums[since], n, out=np.full(len(rows), np.nan), where=n > 0)
    return found


def _calls(frame: pd.DataFrame, entity: "pd.Series[Any]") -> "list[pd.Series[Any]]":
    """Return what tells calls apart: whose, the name, and which call of it, as a name may be used again after one
    succeeded; the frame is in order of time."""
    ok = frame["ok"].astype(bool).astype(np.int64)
    succeeded_before = ok.groupby([entity, frame["call"]]).cumsum() - ok
    return [entity, frame["call"], succeeded_before]


def _recovery(frame: pd.DataFrame, entity: "pd.Series[Any]") -> dict[str, Floats]:
    """Return the seconds after each decision between which the trouble ended: (0, delay] where the retry succeeded,
    (delay, that of a later success of the call] where it did not; infinity where none is known."""
    ended = frame["micros"].to_numpy(float) + frame["delay_seconds"].to_numpy(float) * 1e6
    ok = frame["ok"].to_numpy(bool)
    success = pd.Series(np.where(ok, ended, np.inf), index=frame.index).groupby(_calls(frame, entity))
    after = (success.transform("min").to_numpy(float) - frame["micros"].to_numpy(float)) / 1e6
    delay = frame["delay_seconds"].to_numpy(float)
    return {
        "recovered_after": np.where(ok, 0.0, delay),
        "recovered_by": np.where(ok, delay, np.maximum(after, delay)),
    }


def _in_test(micros: Floats) -> Bools:
    if not len(micros):
        return np.zeros(0, bool)
    last, span = micros.max(), micros.max() - micros.min()
    return np.asarray(micros > last - min(TEST_SHARE * span, MOST_TEST_DAYS * DAY_MICROS))
