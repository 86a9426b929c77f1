"""Every served prediction as a row of the database, written in batches beside the requests."""

import hashlib
import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from sqlalchemy import insert
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from crewflow_assets.contract import PredictionRequest
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Prediction
from serving import metrics

logger = logging.getLogger("crewflow.serving")

FLUSH_SECONDS = 0.25
ROWS_PER_WRITE = 500
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

    While the database is away, rows wait and are tried again; when the queue is full, new ones are dropped and
    counted in ``crewflow_prediction_rows_dropped_total``.
    """

    def __init__(self, *, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._waiting: deque[Served] = deque()
        self._changed = threading.Condition()
        self._added = 0
        self._done = 0
        self._urgent = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the writing thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def stop(self, *, within_seconds: float = 10.0) -> None:
        """Write what is waiting and end the thread; what cannot be written by then is lost and logged."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(within_seconds)
        with self._changed:
            lost = len(self._waiting)
            self._waiting.clear()
            self._done += lost
        if lost:
            metrics.ROWS_DROPPED.inc(lost)
            logger.error("%d predictions were not logged: the database stayed away until shutdown", lost)

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
        """Wait until everything that was queued before is written; False when it takes too long."""
        with self._changed:
            target = self._added
            self._urgent = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._done >= target, within_seconds)

    def _run(self) -> None:
        pause = 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if pause == 0.0:
                    self._changed.wait_for(
                        lambda: self._urgent or self._stopping or len(self._waiting) >= ROWS_PER_WRITE, FLUSH_SECONDS
                    )
                else:
                    self._changed.wait_for(lambda: self._stopping, pause)
                self._urgent = False
                batch = [self._waiting[i] for i in range(min(ROWS_PER_WRITE, len(self._waiting)))]
                if not batch and self._stopping:
                    return
            written = self._write(batch)
            with self._changed:
                if written:
                    for _ in range(min(len(batch), len(self._waiting))):
                        self._waiting.popleft()
                    self._done += len(batch)
                    self._changed.notify_all()
                    pause = 0.0
                else:
                    pause = min(MOST_RETRY_SECONDS, max(2 * pause, FLUSH_SECONDS))
                    if self._stopping:
                        time.sleep(0.1)

    def _write(self, batch: list[Served]) -> bool:
        """Write a batch and answer whether it is done with; False means to try it again."""
        try:
            with transaction() as session:
                session.execute(insert(Prediction), [served.row() for served in batch])
        except SQLAlchemyError as error:
            metrics.WRITE_FAILURES.inc()
            if not isinstance(error, DataError | IntegrityError):
                logger.warning("the prediction log waits for the database", exc_info=error)
                return False
            return self._refused(batch, error)
        except Exception as error:  # noqa: BLE001  # one bad row must not end the log
            return self._refused(batch, error)
        return True

    def _refused(self, batch: list[Served], error: Exception) -> bool:
        if len(batch) > 1:
            return all(self._write([served]) for served in batch)
        metrics.ROWS_DROPPED.inc()
        logger.error("a prediction could not be logged", exc_info=error)
        return True
