"""No served prediction is lost while the database is away: rows wait on disk, and are written once it is back."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from crewflow_assets import clock
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Prediction
from serving import metrics, prediction_log
from serving.prediction_log import PredictionLog
from serving.served import Served
from serving.spool import Spool, read_part
from tests.serving.fakes import EchoRequest

WITHIN = 15.0


def served(prediction_id: str, text: str = "“hi”\u2028") -> Served:
    return Served(
        prediction_id=prediction_id,
        model="echo",
        model_version="1.0",
        variant="champion",
        request=EchoRequest(text=text),
        output={"said": text},
        withheld=False,
        propensity=0.05,
        latency_ms=1.5,
        created_at=clock.now(),
    )


def left(spool: Spool, *ids: str) -> Path:
    """Leave a batch of rows on disk and return its file."""
    part = spool.begin()
    for one in ids:
        spool.append(part, to_json(served(one).row()) + b"\n")
    part.leave()
    return part.path.with_suffix(".jsonl")


def stored() -> dict[str, Prediction]:
    with reading() as session:
        return {row.id: row for row in session.scalars(select(Prediction))}


@pytest.fixture
def log(sqlite_store: Engine) -> Iterator[PredictionLog]:
    log = PredictionLog()
    log.start()
    yield log
    log.stop()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it to take the database away; ``monkeypatch.undo()`` brings it back."""

    def unreachable() -> Any:
        raise OperationalError("insert", {}, OSError("away"))

    return lambda: monkeypatch.setattr(prediction_log, "transaction", unreachable)


def test_rows_that_an_earlier_release_left_on_disk_are_logged(log: PredictionLog) -> None:
    part, at = log.spool.begin(), datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
    log.spool.append(part, to_json({**served("p-1").row(), "created_at": at}) + b"\n")
    part.leave()
    log.add([served("p-2")])
    assert log.flush(within_seconds=WITHIN)
    assert stored()["p-1"].created_at == at


