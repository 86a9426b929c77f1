"""One application for all tests of a process: BentoML registers its metrics once, and cannot be built twice."""

import logging
import os
import tempfile
import warnings

os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix=f"crewflow-metrics-{os.getpid()}-"))
os.environ.setdefault("CREWFLOW_HOME", tempfile.mkdtemp(prefix=f"crewflow-polled-{os.getpid()}-"))

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from crewflow_assets import clock
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store import keys
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Account, Company, SourceItem
from tests.serving.fakes import ECHO, FIRST_ACCOUNT, FakeSource


@contextmanager
def bentoml_warnings() -> Iterator[None]:
    """BentoML 1.4 calls a method that pydantic 2.11, and a class that pathspec, has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*__get_pydantic_core_schema__", DeprecationWarning)
        warnings.filterwarnings("ignore", "GitWildMatchPattern", DeprecationWarning)
        yield


with bentoml_warnings():
    from serving import runtime as runtime_module
    from serving.runtime import Runtime
    from serving.service import GuardedService, make_service


SOURCE = FakeSource()


def pytest_unconfigure() -> None:
    """Remove the folders that this process made; what it was given belongs to another."""
    for folder in Path(tempfile.gettempdir()).glob(f"crewflow-*-{os.getpid()}-*"):
        rmtree(folder, ignore_errors=True)


def served_specs() -> list[ModelSpec]:
    """Return what the application of these tests serves: two models of their own, the others with canned answers."""
    from tests.serving.canned import canned

    return [ECHO, FIRST_ACCOUNT, *(canned(spec) for spec in MODEL_SPECS if spec.name != FIRST_ACCOUNT.name)]


@pytest.fixture(scope="session")
def service() -> GuardedService:
    logging.getLogger("crewflow").addHandler(logging.NullHandler())  # so that the service leaves logging as it is
    with bentoml_warnings():
        return make_service(served_specs(), name="crewflow_test", source=SOURCE, port=3100)


@pytest.fixture(scope="session")
def running(service: GuardedService) -> Iterator[TestClient]:
    runtime_module.POLL_SECONDS = 3600.0  # tests refresh when they want to, and end with their database
    with TestClient(service.to_asgi(), raise_server_exceptions=True) as client:
        yield client


@pytest.fixture
def runtime(service: GuardedService) -> Runtime:
    return service.runtime


@pytest.fixture
def source(runtime: Runtime) -> Iterator[FakeSource]:
    """A registry with champion 1.1, challenger 1.2 and an older 1.0, loaded."""
    SOURCE.labels = {1: "1.0", 2: "1.1", 3: "1.2"}
    SOURCE.aliases = {"champion": 2, "challenger": 3}
    SOURCE.broken = False
    runtime.predictors._pinned.clear()
    runtime.predictors._unknown.clear()
    runtime.predictors.refresh()
    runtime.arms.refresh()  # no experiment of another test's database goes on
    yield SOURCE
    SOURCE.broken = False


@pytest.fixture
def client(running: TestClient, sqlite_store: Engine, source: FakeSource, runtime: Runtime) -> Iterator[TestClient]:
    """The application on an empty SQLite database."""
    yield running
    assert runtime.log.flush(within_seconds=5)  # before the next test's database takes this one's place


@pytest.fixture
def no_experiment_left(runtime: Runtime) -> Iterator[None]:
    """No experiment outlives its test."""
    yield
    read = runtime.arms._read
    runtime.arms._read = list
    runtime.arms.refresh()
    runtime.arms._read = read


@pytest.fixture
def company(client: TestClient) -> str:
    """Company c-17 with a chart of three accounts and four cost codes, and its neighbour c-18."""
    add_company("c-17")
    add_company("c-18")
    return "c-17"


def add_company(company_id: str) -> None:
    at = clock.now()
    with transaction() as session:
        session.add(Company(id=company_id, name=f"Company {company_id}", industry="electrical", created_at=at))
        session.flush()
        for code, name in (("50100", "Electrical Labor"), ("50200", "Materials"), ("61000", "Office")):
            session.add(Account(company_id=company_id, system="quickbooks", code=code, name=name, created_at=at))
        for code in ("BLIND-1", "ELEC-105", "ELEC-110", "ELEC-120"):
            session.add(
                SourceItem(company_id=company_id, kind="cost_code", code=code, name=f"Work {code}", created_at=at)
            )


def new_key(company_id: str | None) -> tuple[str, int]:
    with transaction() as session:
        token, row = keys.create(session, "test", company_id)
        return token, row.id


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def own(company: str) -> dict[str, str]:
    """The headers of company c-17's key."""
    return bearer(new_key(company)[0])


@pytest.fixture
def platform(company: str) -> dict[str, str]:
    """The headers of a platform key."""
    return bearer(new_key(None)[0])


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Change a setting for the test."""

    def change(name: str, value: object) -> None:
        monkeypatch.setenv(f"CREWFLOW_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield change
    get_settings.cache_clear()


MAPPING_INPUT: dict[str, Any] = {
    "crewflow_cost_code": "ELEC-105",
    "cost_code_name": "Rough Electrical",
    "company_industry": "electrical",
    "target_system": "quickbooks",
    "target_accounts": [{"code": "50100", "name": "Electrical Labor"}, {"code": "61000", "name": "Office"}],
}


def check_problem(answer: Any, status: int, *said: str) -> dict[str, Any]:
    """Check that an answer is the problem that the contract promises, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert {"type", "title", "status", "detail"} <= set(body)
    for text in said:
        assert text in answer.text
    return body


@pytest.fixture
def echo_spec() -> ModelSpec:
    return ECHO
