"""Settings: from the environment, checked, read once."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from crewflow_assets.settings import Settings, get_settings, unknown_settings
from pipelines.cli.main import explain


def test_state_lives_under_the_home_folder(home: Path) -> None:
    assert get_settings().root == home.resolve()
    assert get_settings().sqlalchemy_url == f"sqlite:///{home.resolve() / 'crewflow.db'}"


def test_a_relative_home_becomes_absolute(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    monkeypatch.delenv("CREWFLOW_HOME")
    assert Settings().root == home.resolve() / "var"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_urls_are_given_the_psycopg_driver(
    home: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("CREWFLOW_DATABASE_URL", f"{scheme}://user:pass@host/postgresql://")
    assert Settings().sqlalchemy_url == "postgresql+psycopg://user:pass@host/postgresql://"


def test_the_environment_is_read_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = get_settings()
    monkeypatch.setenv("CREWFLOW_SEED", "99")
    assert get_settings() is before
    assert Settings().seed == 99


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CREWFLOW_SCALE", "huge"),
        ("CREWFLOW_SEED", "seven"),
        ("CREWFLOW_WITHHELD_SHARE", "0.6"),
        ("CREWFLOW_WITHHELD_SHARE", "-0.1"),
        ("CREWFLOW_GATEWAY_PORT", "0"),
        ("CREWFLOW_GATEWAY_PORT", "65536"),
        ("CREWFLOW_MAX_BODY_BYTES", "10"),
        ("CREWFLOW_REQUESTS_PER_MINUTE", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=name.removeprefix("CREWFLOW_").lower()):
        Settings()


def test_the_webhook_secret_is_not_printed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWFLOW_WEBHOOK_SECRET", "whsec_c2VjcmV0")
    settings = Settings()
    assert settings.webhook_secret.get_secret_value() == "whsec_c2VjcmV0"
    assert "c2VjcmV0" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_settings_cannot_be_changed_at_run_time(home: Path) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        get_settings().seed = 1  # type: ignore[misc]


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql"])
def test_a_database_that_is_neither_is_refused_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("CREWFLOW_DATABASE_URL", f"{scheme}://me:s3cret@host/x")
    with pytest.raises(
        ValidationError, match=rf"begins with '{re.escape(scheme)}'; give one of sqlite:///, postgres://"
    ) as found:
        Settings()
    assert "s3cret" not in str(found.value) + repr(found.value) + (explain(found.value) or "")


@pytest.mark.parametrize("url", ["s3cret@host/x", "s3cret:me@host", "me:s3cret@host://x", "://me:s3cret@host"])
def test_no_password_is_told_where_the_url_has_no_scheme(
    home: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("CREWFLOW_DATABASE_URL", url)
    with pytest.raises(ValidationError, match="has no scheme; give one of") as found:
        Settings()
    assert "s3cret" not in str(found.value)


def test_a_variable_that_is_no_setting_is_named_with_the_nearest(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert unknown_settings() == []
    monkeypatch.setenv("CREWFLOW_WITHELD_SHARE", "0.1")
    assert unknown_settings() == [
        "CREWFLOW_WITHELD_SHARE is no setting, nearest is CREWFLOW_WITHHELD_SHARE; docs/operations.md lists them"
    ]