def test_rows_wait_on_disk_and_are_written_when_the_database_is_back(
    log: PredictionLog, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    away()
    expected = [served(f"p-{i}") for i in range(3)]
    log.add(expected[:2])
    assert not log.flush(within_seconds=0.6)
    assert len(log.spool.parts()) >= 1
    log.add(expected[2:])
    monkeypatch.undo()
    assert log.flush(within_seconds=WITHIN)
    found = stored()
    assert set(found) == {"p-0", "p-1", "p-2"}
    assert {(row.created_at, row.output["said"]) for row in found.values()} == {
        (one.created_at, "“hi”\u2028") for one in expected
    }
    assert log.spool.parts() == []


def test_the_thread_is_woken_once_for_what_waits_together(
    sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, woken = PredictionLog(), list[int]()
    monkeypatch.setattr(prediction_log, "ROWS_PER_WRITE", 4)
    monkeypatch.setattr(log._changed, "notify_all", lambda: woken.append(log.waiting))
    for number in range(5):
        log.add([served(f"p-{number}")])
    assert woken == [1, 4, 5], "as the first came, and as there was enough for a write"
    log.start()
    log.stop()
    assert stored().keys() == {f"p-{number}" for number in range(5)}


def test_rows_outlive_a_restart(
    sqlite_store: Engine, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    away()
    first = PredictionLog()
    first.start()
    first.add([served("p-1"), served("p-2")])
    first.stop()
    assert sum(len(read_part(part)) for part in first.spool.parts()) == 2
    monkeypatch.undo()
    second = PredictionLog()
    second.start()
    second.add([served("p-3")])
    assert second.flush(within_seconds=WITHIN)
    second.stop()
    assert set(stored()) == {"p-1", "p-2", "p-3"}


def test_what_two_workers_replay_is_there_once(log: PredictionLog) -> None:
    log.add([served("p-1")])
    assert log.flush(within_seconds=WITHIN)
    left(log.spool, "p-1", "p-2")
    log.add([served("p-3")])
    assert log.flush(within_seconds=WITHIN)
    assert set(stored()) == {"p-1", "p-2", "p-3"}


def test_a_batch_that_another_worker_writes_meanwhile_is_not_lost(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = PredictionLog(), PredictionLog()
    left(slow.spool, "p-1", "p-2")
    write = slow._write

    def overtaken(*args: Any, **options: Any) -> bool:
        fast._replay()
        return write(*args, **options)

    monkeypatch.setattr(slow, "_write", overtaken)
    before = metrics.ROWS_DROPPED._value.get()
    assert slow._replay()
    assert set(stored()) == {"p-1", "p-2"}
    assert metrics.ROWS_DROPPED._value.get() == before


@pytest.mark.parametrize("content", [b"\0" * 512, b'{"id": "p-0"', b'{"id": "p-0"}\n', b"[]\n", b"3\n"])
def test_a_spool_file_that_cannot_be_read_is_put_aside(log: PredictionLog, home: Path, content: bytes) -> None:
    folder = home / "gateway" / "spool"
    folder.mkdir(parents=True)
    before = metrics.BAD_BATCHES._value.get()
    (folder / "20260101T000000000000-1-0.jsonl").write_bytes(content)
    left(log.spool, "p-1")
    log.add([served("p-2")])
    assert log.flush(within_seconds=WITHIN)
    assert set(stored()) == {"p-1", "p-2"}
    assert log.spool.parts() == []
    assert (folder / "20260101T000000000000-1-0.bad").read_bytes() == content
    assert metrics.BAD_BATCHES._value.get() == before + 1


@pytest.mark.parametrize("broken", ["_replay", "_reachable"])
def test_what_was_not_expected_is_no_end_of_the_log(
    log: PredictionLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    failed = threading.Event()

    def fail() -> bool:
        failed.set()
        raise RuntimeError("unheard of")

    log.add([served("p-0")])
    assert log.flush(within_seconds=WITHIN)
    before = metrics.ROWS_DROPPED._value.get()
    with monkeypatch.context() as patched:
        patched.setattr(log, broken, fail)
        log.add([served("p-1")])
        assert failed.wait(WITHIN)
        assert not log.flush(within_seconds=0.3)
    log.add([served("p-2")])
    assert log.flush(within_seconds=WITHIN)
    assert set(stored()) == {"p-0", "p-1", "p-2"}
    assert metrics.ROWS_DROPPED._value.get() == before
    assert "unheard of" in caplog.text


KILLED = """
import os, signal
from tests.serving.test_prediction_log import served
from serving.prediction_log import PredictionLog
log = PredictionLog()
log.start()
log.add([served("p-1"), served("p-2")])
log.add([served("p-3")])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_loses_nothing_that_it_answered(sqlite_store: Engine, home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED], env=os.environ | {"CREWFLOW_HOME": str(home)}, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert stored() == {}
    log = PredictionLog()
    log.start()
    try:
        log.add([served("p-4")])
        assert log.flush(within_seconds=WITHIN)
    finally:
        log.stop()
    assert set(stored()) == {"p-1", "p-2", "p-3", "p-4"}
    assert list(log.spool.folder.iterdir()) == []


def test_a_row_that_the_database_refuses_does_not_hold_up_the_others(log: PredictionLog) -> None:
    log.add([served("p-1")])
    assert log.flush(within_seconds=WITHIN)
    before = metrics.ROWS_DROPPED._value.get()
    log.add([replace(served("p-2"), model=None), served("p-3")])  # type: ignore[arg-type]
    assert log.flush(within_seconds=WITHIN)
    assert set(stored()) == {"p-1", "p-3"}
    assert metrics.ROWS_DROPPED._value.get() == before + 1


def test_a_full_queue_drops_and_counts(home: Path) -> None:
    log = PredictionLog(most_waiting=2)
    before = metrics.ROWS_DROPPED._value.get()
    log.add([served(f"p-{i}") for i in range(5)])
    assert log.waiting == 2
    log.stop(within_seconds=0)
    assert metrics.ROWS_DROPPED._value.get() == before + 3
    assert [row["id"] for part in log.spool.parts() for row in read_part(part)] == ["p-0", "p-1"]


def test_what_a_full_spool_refuses_is_logged_all_the_same(
    log: PredictionLog, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    log.spool._most_bytes = 0
    before = metrics.ROWS_DROPPED._value.get()
    log.add([served("p-1")])
    assert log.flush(within_seconds=WITHIN)
    away()
    log.add([served("p-2")])
    log.flush(within_seconds=WITHIN)
    monkeypatch.undo()
    log.add([served("p-3")])
    assert log.flush(within_seconds=WITHIN)
    assert set(stored()) == {"p-1", "p-3"}
    assert list(log.spool.folder.iterdir()) == []
    assert metrics.ROWS_DROPPED._value.get() == before + 1


def test_a_disk_that_cannot_be_written_is_no_end_of_the_log(
    log: PredictionLog, away: Callable[[], None], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "gateway").write_text("a file where the folder should be")
    away()
    before = metrics.ROWS_DROPPED._value.get()
    log.add([served("p-1")])
    log.flush(within_seconds=WITHIN)
    monkeypatch.undo()
    log.add([served("p-2")])
    assert log.flush(within_seconds=WITHIN)
    assert set(stored()) == {"p-2"}
    assert metrics.ROWS_DROPPED._value.get() == before + 1


def test_many_threads_lose_nothing(
    log: PredictionLog, away: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(worker: int) -> None:
        for i in range(100):
            log.add([served(f"p-{worker}-{i}")])

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    away()
    for thread in threads[:2]:
        thread.start()
    assert not log.flush(within_seconds=0.4)
    monkeypatch.undo()
    for thread in threads[2:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.flush(within_seconds=WITHIN)
    assert len(stored()) == 400


def test_what_another_home_left_on_disk_is_not_replayed_here(
    sqlite_store: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PredictionLog()
    log.start()
    try:
        mine = log.spool.folder
        monkeypatch.setenv("CREWFLOW_HOME", str(tmp_path / "another"))
        get_settings.cache_clear()
        assert log.spool.folder == mine
    finally:
        log.stop()
