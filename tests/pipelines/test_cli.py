from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from crewflow_assets import clock
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Company
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


def test_a_number_that_no_key_can_have_is_refused(sqlite_store: Engine) -> None:
    result = RUNNER.invoke(app, ["key", "limit", str(2**63), "--per-minute", "5"])
    assert (result.exit_code, result.exception.__class__) == (2, SystemExit)


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
        assert "is empty or has unprintable characters" in result.output


def test_a_place_that_cannot_be_written_is_named(sqlite_store: Engine, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    result = RUNNER.invoke(app, ["cards", "--output", str(tmp_path / "taken")])
    assert result.exit_code == 1
    assert f"{tmp_path / 'taken'}: File exists; choose another place" in result.output


@pytest.mark.parametrize("command", ["backtest", "cards", "suggest --company c-1"])
def test_a_folder_that_is_not_there_is_named_before_any_work(home: Path, command: str) -> None:
    result = RUNNER.invoke(app, [*command.split(), "--output", str(home / "nowhere" / "x.csv")])
    assert result.exit_code == 2
    assert "make it first" in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("command", ["backtest", "suggest --company c-1"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_any_work(home: Path, command: str) -> None:
    (home / "folder.csv").mkdir()
    result = RUNNER.invoke(app, [*command.split(), "--output", str(home / "folder.csv")])
    assert result.exit_code == 2
    assert "is a directory" in " ".join(result.output.replace("│", " ").split())


def test_an_exported_name_that_looks_like_a_formula_stays_a_name(tmp_path: Path) -> None:
    from openpyxl import load_workbook

    from pipelines.cli.suggest import COLUMNS, _export

    _export([dict.fromkeys(COLUMNS, "x") | {"name": "=1+1", "confidence": 0.5}], tmp_path / "suggestions.xlsx")
    row = list(load_workbook(tmp_path / "suggestions.xlsx").worksheets[0].rows)[1]
    assert [(cell.value, cell.data_type) for cell in row[1:4:2]] == [("=1+1", "s"), (0.5, "n")]


def test_the_demo_makes_a_key_anew_where_its_former_one_opens_nothing(sqlite_store: Engine) -> None:
    from crewflow_assets.store import keys
    from pipelines.cli.demo import _demo_key

    first = _demo_key()
    assert _demo_key() == first
    with transaction() as session:
        [row] = keys.list_keys(session)
        keys.revoke(session, row.id)
    second = _demo_key()
    with transaction() as session:
        assert keys.verify(session, second) is not None
    assert _demo_key() == second


def test_a_demo_that_was_interrupted_while_it_filled_the_database_says_how_to_begin_anew(
    sqlite_store: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crewflow_assets.twin import fill

    def interrupted(**_: object) -> None:
        with transaction() as session:
            session.add(Company(id="c-1", name="c-1", industry="roofing", created_at=clock.now()))
        raise KeyboardInterrupt

    monkeypatch.setattr(fill, "fill", interrupted)
    RUNNER.invoke(app, ["demo"])
    again = RUNNER.invoke(app, ["demo"])
    assert again.exit_code == 1
    assert "interrupted while it filled the database" in again.output
    own = f"if the companies there are your own, delete the file {home / 'demo.filling'} alone"
    assert own in " ".join(again.output.split())


def test_the_demo_makes_the_folder_that_a_database_elsewhere_does_not(
    sqlite_store: Engine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crewflow_assets.settings import get_settings
    from crewflow_assets.twin import fill

    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fill, "fill", interrupted)
    monkeypatch.setenv("CREWFLOW_HOME", str(home / "deep" / "new"))
    get_settings.cache_clear()
    result = RUNNER.invoke(app, ["demo"])
    assert "No such file" not in result.output
    assert (home / "deep" / "new" / "demo.filling").exists()


def test_help_leaves_lines_to_the_terminal_and_examples_as_they_are() -> None:
    said = "First.\n\nOne paragraph\nof two lines.\n\nExamples:\n  crewflow up\n  crewflow demo"
    assert flowing(said) == said.replace("paragraph\nof", "paragraph of")
    shown = RUNNER.invoke(app, ["deliver", "--help"], env={"COLUMNS": "200"}).output
    assert "every hour at the latest. One that the receiver refuses" in shown
    assert "\n   crewflow deliver --watch" in shown
