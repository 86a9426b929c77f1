"""Every served prediction as a row: on disk before it is answered, in the database soon after, in batches."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic_core import to_json
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import transaction
from crewflow_assets.store.json_rows import ROWS, insert_json
from crewflow_assets.store.tables import Prediction
from serving import metrics
from serving.served import Served
from serving.spool import LivePart, Spool, put_aside, read_part

logger = logging.getLogger("crewflow.serving")

FLUSH_SECONDS = 0.25
ROWS_PER_WRITE = 500
PARTS_AT_ONCE = 20
MOST_WAITING = 50_000
MOST_RETRY_SECONDS = 5.0
TABLE = Prediction.metadata.tables[Prediction.__tablename__]


@dataclass(slots=True)
class _Batch:
    """Predictions that are written to the database together, and the file that holds them until then."""

    served: list[Served] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    """Each a row as JSON, which is all that is made of it: for the file as for the database."""
    part: LivePart | None = None
    only_in_memory: int = 0


class PredictionLog:
    """A bounded queue with a copy on disk, and the thread that empties it.

    Rows are appended to the spool before they are answered, and leave it when the database has them. What waits there
    because the database is away, or because its worker was killed, is written by this worker or by another, also
    after a restart. A row is lost only where the disk cannot take it and the database is away, or the queue is full,
    which ``crewflow_prediction_rows_dropped_total`` counts; or where the disk cannot take it and the process dies.

    Args:
        observe: Counts what is taken out of the queue, beside the requests.
        most_waiting: Rows in memory above which new ones are dropped.
    """

    def __init__(
        self, observe: Callable[[Sequence[Served]], None] | None = None, *, most_waiting: int = MOST_WAITING
    ) -> None:
        self._observe = observe
        self._most_waiting = most_waiting
        self._waiting: deque[_Batch] = deque()
        self._in_memory = 0
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
        return self._in_memory

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
            self._in_memory -= sum(len(batch.lines) for batch in left)
            self._done = self._added - self._in_memory
        for batch in left:  # the database hangs: the thread still waits for it
            self._leave(batch)

    def add(self, served: list[Served]) -> None:
        """Put predictions on disk and queue them.

        Once it returns, the death of the process loses none that the disk took. Where the spool is full or cannot be
        written they are in memory alone until the database has them; those that find no room in memory are dropped.
        """
        lines = [_line(one.row()) for one in served]
        with self._changed:
            idle = not self._waiting
            room = min(len(lines), max(0, self._most_waiting - self._in_memory))
            if room:
                self._append(served[:room], lines[:room])
            self._in_memory += room
            self._added += room
            if idle or self._in_memory >= ROWS_PER_WRITE:  # else the thread has nothing to do yet
                self._changed.notify_all()
        if len(served) > room:
            metrics.ROWS_DROPPED.inc(len(served) - room)

    def _append(self, served: list[Served], lines: list[bytes]) -> None:
        if not self._waiting or len(self._waiting[-1].lines) >= ROWS_PER_WRITE:
            self._waiting.append(_Batch())
        batch = self._waiting[-1]
        batch.served += served
        batch.lines += lines
        try:
            if batch.part is None:
                batch.part = self.spool.begin()
            self.spool.append(batch.part, b"".join(lines))
        except OSError as error:
            if not batch.only_in_memory:
                logger.error("the prediction log's spool cannot be written", exc_info=error)
            batch.only_in_memory += len(lines)

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
                    lambda: self._urgent or self._stopping or self._in_memory >= ROWS_PER_WRITE, FLUSH_SECONDS
                )
                self._urgent = False
                batch = self._waiting.popleft() if self._waiting else None
                if batch is None and self._stopping:
                    return
            replayed = self._turn(batch)
            with self._changed:
                if batch is not None:
                    self._in_memory -= len(batch.lines)
                if replayed:
                    self._done = self._added - self._in_memory
                    self._changed.notify_all()

    def _turn(self, batch: _Batch | None) -> bool:
        """Write a batch, then what waits on disk, and answer whether all is in the database; never raises."""
        unsettled = batch
        try:
            self._count([] if batch is None else batch.served)
            written = self._reachable() and (batch is None or self._write(batch.lines))
            unsettled = None
            if batch is not None and not written:
                self._leave(batch)
            elif batch is not None and batch.part is not None:
                batch.part.drop()
            return written and self._replay()
        except Exception as error:  # whatever it is, the log goes on with what comes next
            logger.error("the prediction log failed", exc_info=error)
            if unsettled is not None:
                self._leave(unsettled)
            self._more_to_replay = False
            return False

    def _count(self, batch: Sequence[Served]) -> None:
        metrics.ROWS_WAITING.set(self._in_memory)
        try:
            metrics.SPOOLED_BATCHES.set(len(self.spool.look()))
            if self._observe is not None:
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

    def _write(self, lines: list[bytes]) -> bool:
        """Write rows and answer whether they are done with; False means that the database is away.

        They may be there already, also written by another worker at this moment.
        """
        try:
            with transaction() as session:
                session.execute(insert_json(session, TABLE), {ROWS: str(b"[" + b",".join(lines) + b"]", "utf-8")})
        except SQLAlchemyError as error:
            metrics.WRITE_FAILURES.inc()
            if not isinstance(error, DataError | IntegrityError):
                return self._away(error)
            return self._refused(lines, error)
        except Exception as error:  # noqa: BLE001  # one bad row must not end the log
            return self._refused(lines, error)
        self._pause = 0.0
        return True

    def _away(self, error: SQLAlchemyError) -> bool:
        """Put the next attempt off, for longer each time; False, since nothing was written."""
        if not self._pause:
            logger.warning("the prediction log waits for the database", exc_info=error)
        self._pause = min(MOST_RETRY_SECONDS, max(2 * self._pause, FLUSH_SECONDS))
        self._try_again_at = time.monotonic() + self._pause
        return False

    def _refused(self, lines: list[bytes], error: Exception) -> bool:
        if len(lines) > 1:
            return all(self._write([line]) for line in lines)
        metrics.ROWS_DROPPED.inc()
        logger.error("a prediction could not be logged", exc_info=error)
        return True

    def _leave(self, batch: _Batch) -> None:
        """Let a batch wait on disk; those of its rows that are not there are lost, counted and logged."""
        if batch.part is not None:
            try:
                batch.part.leave()
            except OSError as error:  # whoever looks at the spool next finds it
                logger.error("%s cannot be ended", batch.part.path, exc_info=error)
        if batch.only_in_memory:
            metrics.ROWS_DROPPED.inc(batch.only_in_memory)
            logger.error("%d predictions are lost: neither database nor disk took them", batch.only_in_memory)

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
            if rows and not self._write([_line(row) for row in rows]):
                return False
            part.unlink(missing_ok=True)
            logger.info("%d predictions of the spool are logged", len(rows))
        self._pause = 0.0
        return not self._more_to_replay


def _line(row: dict[str, Any]) -> bytes:
    """Return a row as a line of JSON; what is no number is null."""
    return to_json(row, inf_nan_mode="null") + b"\n"
