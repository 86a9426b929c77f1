"""Starting, stopping, resuming and ending experiments, on SQLite and on PostgreSQL, each with its audit row."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, InvalidInputError, NotFoundError
from crewflow_assets.experiments import ledger
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.experiment_tables import Experiment
from tests.experiments.trial import BEGAN, DAY, VERSIONS, audits, config, start, stored

pytestmark = pytest.mark.usefixtures("store")


def running_names(at: object = BEGAN) -> list[str]:
    with clock.fixed(at), reading() as session:  # type: ignore[arg-type]
        return [one.experiment for one in ledger.running(session)]


def test_from_start_to_stop() -> None:
    assignment = start()
    assert [arm.version for arm in assignment.arms] == ["1.0", "1.1"]
    assert running_names() == ["mapping-model-v2"]
    assert running_names(BEGAN + 30 * DAY) == [], "its time is over, whether or not anyone has looked"
    with clock.fixed(BEGAN + DAY), transaction() as session:
        ledger.stop(session, "mapping-model-v2", by="lee", why="customers complain")
    row = stored()
    assert (row.state, row.ended_reason, row.ended_by, row.ended_why) == (
        "ended",
        "stopped",
        "lee",
        "customers complain",
    )
    assert running_names() == []
    assert [(one.action, one.actor, one.company_id) for one in audits()] == [
        ("experiment.start", "dana", None),
        ("experiment.end", "lee", None),
    ]
    with transaction() as session, pytest.raises(ConflictError, match="ended already"):
        ledger.stop(session, "mapping-model-v2", by="lee", why="again")
    with transaction() as session, pytest.raises(NotFoundError, match="no experiment 'other'"):
        ledger.stop(session, "other", by="lee", why="why")


def test_a_name_is_used_once_and_a_model_has_one_running_experiment() -> None:
    start()
    with pytest.raises(ConflictError, match="already; choose another name"):
        start()
    with pytest.raises(ConflictError, match="end it with `crewflow experiment stop mapping-model-v2`"):
        start(name="second")
    with pytest.raises(ConflictError, match=r"its time is over: .* experiment look mapping-model-v2`"):
        start(BEGAN + 31 * DAY, name="second")
    with clock.fixed(BEGAN + DAY), transaction() as session:
        ledger.stop(session, "mapping-model-v2", by="lee", why="enough")
    start(BEGAN + DAY, name="second")
    with reading() as session:
        assert [row.name for row in ledger.every(session)] == ["second", "mapping-model-v2"]


def test_nothing_is_written_of_what_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no metric 'clicks'"):
        start(metrics=["clicks"])
    with pytest.raises(NotFoundError, match="no model 'weather'"):
        start(model="weather")
    with reading() as session:
        assert ledger.every(session) == []
    assert audits() == []


def test_only_one_of_two_that_start_at_once_does(store: Engine) -> None:
    barrier = threading.Barrier(2)

    def begin(name: str) -> str:
        barrier.wait()
        try:
            with transaction() as session:
                ledger.start(session, config(name=name), versions=VERSIONS, champion="1.0", by="dana")
        except ConflictError as error:
            return type(error).__name__
        return "started"

    with ThreadPoolExecutor(2) as threads:
        said = list(threads.map(begin, ["one", "two"]))
    assert said.count("started") == 1, said
    with reading() as session:
        assert len(session.query(Experiment).all()) == 1


def test_only_what_stopped_itself_is_resumed() -> None:
    start()
    with clock.fixed(BEGAN + DAY):
        with transaction() as session, pytest.raises(ConflictError, match="runs; only what stopped itself"):
            ledger.resume(session, "mapping-model-v2", by="lee", why="go on")
        with transaction() as session:
            row = ledger.find(session, "mapping-model-v2", lock=True)
            ledger.end(session, row, reason="harm", by="experiments", why="worse")
        with transaction() as session:
            ledger.resume(session, "mapping-model-v2", by="lee", why="a slower mapping is wanted")
    row = stored()
    assert (row.state, row.ended_reason, row.harm_overruled_by) == ("running", None, "lee")
    last = audits()[-1]
    assert last.before is not None
    assert (last.action, last.before["ended_reason"]) == ("experiment.resume", "harm")


def test_what_is_over_or_overtaken_is_not_resumed() -> None:
    start()
    with clock.fixed(BEGAN + DAY), transaction() as session:
        row = ledger.find(session, "mapping-model-v2", lock=True)
        ledger.end(session, row, reason="harm", by="experiments", why="worse")
    start(BEGAN + DAY, name="second")
    with clock.fixed(BEGAN + 2 * DAY), transaction() as session, pytest.raises(ConflictError, match="'second' now"):
        ledger.resume(session, "mapping-model-v2", by="lee", why="go on")
    with clock.fixed(BEGAN + 40 * DAY), transaction() as session, pytest.raises(ConflictError, match="was over"):
        ledger.resume(session, "mapping-model-v2", by="lee", why="go on")


def test_without_a_winner_nothing_is_approved() -> None:
    start()
    with pytest.raises(ConflictError, match="has no winner"):
        ledger.approve("mapping-model-v2", by="dana", why="I like it")
