"""API keys: what they open, how they are kept, and the command that makes them."""

import re

import pytest
from sqlalchemy import Engine, select
from typer.testing import CliRunner, Result

from crewflow_assets import clock
from crewflow_assets.errors import InvalidInputError, NotFoundError
from crewflow_assets.store import keys
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.keys import KeyScope
from crewflow_assets.store.tables import ApiKey, Company
from pipelines.cli import key as key_cli


@pytest.fixture
def company(store: Engine) -> str:
    with transaction() as session:
        session.add(Company(id="c-1", name="Acme", industry="hvac", created_at=clock.now(), revision=0))
    return "c-1"


def make(company_id: str | None, name: str = "backend") -> tuple[str, ApiKey]:
    with transaction() as session:
        return keys.create(session, name, company_id)


def verify(token: str) -> KeyScope | None:
    with reading() as session:
        return keys.verify(session, token)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(key_cli.app, list(arguments))


def test_a_key_opens_its_company_or_the_platform(company: str) -> None:
    token, row = make(company)
    platform_token, platform_row = make(None, "operations")
    assert verify(token) == KeyScope(key_id=row.id, company_id="c-1")
    assert verify(platform_token) == KeyScope(key_id=platform_row.id, company_id=None)
    assert re.fullmatch(r"cfk_[A-Za-z0-9_-]{43}", token)
    assert token != platform_token


def test_only_a_hash_and_the_last_characters_are_kept(company: str) -> None:
    token, _ = make(company)
    with reading() as session:
        row = session.scalars(select(ApiKey)).one()
        kept = " ".join(str(getattr(row, column.key)) for column in ApiKey.__table__.columns)
    assert row.hint == token[-4:]
    assert token[4:-4] not in kept


def test_wrong_tokens_open_nothing(company: str) -> None:
    token, _ = make(company)
    for wrong in ("", "cfk_", token[:-1], token + "x", token.upper(), token[4:], "cfk_ü\x00", "cfk_\ud800"):
        assert verify(wrong) is None


def test_a_revoked_key_opens_nothing_and_stays_listed(company: str) -> None:
    token, row = make(company)
    with transaction() as session:
        revoked_at = keys.revoke(session, row.id).revoked_at
    with transaction() as session:
        assert keys.revoke(session, row.id).revoked_at == revoked_at
    assert verify(token) is None
    with reading() as session:
        assert [listed.id for listed in keys.list_keys(session)] == [row.id]


def test_unknown_companies_keys_and_empty_names_are_refused(store: Engine) -> None:
    with pytest.raises(NotFoundError, match="no company 'c-9'"):
        make("c-9")
    with pytest.raises(InvalidInputError, match="name '  '"):
        make(None, "  ")
    with pytest.raises(NotFoundError, match="no API key 7"), transaction() as session:
        keys.revoke(session, 7)


def test_the_command_prints_the_token_once_and_alone(company: str) -> None:
    result = run("create", "--company", "c-1", "--name", "backend")
    assert result.exit_code == 0
    token = result.stdout.strip()
    scope = verify(token)
    assert scope is not None
    assert scope.company_id == "c-1"
    assert "not shown again" in result.stderr
    listing = run("list").output
    assert token not in listing
    assert token[-4:] in listing
    assert "c-1" in listing


def test_the_command_makes_platform_keys_and_revokes_them(sqlite_store: Engine) -> None:
    assert "no keys yet" in run("list").output
    token = run("create", "--platform", "--name", "operations").stdout.strip()
    assert verify(token) == KeyScope(key_id=1, company_id=None)
    assert "the platform" in run("list").output
    assert run("revoke", "1").output == "Key 1 (operations) is revoked.\n"
    assert verify(token) is None


def test_a_key_may_have_a_limit_of_its_own(sqlite_store: Engine) -> None:
    token = run("create", "--platform", "--name", "operations", "--per-minute", "600").stdout.strip()
    assert verify(token) == KeyScope(key_id=1, company_id=None, requests_per_minute=600)
    assert "600" in run("list").output
    assert run("limit", "1", "--per-minute", "5").output == "Key 1 (operations) may make 5 requests a minute.\n"
    assert verify(token) == KeyScope(key_id=1, company_id=None, requests_per_minute=5)
    assert "CREWFLOW_REQUESTS_PER_MINUTE" in run("limit", "1").output
    assert verify(token) == KeyScope(key_id=1, company_id=None)
    for wrong in (0, -1, 1_000_001):
        with (
            pytest.raises(InvalidInputError, match=f"the limit {wrong} must be 1 to 1,000,000"),
            transaction() as session,
        ):
            keys.limit(session, 1, wrong)
    with pytest.raises(NotFoundError, match="no API key 7"), transaction() as session:
        keys.limit(session, 7, 5)


@pytest.mark.parametrize("scope", [[], ["--platform", "--company", "c-1"]])
def test_the_command_wants_one_scope(sqlite_store: Engine, scope: list[str]) -> None:
    result = run("create", "--name", "x", *scope)
    assert result.exit_code == 2
    assert "either --company ID or --platform" in result.stderr
