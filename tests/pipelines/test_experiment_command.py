"""``crewflow experiment``: from start to approval, and what is wrong said in a sentence."""

from datetime import datetime
from types import SimpleNamespace

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from crewflow_assets import clock, registry
from crewflow_assets.experiments import ledger
from crewflow_assets.store.database import reading, transaction
from pipelines.cli.main import app
from tests.experiments.trial import BEGAN, DAY, VERSIONS, add_companies, decide_day

NAME = "mapping-model-v2"
START = [
    *("start", NAME, "--model", "cost_code_mapping"),
    *("--variant", "control=1.0:50", "--variant", "treatment=1.1:50"),
    *("--metric", "mapping_accuracy", "--metric", "setup_time", "--days", "30", "--by", "dana"),
]


@pytest.fixture(autouse=True)
def versions(sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [
        SimpleNamespace(label=label, aliases=("champion",) if label == "1.0" else (), number=number)
        for number, label in enumerate(VERSIONS)
    ]
    monkeypatch.setattr(registry, "describe", lambda _: known)


def run(*arguments: str, at: datetime = BEGAN) -> tuple[int, str]:
    with clock.fixed(at):
        result = CliRunner().invoke(app, ["experiment", *arguments])
    return result.exit_code, result.output


def test_from_start_to_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no experiment yet" in run("list")[1]
    code, said = run(*START)
    assert (code, "runs until 2026-04-01 12:00 UTC" in said) == (0, True), said
    with transaction() as session:
        row = ledger.find(session, NAME)
        row.salt = NAME
        assignment = ledger.assignment_of(row)
    assert "no look was taken yet" in run("status", NAME)[1]
    companies = add_companies(60)
    decide_day(assignment, companies, BEGAN, lambda arm: 0.95 if arm == "treatment" else 0.3)
    code, said = run("look", NAME, at=BEGAN + DAY)
    assert code == 0, said
    assert "mapping_accuracy" in said
    assert "better" in said
    assert f"proposed: treatment; promote it with: crewflow experiment approve {NAME}" in said
    assert run("status", NAME, at=BEGAN + DAY)[1] == said
    moved: list[tuple[str, str, str]] = []
    monkeypatch.setattr(
        "crewflow_assets.promotion.promote",
        lambda spec, label, **facts: moved.append((spec.name, label, facts["method"])),
    )
    code, said = run("approve", NAME, "--by", "dana", "--why", "shown to be better", at=BEGAN + 2 * DAY)
    assert (code, "1.1, the arm 'treatment'" in said) == (0, True), said
    assert moved == [("cost_code_mapping", "1.1", "experiment")]
    assert "ended (approved)" in run("list")[1]
    assert "approved by 'dana'" in run("approve", NAME, "--by", "dana", "--why", "again")[1]


def test_stopping_and_resuming() -> None:
    run(*START)
    with reading() as session:
        assignment = ledger.assignment_of(ledger.find(session, NAME))
    decide_day(assignment, add_companies(60), BEGAN, lambda arm: 0.9 if arm == "control" else 0.2)
    assert "harm: mapping_accuracy of treatment" in run("look", NAME, at=BEGAN + DAY)[1]
    code, said = run("resume", NAME, "--by", "lee", "--why", "on purpose", at=BEGAN + DAY)
    assert (code, "no longer stops itself" in said) == (0, True)
    assert run("stop", NAME, "--by", "lee", "--why", "enough", at=BEGAN + 2 * DAY)[0] == 0
    code, said = run("stop", NAME, "--by", "lee", "--why", "enough", at=BEGAN + 2 * DAY)
    assert (code, "ended already (stopped" in said) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([*START[:-2], "--by", "dana", "--metric", "clicks"], "no metric 'clicks'; there are mapping_accuracy"),
        ([*START, "--variant", "third=1.0:5"], "sum 105"),
        (
            ["start", NAME, *START[2:4], "--variant", "control=1.1:50", "--variant", "treatment=1.2:50", *START[8:]],
            "no arm is 1.0, the champion of cost_code_mapping",
        ),
        ([*START, "--variant", "control=1.1:50"], "'control' is given twice"),
        ([*START, "--variant", "third=1.0"], "is not NAME=VERSION:PERCENT"),
        ([*START, "--variant", "third=1.0:many"], "variants.third.percentage"),
        (["status", "nothing"], "there is no experiment 'nothing'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: list[str], said: str) -> None:
    code, output = run(*arguments)
    assert code != 0
    assert said in " ".join(output.replace("│", " ").split())
    assert "Traceback" not in output
