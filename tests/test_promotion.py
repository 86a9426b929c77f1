"""Promotion on a real registry and database: every move is recorded, and carried out once whatever is killed."""

import dataclasses
from collections.abc import Mapping
from datetime import timedelta

import pytest
from sqlalchemy import select

from crewflow_assets import clock, promotion, registry
from crewflow_assets.errors import ConflictError, NotFoundError
from crewflow_assets.experiments import ledger
from crewflow_assets.experiments.config import ExperimentConfig
from crewflow_assets.registry import VersionInfo
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry
from tests.promoting import SPEC, aliases, barred, rows, train
from tests.registering import new_version

DAY = timedelta(days=1)


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


def test_a_new_champion_retires_an_older_challenger_and_a_baseline_none(versions: None) -> None:
    promotion.promote(SPEC, "1.0", by="training", why="gates not met", method="training", alias="challenger")
    baseline = new_version("b", role="baseline: spelling")
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
def test_what_of_an_experiment_is_settled_holds_no_candidate_up(versions: None, how: str) -> None:
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
        newest = new_version("f3")
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


def rebuild(monkeypatch: pytest.MonkeyPatch, until: Mapping[int, timedelta]) -> None:
    """Leave the versions of these numbers in the registry, with data that ended so long after the present moment."""
    describe, at = registry.describe, clock.now()

    def rebuilt(spec: ModelSpec) -> list[VersionInfo]:
        return [
            dataclasses.replace(info, tags={**info.tags, registry.DATA_UNTIL: (at + until[info.number]).isoformat()})
            for info in describe(spec)
            if info.number in until
        ]

    monkeypatch.setattr(registry, "describe", rebuilt)


@pytest.mark.parametrize(
    ("until", "binds"),
    [
        pytest.param({1: DAY, 2: -DAY, 3: 2 * DAY}, True, id="between-versions"),
        pytest.param({1: DAY, 2: timedelta(minutes=4), 3: 2 * DAY}, True, id="within-five-minutes-before-the-oldest"),
        pytest.param({1: DAY, 2: timedelta(minutes=6), 3: 2 * DAY}, False, id="before-the-oldest"),
        pytest.param({}, False, id="a-day-before-a-registry-without-versions"),
    ],
)
def test_a_rejection_binds_from_the_data_of_the_oldest_version_on(
    versions: None, monkeypatch: pytest.MonkeyPatch, until: dict[int, timedelta], binds: bool
) -> None:
    rejected_at = clock.now()
    with clock.fixed(rejected_at):
        train("1.0", None)
        promotion.require_approval(SPEC, True, by="dana", why="audit")
        train("1.1", 1)
        promotion.reject(SPEC, "1.1", by="dana", why="worse for plumbers")
        rebuild(monkeypatch, until)
    with clock.fixed(rejected_at + DAY):
        assert barred(2) == ("1.1 was rejected by dana: worse for plumbers" if binds else None)


def test_what_was_decided_about_a_registry_before_this_one_binds_nobody(
    versions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("1.0", None)
    train("1.1", 1)
    promotion.rollback(SPEC, by="dana", why="bad")
    promotion.require_approval(SPEC, True, by="dana", why="audit")
    waiting = train("1.2", 1)
    assert waiting is not None
    rebuild(monkeypatch, dict.fromkeys((1, 2, 3), DAY))
    assert barred(2) is None
    with pytest.raises(ConflictError, match="no earlier champion of cost_code_mapping is known"):
        promotion.rollback(SPEC, by="dana", why="x")
    for judge in (promotion.approve, promotion.reject):
        with pytest.raises(ConflictError, match="no version of cost_code_mapping waits for approval"):
            judge(SPEC, "1.2", by="dana", why="x")
    again = train("1.2", 1)
    assert again is not None
    assert again.id != waiting.id
    assert [row.state for row in rows() if row.to_label == "1.2" and row.alias == "champion"] == [
        "pending",
        "superseded",
    ]


def test_what_others_may_not_do_leaves_no_trace(versions: None) -> None:
    with pytest.raises(NotFoundError):
        promotion.rollback(SPEC, by="dana", why="x", to="3.3")
    assert rows() == []
