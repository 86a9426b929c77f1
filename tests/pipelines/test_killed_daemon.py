"""A real Dagster daemon is killed with the training that it began: the training is begun anew, once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import Engine, select

from crewflow_assets import clock
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import Company
from crewflow_assets.store.training_tables import TrainingClaim
from crewflow_assets.training import claims

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 120.0
CUT_OFF = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def dagster_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = home / "dagster"
    folder.mkdir()
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    return folder


@contextmanager
def daemon(log: Path) -> Iterator[None]:
    """Run a daemon with all its children, and kill them all at the end."""
    command = [str(Path(sys.executable).parent / "dagster-daemon"), "run"]
    command += ["-m", "tests.pipelines.training_location", "-d", str(ROOT)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=dict(os.environ), stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


def wait_until(happened: Callable[[], bool], log: Path) -> None:
    deadline = time.perf_counter() + WAIT_SECONDS
    while not happened():
        assert time.perf_counter() < deadline, log.read_text()[-4000:]
        time.sleep(0.1)


def the_claims() -> list[TrainingClaim]:
    with reading() as session:
        return list(session.scalars(select(TrainingClaim).where(TrainingClaim.reason == "burst")))


def test_a_burst_is_trained_for_once_though_the_daemon_is_killed(
    sqlite_store: Engine, home: Path, dagster_home: Path
) -> None:
    with transaction() as session:  # the model was trained before, so that no registry is asked
        claims.request(session, claims.Cause("tiny", "schedule", "before"), why="scheduled")
    claims.take(claims.Cause("tiny", "schedule", "before"), "run-0", why="scheduled")
    claims.finish(claims.Cause("tiny", "schedule", "before"), "run-0", version="1.0", data_until=CUT_OFF)
    with transaction() as session:
        session.add_all(Company(id=f"c-{i}", name="c", industry="general", created_at=clock.now()) for i in range(25))
    begun, log = home / "begun.txt", home / "daemon.log"

    with daemon(log):
        wait_until(begun.exists, log)
    [claim] = the_claims()
    assert (claim.state, claim.attempts) == ("running", 1)

    with daemon(log), daemon(log):  # two at once
        wait_until(lambda: the_claims()[0].state == "done", log)
    [claim] = the_claims()
    assert (claim.attempts, claim.version) == (2, "1.1")
    assert claim.why == "25 burst of the platform since version 1.0; more than 20 retrain"
    assert len(begun.read_text().split()) == 2
    with dg.DagsterInstance.get() as instance:
        status = {run.tags["crewflow/attempt"]: run.status for run in instance.get_runs()}
        ended = instance.get_run_by_id(claim.run_id or "")
    assert status["1"] is dg.DagsterRunStatus.FAILURE  # it no longer keeps a place among the concurrent runs
    assert ended is not None
    assert ended.tags["crewflow/attempt"] == "2"
