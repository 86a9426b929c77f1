"""``crewflow integration``: what is known, and what events do not tell."""

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from pipelines.cli.main import app
from tests.sync_health.watching import COMPANY, NOON, add_companies, attempt, integration, post, risk, watch


@pytest.fixture(autouse=True)
def company(sqlite_store: Engine) -> None:
    add_companies(COMPANY)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["integration", *arguments])
    return result.exit_code, result.output


def test_setting_and_listing() -> None:
    assert run("list", "--company", COMPANY)[1].startswith("no integration of c-1 is known yet")
    code, said = run("set", "--company", COMPANY, "--id", "i-3", "--system", "quickbooks", "--freshness", "60")
    assert code == 0
    assert "completed within 60 min" in said
    assert integration().freshness_minutes == 60
    post(attempt(NOON, interval_minutes=15))
    watch(NOON, {(COMPANY, "i-3"): risk(0.75, "latency")})
    _, listed = run("list", "--company", COMPANY)
    header, row = listed.splitlines()
    assert header.split()[:4] == ["id", "system", "state", "status"]
    assert row.split() == ["i-3", "quickbooks", "active", "at_risk", "75%", "2026-03-02T12:00", "1"]


def test_what_is_wrong_is_said_in_a_sentence() -> None:
    code, said = run("set", "--company", "c-9", "--id", "i-3", "--system", "quickbooks")
    assert (code, "'c-9' is unknown" in said) == (1, True)
    code, said = run("set", "--company", COMPANY, "--id", "i-3", "--system", "quickbooks", "--freshness", "-4")
    assert (code, "not above 0" in said) == (1, True)
    assert run("list", "--company", "c-9")[0] == 1
    for wrong, says in ((("i-3", "Oracle!"), "system: 'Oracle!': "), (("", "quickbooks"), "integration_id: '': ")):
        code, said = run("set", "--company", COMPANY, "--id", wrong[0], "--system", wrong[1])
        assert (code, says in said) == (1, True), said
