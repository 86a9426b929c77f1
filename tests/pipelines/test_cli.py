from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from pipelines.cli.main import app

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
    assert "scale" in result.output
    assert "'demo' or 'full'" in result.output
