from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from pipelines.cli.main import app, flowing

RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["key", "revoke", "99"], "there is no API key 99"),
        (["key", "create", "--company", "nope", "--name", "x"], "'nope'"),
        (["suggest", "--company", "nope"], "company 'nope' is unknown"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_in_a_sentence(
    sqlite_store: Engine, words: list[str], said: str
) -> None:
    result = RUNNER.invoke(app, words)
    assert result.exit_code == 1
    assert said in result.output
    assert "Traceback" not in result.output


def test_a_database_without_tables_names_the_command_that_makes_them(home: Path) -> None:
    result = RUNNER.invoke(app, ["key", "list"])
    assert result.exit_code == 1
    assert "crewflow db upgrade" in result.output


def test_a_wrong_setting_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crewflow_assets.settings import get_settings

    monkeypatch.setenv("CREWFLOW_SCALE", "huge")
    get_settings.cache_clear()
    result = RUNNER.invoke(app, ["db", "upgrade"])
    assert result.exit_code == 1
    assert "CREWFLOW_SCALE: 'huge': " in result.output
    assert "'demo' or 'full'" in result.output


def test_a_variable_that_is_no_setting_is_told_and_holds_nothing_up(
    sqlite_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREWFLOW_SEDE", "1")
    result = RUNNER.invoke(app, ["key", "list"])
    assert result.exit_code == 0
    assert "CREWFLOW_SEDE is no setting, nearest is CREWFLOW_SEED" in result.output


@pytest.mark.parametrize("nothing", ["", "  ", "a\tb"])
def test_a_decision_says_who_and_why(sqlite_store: Engine, nothing: str) -> None:
    for words in (["--by", nothing, "--why", "x"], ["--by", "dana", "--why", nothing]):
        result = RUNNER.invoke(app, ["model", "rollback", "cost_code_mapping", *words])
        assert result.exit_code == 2
        assert "says nothing that can be read" in result.output


def test_a_place_that_cannot_be_written_is_named(sqlite_store: Engine, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    result = RUNNER.invoke(app, ["cards", "--output", str(tmp_path / "taken")])
    assert result.exit_code == 1
    assert f"{tmp_path / 'taken'}: File exists; name another place" in result.output


def test_help_leaves_lines_to_the_terminal_and_examples_as_they_are() -> None:
    said = "First.\n\nOne paragraph\nof two lines.\n\nExamples:\n  crewflow up\n  crewflow demo"
    assert flowing(said) == said.replace("paragraph\nof", "paragraph of")
    shown = RUNNER.invoke(app, ["deliver", "--help"], env={"COLUMNS": "200"}).output
    assert "every hour at the latest. One that the receiver refuses" in shown
    assert "\n   crewflow deliver --watch" in shown
