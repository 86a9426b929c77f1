"""One application for all tests of a process: BentoML registers its metrics once, and cannot be built twice."""

import logging
import os
import tempfile
import warnings

os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="crewflow-metrics-"))
os.environ.setdefault("CREWFLOW_HOME", tempfile.mkdtemp(prefix="crewflow-between-tests-"))  # the service polls it

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pytest
from pydantic import Field
from sqlalchemy import Engine
from starlette.testclient import TestClient

from crewflow_assets import clock
from crewflow_assets.contract import Name, PredictionRequest, PredictionResponse
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotFoundError, NotReadyError, RegistryAwayError
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import Answer, Evaluation, ModelCode, ModelSpec, Predictor
from crewflow_assets.store import keys
from crewflow_assets.store.database import transaction
from crewflow_assets.store.tables import Account, Company, SourceItem


@contextmanager
def bentoml_warnings() -> Iterator[None]:
    """BentoML 1.4 calls a method that pydantic 2.11, and a class that pathspec, has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*__get_pydantic_core_schema__", DeprecationWarning)
        warnings.filterwarnings("ignore", "GitWildMatchPattern", DeprecationWarning)
        yield


with bentoml_warnings():
    from serving import runtime as runtime_module
    from serving.predictors import Origin
    from serving.runtime import Runtime
    from serving.service import GuardedService, make_service

REGISTER = "no model is registered yet; run `crewflow demo`"


class FakePredictor(Predictor):
    """Knows nothing."""

    def save(self, folder: Path) -> None:
        (folder / "fake.json").write_text("{}")


class FakeCode(ModelCode):
    """What a model's code must have; a test overrides ``answer``."""

    def build_features(self, cutoff: datetime) -> pd.DataFrame:
        raise NotImplementedError

    def fit(self, features: pd.DataFrame, *, seed: int) -> Predictor:
        raise NotImplementedError

    def baselines(self, features: pd.DataFrame, *, seed: int) -> dict[str, Predictor]:
        raise NotImplementedError

    def evaluate(self, predictor: Predictor, baselines: Any, features: pd.DataFrame) -> Evaluation:
        raise NotImplementedError

    def row_scores(self, predictor: Predictor, features: pd.DataFrame) -> pd.DataFrame:
        raise NotImplementedError

    def load(self, folder: Path) -> Predictor:  # noqa: ARG002
        return FakePredictor()

    def answer(self, predictor: Predictor, requests: Sequence[Any]) -> list[Answer]:
        raise NotImplementedError


class EchoRequest(PredictionRequest):
    text: Name
    number: Annotated[float, Field(ge=0, le=1e6)] = 0.0


class EchoResponse(PredictionResponse):
    said: str
    company: str | None


class EchoCode(FakeCode):
    """Answers what it was asked; refuses "impossible", breaks on "broken"."""

    def answer(self, predictor: Predictor, requests: Sequence[EchoRequest]) -> list[Answer]:  # noqa: ARG002
        impossible = [
            FieldProblem((index, "text"), f"{request.text!r} has no answer; ask for something else")
            for index, request in enumerate(requests)
            if request.text == "impossible"
        ]
        if impossible:
            raise InvalidInputError("these inputs cannot be answered", tuple(impossible))
        if any(request.text == "broken" for request in requests):
            raise ZeroDivisionError("the model broke")
        return [Answer({"said": request.text, "company": request.company_id}) for request in requests]


class FirstAccountCode(FakeCode):
    """Suggests the first candidate; withholds codes that begin with ``BLIND``."""

    def answer(self, predictor: Predictor, requests: Sequence[Any]) -> list[Answer]:  # noqa: ARG002
        answers = []
        for index, request in enumerate(requests):
            if request.target_accounts is None and request.company_id is None:
                raise InvalidInputError(
                    "no candidates", (FieldProblem((index, "target_accounts"), "missing; send the accounts"),)
                )
            accounts = request.target_accounts or ()
            code, name = (accounts[0].code, accounts[0].name) if accounts else ("50100", "Electrical Labor")
            blind = request.crewflow_cost_code.startswith("BLIND")
            suggestion = {
                "target_code": code,
                "target_name": name,
                "confidence": 0.97,
                "reason": "the first",
                "auto_map": not blind,
            }
            answers.append(
                Answer(
                    {"suggestions": [suggestion], "method": "ask" if blind else "model", "withheld": blind},
                    blind,
                    0.05,
                )
            )
        return answers


ECHO = ModelSpec(
    name="echo",
    question="What was said?",
    code=EchoCode,
    request_type=EchoRequest,
    response_type=EchoResponse,
    example={"text": "hello", "number": 1.5},
    event_kinds=(),
    expectations=(),
    gates=(),
    headline=(),
    tolerance=0.01,
    retrain_cron="0 3 * * 0",
)
FIRST_ACCOUNT = ModelSpec(
    **{name: getattr(COST_CODE_MAPPING, name) for name in ModelSpec.__dataclass_fields__ if name != "code"},
    code=FirstAccountCode,
)


@dataclass(frozen=True)
class FakeLoaded:
    predictor: Predictor
    label: str
    number: int
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class FakeVersion:
    label: str
    number: int
    aliases: tuple[str, ...]
    created_at: datetime = datetime(2026, 3, 2, tzinfo=UTC)
    figures: dict[str, str] = field(default_factory=lambda: {"top1": "0.713"})


@dataclass
class FakeSource:
    """A registry in memory: labels by version number, aliases to numbers, the same for each model."""

    labels: dict[int, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    broken: bool = False
    loads: int = 0

    def load(self, spec: ModelSpec, version: str) -> FakeLoaded:
        self._check()
        self.loads += 1
        if not self.labels:
            raise NotReadyError(REGISTER)
        number = self.aliases.get(version) or next((n for n, label in self.labels.items() if label == version), None)
        if number is None:
            raise NotFoundError(f"{spec.name} has no version {version!r}")
        return FakeLoaded(FakePredictor(), self.labels[number], number)

    def alias_numbers(self, spec: ModelSpec) -> dict[str, int]:  # noqa: ARG002
        self._check()
        return dict(self.aliases)

    def describe(self, spec: ModelSpec) -> list[FakeVersion]:  # noqa: ARG002
        self._check()
        return [
            FakeVersion(label, number, tuple(a for a, n in self.aliases.items() if n == number))
            for number, label in sorted(self.labels.items(), reverse=True)
        ]

    def origin(self, spec: ModelSpec) -> Origin | None:  # noqa: ARG002
        return Origin("registry", datetime(2026, 3, 2, tzinfo=UTC))

    def _check(self) -> None:
        if self.broken:
            raise RegistryAwayError("the model registry cannot be read")


SOURCE = FakeSource()


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
