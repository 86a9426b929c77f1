"""Promotion on a real registry and database: every move is recorded, and carried out once whatever is killed."""

import dataclasses
import threading
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from crewflow_assets import promotion, registry
from crewflow_assets.batch import MODEL_NAME
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import ConflictError, NotFoundError
from crewflow_assets.experiments import ledger
from crewflow_assets.experiments.config import ExperimentConfig
from crewflow_assets.promotion import Expected
from crewflow_assets.registry import TrainingRecord, VersionInfo
from crewflow_assets.settings import get_settings
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry
from crewflow_assets.store.training_tables import Promotion
from crewflow_assets.training import moves
from tests.worlds import predictor, start_registry

SPEC = COST_CODE_MAPPING
UNTIL = datetime(2026, 2, 1, tzinfo=UTC)
ROOT = Path(__file__).parents[1]


def register(folder: Path, features: str, role: str = "candidate") -> VersionInfo:
    saved = folder / f"saved-{features}"
    saved.mkdir(exist_ok=True)
    predictor().save(saved)
    (saved / MODEL_NAME).write_text(SPEC.name)
    record = TrainingRecord(role=role, seed=7, data_until=UNTIL, feature_hash=features, code_hash="c")
    return registry.register(SPEC, saved, record)


@cache
def _three_versions() -> bytes:
    """Return the registry's database with 1.0, 1.1 and 1.2, of which none has an alias; made in the present home."""
    start_registry()
    home = get_settings().root
    for number in range(3):
        register(home, f"f{number}")
    return (home / "mlflow" / "mlflow.db").read_bytes()


@pytest.fixture
def versions(sqlite_store: Engine, home: Path) -> None:
    """1.0, 1.1 and 1.2, on SQLite."""
    _give_versions(home)


@pytest.fixture
def versions_on_both(store: Engine, home: Path) -> None:
    """1.0, 1.1 and 1.2, on SQLite and again on PostgreSQL."""
    _give_versions(home)


def _give_versions(home: Path) -> None:
    (home / "mlflow").mkdir(exist_ok=True)
    (home / "mlflow" / "mlflow.db").write_bytes(_three_versions())


def train(label: str, present: int | None, why: str = "all gates met") -> Promotion | None:
    return promotion.propose(SPEC, label, why=why, run_id="run-1", instead_of=Expected(present))


def aliases() -> dict[str, int]:
    return registry.alias_numbers(SPEC)


def rows() -> list[Promotion]:
    with reading() as session:
        found = promotion.history(session, SPEC)
        session.expunge_all()
        return found


def barred(number: int) -> str | None:
    with reading() as session:
        return promotion.barred(session, SPEC, number)


def test_a_move_is_a_row_an_audit_row_and_an_alias(versions_on_both: None) -> None:
    moved = train("1.0", None)
    assert moved is not None
    assert aliases() == {"champion": 1}
    [row] = rows()
    assert (row.method, row.state, row.from_label, row.to_label) == ("training", "done", None, "1.0")
    assert (row.decided_by, row.why, row.run_id) == ("training", "all gates met", "run-1")
    with reading() as session:
        [entry] = session.scalars(select(AuditEntry)).all()
    assert (entry.company_id, entry.action, entry.subject_id) == (None, "model.training", SPEC.name)
    assert entry.after == {"champion": "1.0", "reason": "all gates met"}
    assert registry.find(SPEC, "champion").tags[registry.DECISION] == "all gates met"


def test_what_changes_nothing_is_not_recorded(versions: None) -> None:
    train("1.0", None)
    assert train("1.0", 1) is None
    assert promotion.promote(SPEC, "1.0", by="dana", why="again", method="experiment") is None
    assert len(rows()) == 1


def test_a_new_champion_retires_an_older_challenger_and_a_baseline_none(versions: None, tmp_path: Path) -> None:
    promotion.promote(SPEC, "1.0", by="training", why="gates not met", method="training", alias="challenger")
    baseline = register(tmp_path, "b", role="baseline: spelling")
    train(baseline.label, None, "stands in")
    assert aliases() == {"challenger": 1, "champion": 4}
    promotion.promote(SPEC, "1.1", by="dana", why="experiment e won", method="experiment")
    assert aliases() == {"champion": 2}
    [taken, moved] = rows()[:2]
    assert (taken.alias, taken.from_label, taken.to_label) == ("challenger", "1.0", None)
    assert (moved.from_label, moved.to_label) == ("1.3", "1.1")


def test_a_champion_that_was_moved_meanwhile_is_not_moved_again(versions: None) -> None:
    train("1.0", None)
    with pytest.raises(ConflictError, match=r"was moved while 1\.1 was compared"):
        train("1.1", None)
    assert aliases() == {"champion": 1}
    assert len(rows()) == 1


def test_a_version_of_another_contract_is_not_promoted(versions: None) -> None:
    second = dataclasses.replace(SPEC, contract_version=2)
    with pytest.raises(ConflictError, match=r"1\.0 answers another contract"):
        promotion.promote(second, "1.0", by="dana", why="x", method="experiment")
    with pytest.raises(NotFoundError):
        promotion.promote(SPEC, "7.0", by="dana", why="x", method="experiment")
    assert rows() == []


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


