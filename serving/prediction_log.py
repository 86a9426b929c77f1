"""Every served prediction as a row of the database, written in batches beside the requests."""

import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Insert, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from crewflow_assets.contract import PredictionRequest
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Prediction
from serving import metrics
from serving.spool import Spool, put_aside, read_part

logger = logging.getLogger("crewflow.serving")

FLUSH_SECONDS = 0.25
ROWS_PER_WRITE = 500
PARTS_AT_ONCE = 20
MOST_WAITING = 50_000
MOST_RETRY_SECONDS = 5.0
LONGEST_LOGGED_LIST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A prediction as it was answered; becomes a row outside of the request."""

    prediction_id: str
    model: str
    model_version: str
    variant: str
    request: PredictionRequest
    output: dict[str, Any]
    withheld: bool
    propensity: float
    latency_ms: float
    created_at: datetime
    automatic: bool = False

    def row(self) -> dict[str, Any]:
        """Return the columns of ``predictions``; long lists are kept as their length and hash."""
        inputs = self.request.model_dump(mode="json", exclude_none=True)
        for name, value in inputs.items():
            if isinstance(value, list) and len(value) > LONGEST_LOGGED_LIST:
                inputs[name] = {"count": len(value), "sha256": hashlib.sha256(to_json(value)).hexdigest()}
        return {
            "id": self.prediction_id,
            "model": self.model,
            "model_version": self.model_version,
            "variant": self.variant,
            "company_id": self.request.company_id,
            "inputs": inputs,
            "output": self.output,
            "withheld": self.withheld,
            "propensity": self.propensity,
            "latency_ms": self.latency_ms,
            "created_at": self.created_at,
        }


class PredictionLog:
    """A bounded queue and the thread that empties it.

    While the database is away, rows go to the spool on disk and are written when it is back, by this worker or by
    another, also after a restart. When queue and spool are full, new rows are dropped and counted in
    ``crewflow_prediction_rows_dropped_total``.

    Args:
        observe: Counts what is taken out of the queue, beside the requests.
        most_waiting: Rows in memory above which new ones are dropped.
    """

    def __init__(
        self, observe: Callable[[Sequence[Served]], None] | None = None, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._observe = observe
        self._most_waiting = most_waiting
        self._waiting: deque[Served] = deque()
        self._changed = threading.Condition()
        self._added = 0
        self._done = 0
        self._urgent = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pause = 0.0
        self._try_again_at = 0.0
        self._more_to_replay = False

    @property
    def waiting(self) -> int:
        """How many rows are in memory."""
        return len(self._waiting)

    @cached_property
    def spool(self) -> Spool:
        """Where rows wait on disk."""
        return Spool(get_settings().root / "gateway" / "spool")

    def start(self) -> None:
        """Start the writing thread, which begins with what an earlier process left in the spool."""
        self._stopping = False
        self._more_to_replay = True
        _ = self.spool  # its folder is that of the start, whatever the settings say later
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def stop(self, *, within_seconds: float = 10.0) -> None:
        """Write what is waiting, to disk where the database is away, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(within_seconds)
        with self._changed:
            left = list(self._waiting)
            self._waiting.clear()
            self._done += len(left)
        for start in range(0, len(left), ROWS_PER_WRITE):  # the database hangs: the thread still waits for it
            self._set_aside(left[start : start + ROWS_PER_WRITE])

    def add(self, served: list[Served]) -> None:
        """Queue predictions; never waits."""
        with self._changed:
            room = max(0, self._most_waiting - len(self._waiting))
            self._waiting.extend(served[:room])
            self._added += min(room, len(served))
            self._changed.notify_all()
        if len(served) > room:
            metrics.ROWS_DROPPED.inc(len(served) - room)

    def flush(self, *, within_seconds: float) -> bool:
        """Wait until everything that was queued before is in the database; False when it takes too long."""
        with self._changed:
            target = self._added
            self._urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= target, within_seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping, self._until_replay())
                self._changed.wait_for(
                    lambda: self._urgent or self._stopping or len(self._waiting) >= ROWS_PER_WRITE, FLUSH_SECONDS
                )
                self._urgent = False
                batch = [self._waiting[i] for i in range(min(ROWS_PER_WRITE, len(self._waiting)))]
                if not batch and self._stopping:
                    return
            replayed = self._turn(batch)
            with self._changed:
                for _ in range(min(len(batch), len(self._waiting))):
                    self._waiting.popleft()
                if replayed:
                    self._done = self._added - len(self._waiting)
                    self._changed.notify_all()

    def _turn(self, batch: list[Served]) -> bool:
        """Write a batch, then what waits on disk, and answer whether all is in the database; never raises."""
        unsaved = len(batch)
        try:
            self._count(batch)
            written = self._reachable() and (not batch or self._write([served.row() for served in batch]))
            if not written:
                self._set_aside(batch)
            unsaved = 0
            return written and self._replay()
        except Exception as error:  # whatever it is, the log goes on with what comes next
            metrics.ROWS_DROPPED.inc(unsaved)
            logger.error("the prediction log failed; %d predictions are lost", unsaved, exc_info=error)
            self._more_to_replay = False
            return False

    def _count(self, batch: Sequence[Served]) -> None:
        metrics.ROWS_WAITING.set(len(self._waiting))
        metrics.SPOOLED_BATCHES.set(len(self.spool.parts()))
        if self._observe is None:
            return
        try:
            self._observe(batch)
        except Exception as error:  # a metric that cannot be counted must not end the log
            logger.error("predictions could not be counted", exc_info=error)

    def _until_replay(self) -> float:
        """Return for how long nothing has to be done if nothing comes."""
        if self._pause:
            return max(0.0, self._try_again_at - time.monotonic())
        return 0.0 if self._more_to_replay else MOST_RETRY_SECONDS

    def _reachable(self) -> bool:
        """Whether it is time to try the database, which every failure puts off for longer."""
        return self._pause == 0.0 or time.monotonic() >= self._try_again_at

    def _write(self, rows: list[dict[str, Any]], *, again: bool = False) -> bool:
        """Write rows and answer whether they are done with; False means that the database is away.

        With ``again``, rows may be there already, also written by another worker at this moment.
        """
        try:
            with transaction() as session:
                session.execute(_insert_new(session) if again else insert(Prediction), rows)
        except SQLAlchemyError as error:
            metrics.WRITE_FAILURES.inc()
            if not isinstance(error, DataError | IntegrityError):
                return self._away(error)
            return self._refused(rows, error, again=again)
        except Exception as error:  # noqa: BLE001  # one bad row must not end the log
            return self._refused(rows, error, again=again)
        self._pause = 0.0
        return True

    def _away(self, error: SQLAlchemyError) -> bool:
        """Put the next attempt off, for longer each time; False, since nothing was written."""
        if not self._pause:
            logger.warning("the prediction log waits for the database", exc_info=error)
        self._pause = min(MOST_RETRY_SECONDS, max(2 * self._pause, FLUSH_SECONDS))
        self._try_again_at = time.monotonic() + self._pause
        return False

    def _refused(self, rows: list[dict[str, Any]], error: Exception, *, again: bool) -> bool:
        if len(rows) > 1:
            return all(self._write([row], again=again) for row in rows)
        metrics.ROWS_DROPPED.inc()
        logger.error("a prediction could not be logged", exc_info=error)
        return True

    def _set_aside(self, batch: list[Served]) -> None:
        """Put rows into the spool; where that is not possible they are lost, counted and logged."""
        if not batch:
            return
        try:
            kept = self.spool.put([served.row() for served in batch])
        except OSError as error:
            kept = False
            logger.error("the prediction log's spool cannot be written", exc_info=error)
        if not kept:
            metrics.ROWS_DROPPED.inc(len(batch))
            logger.error("%d predictions are not logged: the database is away and the spool is full", len(batch))

    def _replay(self) -> bool:
        """Write some of what the spool holds and answer whether it is empty now."""
        parts = self.spool.parts()
        self._more_to_replay = len(parts) > PARTS_AT_ONCE
        for part in parts[:PARTS_AT_ONCE]:
            try:
                rows = read_part(part)
            except (ValueError, KeyError, TypeError, OSError) as error:
                metrics.BAD_BATCHES.inc()
                logger.error("%s cannot be read and is put aside as *.bad", part, exc_info=error)
                put_aside(part)
                continue
            if rows and not self._write(rows, again=True):
                return False
            part.unlink(missing_ok=True)
            logger.info("%d predictions of the spool are logged", len(rows))
        self._pause = 0.0
        return not self._more_to_replay


def _insert_new(session: Session) -> Insert:
    """Return the statement that leaves rows alone whose id is there already."""
    made = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    return made(Prediction).on_conflict_do_nothing(index_elements=["id"])
