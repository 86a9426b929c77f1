"""``crewflow model``, and a running gateway that follows it."""

import threading
from pathlib import Path
from subprocess import Popen

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from crewflow_assets import promotion, registry
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.monitoring import alerts
from crewflow_assets.store.database import transaction
from pipelines.cli.main import app
from serving.client import MLClient
from tests.monitoring.logs import MONDAY
from tests.registering import new_version
from tests.serving.conftest import MAPPING_INPUT, add_company, new_key
from tests.serving.test_serve import environment, gateway, wait_for  # noqa: F401  # two are fixtures
from tests.worlds import start_registry

SPEC = COST_CODE_MAPPING
MODEL = SPEC.name
DANA = ["--by", "dana", "--why", "too many corrections"]
RUNNER = CliRunner()


def run(*words: str, status: int = 0) -> str:
    result = RUNNER.invoke(app, ["model", *words])
    assert result.exit_code == status, result.output
    return result.output


def train(label: str, present: int | None) -> None:
    promotion.propose(SPEC, label, why=f"{label} is good", run_id="run-1", instead_of=promotion.Expected(present))


@pytest.mark.usefixtures("versions")
def test_from_candidate_to_champion_and_back() -> None:
    assert "nothing was decided" in run("history", MODEL)
    train("1.0", None)
    assert "need approval" in run("approval", MODEL, "--required", *DANA)
    assert "already" in run("approval", MODEL, "--required", *DANA)
    train("1.1", 1)
    listed = run("list", MODEL)
    assert "cost_code_mapping (promotions need approval)" in listed
    assert "1.1 waits for approval: 1.1 is good" in listed
    assert f"crewflow model approve {MODEL} 1.1" in listed
    assert "1.0 does not wait for approval; 1.1 does" in run("approve", MODEL, "1.0", *DANA, status=1)
    assert run("approve", MODEL, "1.1", *DANA) == "cost_code_mapping 1.1 is champion.\n"
    train("1.2", 2)
    assert "1.2 is rejected" in run("reject", MODEL, "1.2", *DANA)
    assert "1.0 is champion in place of 1.1" in run("rollback", MODEL, *DANA)
    assert "1.2 is champion in place of 1.0" in run("rollback", MODEL, "--to", "1.2", *DANA)
    lines = [line.split() for line in run("history", MODEL).splitlines()]
    assert [line[2:8] for line in lines[1:3]] == [
        ["dana", "rollback", "champion", "1.0", "1.2", "done"],
        ["dana", "rollback", "champion", "1.1", "1.0", "done"],
    ]
    assert any("rejected by dana: too many corrections" in " ".join(line) for line in lines)


@pytest.mark.usefixtures("versions")
def test_open_alerts_are_listed() -> None:
    with transaction() as session:
        alerts.note(session, MODEL, "inputs drift", "week of 2026-03-02: name_words is 9", MONDAY)
    listed = run("list", MODEL)
    assert f"ALERT inputs drift since {MONDAY:%Y-%m-%d}: week of 2026-03-02: name_words is 9" in listed


@pytest.mark.usefixtures("versions")
def test_what_cannot_be_done_is_said_in_a_sentence() -> None:
    assert "no earlier champion of cost_code_mapping is known; name a version with --to" in run(
        "rollback", MODEL, *DANA, status=1
    )
    assert "has no version '7.0'; there are 1.0, 1.1, 1.2" in run("rollback", MODEL, "--to", "7.0", *DANA, status=1)
    assert "no model 'nope'; there are cost_code_mapping" in run("history", "nope", status=1)
    assert "no version of cost_code_mapping waits for approval" in run("approve", MODEL, "1.0", *DANA, status=1)


def test_the_running_gateway_follows_without_a_failed_request(
    gateway: tuple[str, "Popen[bytes]"],  # noqa: F811
    sqlite_store: Engine,
    home: Path,
) -> None:
    url, _ = gateway
    add_company("c-17")
    token, _ = new_key("c-17")
    start_registry()
    first, second = new_version("f1"), new_version("f2")
    promotion.promote(SPEC, first.label, by="dana", why="first", method="experiment")
    seen: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        with MLClient(url, token) as ml:
            while not stop.is_set():
                seen.append(str(ml.predict(MODEL, "champion", MAPPING_INPUT)["model_version"]))

    with MLClient(url, token) as ml:
        wait_for(ml, first.label)
        asking = [threading.Thread(target=ask) for _ in range(2)]
        for thread in asking:
            thread.start()
        promotion.promote(SPEC, second.label, by="dana", why="better", method="experiment")
        wait_for(ml, second.label)
        run("rollback", MODEL, *DANA)
        wait_for(ml, first.label)
        alive = [thread.is_alive() for thread in asking]  # one whose request failed has ended
        stop.set()
        for thread in asking:
            thread.join()
    assert alive == [True, True]
    changes = [label for before, label in zip(["", *seen], seen, strict=False) if label != before]
    assert changes[0] == first.label
    assert set(seen) == {first.label, second.label}
    assert registry.find(SPEC, "champion").label == first.label