def test_where_approval_is_required_a_candidate_waits(versions_on_both: None) -> None:
    train("1.0", None)
    assert promotion.require_approval(SPEC, True, by="dana", why="audit")
    assert not promotion.require_approval(SPEC, True, by="dana", why="audit")
    waiting = train("1.1", 1, "gain +0.02")
    assert waiting is not None
    assert waiting.state == "pending"
    assert aliases() == {"champion": 1, "challenger": 2}
    assert registry.find(SPEC, "challenger").tags[registry.DECISION] == "waits for approval: gain +0.02"
    again = train("1.1", 1)
    assert again is not None
    assert again.id == waiting.id

    newer = train("1.2", 1, "gain +0.03")
    assert newer is not None
    with pytest.raises(ConflictError, match=r"1\.1 does not wait for approval; 1\.2 does"):
        promotion.approve(SPEC, "1.1", by="dana", why="x")
    promotion.approve(SPEC, "1.2", by="dana", why="seen")
    assert aliases() == {"champion": 3}
    ended = [(row.to_label, row.state, row.ended_by) for row in rows() if row.ended_by]
    assert sorted(ended) == [("1.1", "superseded", "training"), ("1.2", "approved", "dana")]
    with pytest.raises(ConflictError, match="no version of cost_code_mapping waits for approval"):
        promotion.approve(SPEC, "1.2", by="dana", why="x")


def experiment(*versions: str) -> None:
    """Start an experiment of these versions, whose first is champion."""
    shares = {"control": versions[0], "treatment": versions[1]}
    config = ExperimentConfig.model_validate(
        {
            "name": "trial",
            "model": SPEC.name,
            "variants": {name: {"model_version": label, "percentage": 50} for name, label in shares.items()},
            "metrics": ["mapping_accuracy"],
            "duration_days": 30,
        }
    )
    with transaction() as session:
        ledger.start(session, config, versions=versions, champion=versions[0], by="dana")


def test_while_an_experiment_runs_a_candidate_waits_and_the_winner_can_be_approved(versions_on_both: None) -> None:
    train("1.0", None)
    experiment("1.0", "1.1")
    waiting = train("1.2", 1, "gain +0.02")
    assert waiting is not None
    assert (waiting.state, waiting.why) == (
        "pending",
        "gain +0.02; the experiment 'trial' is undecided (`crewflow experiment status trial`)",
    )
    assert aliases() == {"champion": 1, "challenger": 3}
    with transaction() as session:
        row = ledger.find(session, "trial", lock=True)
        ledger.propose(session, row, "treatment", by="experiments", why="better")
        ledger.end(session, row, reason="duration", by="experiments", why="better")
    again = train("1.2", 1)
    assert again is not None
    assert again.id == waiting.id, "its time is over, and the winner waits for a person"
    ledger.approve("trial", by="dana", why="seen")
    assert aliases()["champion"] == 2
    assert {row.to_label: row.state for row in rows() if row.alias == "champion"}["1.2"] == "superseded"
    train("1.2", 2)
    assert aliases()["champion"] == 3, "what is decided holds nothing up"


@pytest.mark.parametrize("how", ["no winner", "stopped", "the waiting one approved"])
def test_what_of_an_experiment_is_settled_holds_no_candidate_up(versions: None, tmp_path: Path, how: str) -> None:
    train("1.0", None)
    experiment("1.0", "1.1")
    train("1.2", 1)
    with transaction() as session:
        row = ledger.find(session, "trial", lock=True)
        if how != "no winner":
            ledger.propose(session, row, "treatment", by="experiments", why="better")
        ledger.end(session, row, reason="stopped" if how == "stopped" else "duration", by="lee", why="why")
    if how == "the waiting one approved":
        promotion.approve(SPEC, "1.2", by="dana", why="seen")
        newest = register(tmp_path, "f3")
        train(newest.label, 3)
        assert aliases() == {"champion": newest.number}
    else:
        train("1.2", 1)
        assert aliases() == {"champion": 3}
    assert not [row for row in rows() if row.state == "pending"]


def test_a_rejected_version_is_barred_until_a_person_promotes_it(versions: None) -> None:
    train("1.0", None)
    promotion.require_approval(SPEC, True, by="dana", why="audit")
    train("1.1", 1)
    promotion.reject(SPEC, "1.1", by="dana", why="worse for plumbers")
    assert aliases()["champion"] == 1
    assert barred(2) == "1.1 was rejected by dana: worse for plumbers"
    promotion.promote(SPEC, "1.1", by="eve", why="experiment e won", method="experiment")
    assert barred(2) is None


def test_one_command_goes_back_to_the_champion_before_and_further(versions: None) -> None:
    for number, label in enumerate(("1.0", "1.1", "1.2")):
        train(label, number or None)
    assert promotion.rollback(SPEC, by="dana", why="bad").to_label == "1.1"
    assert barred(3) == "1.2 was rolled back by dana: bad"
    assert promotion.rollback(SPEC, by="dana", why="bad too").to_label == "1.0"  # not to 1.2 again
    with pytest.raises(ConflictError, match="no earlier champion of cost_code_mapping is known"):
        promotion.rollback(SPEC, by="dana", why="x")
    with pytest.raises(ConflictError, match=r"1\.0 is the champion already"):
        promotion.rollback(SPEC, by="dana", why="x", to="1.0")
    promotion.rollback(SPEC, by="eve", why="it was the data", to="1.2")
    assert (aliases()["champion"], barred(3)) == (3, None)


def test_what_others_may_not_do_leaves_no_trace(versions: None) -> None:
    with pytest.raises(NotFoundError):
        promotion.rollback(SPEC, by="dana", why="x", to="3.3")
    assert rows() == []


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


def test_nothing_but_promotion_moves_an_alias() -> None:
    callers = {
        str(file.relative_to(ROOT))
        for folder in ("crewflow_assets", "pipelines", "serving")
        for file in (ROOT / folder).rglob("*.py")
        if "registry.promote(" in file.read_text() or "registry.take_away(" in file.read_text()
    }
    assert callers == {"crewflow_assets/training/moves.py"}
