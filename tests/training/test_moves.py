"""Moves of aliases are carried out once, whoever is killed, wakes up late or moves at the same time."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine

from crewflow_assets import promotion, registry
from crewflow_assets.store.training_tables import Promotion
from crewflow_assets.training import moves
from tests.promoting import SPEC, aliases, rows, train
from tests.registering import UNTIL
from tests.worlds import start_registry

ROOT = Path(__file__).parents[2]


def test_killed_between_record_and_alias_the_next_look_completes_it(
    versions_on_both: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("1.0", None)

    class KilledError(BaseException):
        pass

    def killed(*_arguments: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(registry, "promote", killed)
        with pytest.raises(KilledError):
            train("1.1", 1)
    assert aliases() == {"champion": 1}
    assert [row.state for row in rows()] == ["moving", "done"]
    assert promotion.reconcile(SPEC)
    assert aliases() == {"champion": 2}
    assert not promotion.reconcile(SPEC)
    assert [row.state for row in rows()] == ["done", "done"]


def test_whoever_wakes_up_late_does_not_move_the_alias_back(
    versions_on_both: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mover stops after it recorded its move; another one completes it and moves on; then the first wakes up."""
    train("1.0", None)
    real = moves.carry_out

    def after_another(spec: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(promotion, "carry_out", real)
            promotion.rollback(SPEC, by="dana", why="stop", to="1.2")
        real(SPEC)

    with monkeypatch.context() as patch:
        patch.setattr(promotion, "carry_out", after_another)
        train("1.1", 1)
    assert aliases()["champion"] == 3
    assert [(row.from_label, row.to_label, row.state) for row in reversed(rows())] == [
        (None, "1.0", "done"),
        ("1.0", "1.1", "done"),
        ("1.1", "1.2", "done"),
    ]


def test_two_who_promote_at_once_end_where_the_newest_row_says(versions_on_both: None) -> None:
    train("1.0", None)
    begin = threading.Barrier(2)

    def move(label: str) -> None:
        begin.wait()
        promotion.promote(SPEC, label, by=label, why="at once", method="experiment")

    threads = [threading.Thread(target=move, args=(label,)) for label in ("1.1", "1.2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = rows()[0]
    assert aliases()["champion"] == newest.to_number
    assert {row.state for row in rows()} == {"done"}
    assert newest.from_label in {"1.1", "1.2"}


def test_a_recorded_move_of_a_version_that_was_deleted_is_void(
    versions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("1.0", None)
    with monkeypatch.context() as patch:
        patch.setattr(promotion, "carry_out", lambda _spec: None)
        train("1.1", 1)
    registry.client().delete_model_version(SPEC.name, "2")
    assert promotion.reconcile(SPEC)
    assert [row.state for row in rows()] == ["void", "done"]
    assert aliases() == {"champion": 1}


def test_a_recorded_removal_of_an_alias_of_a_model_that_was_deleted_is_void(sqlite_store: Engine, home: Path) -> None:
    start_registry()
    with moves.movers(SPEC) as session:
        session.add(
            Promotion(
                model=SPEC.name,
                alias=registry.CHALLENGER,
                method="training",
                state="moving",
                from_number=1,
                from_label="1.0",
                why="1.0 is champion",
                decided_by="training",
                decided_at=UNTIL,
            )
        )
    assert promotion.reconcile(SPEC)
    assert [row.state for row in rows()] == ["void"]


def test_nothing_else_moves_an_alias() -> None:
    callers = {
        str(file.relative_to(ROOT))
        for folder in ("crewflow_assets", "pipelines", "serving")
        for file in (ROOT / folder).rglob("*.py")
        if "registry.promote(" in file.read_text() or "registry.take_away(" in file.read_text()
    }
    assert callers == {"crewflow_assets/training/moves.py"}
