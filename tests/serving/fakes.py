"""Models that know nothing and a registry in memory, for the application that the tests of serving share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from crewflow_assets.contract import Name, PredictionRequest, PredictionResponse
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotFoundError, NotReadyError, RegistryAwayError
from crewflow_assets.spec import Answer, Evaluation, ModelCode, ModelSpec, Predictor
from serving.predictors import Origin

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
    run_id: str = "r-1"
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class FakeVersion:
    label: str
    number: int
    aliases: tuple[str, ...]
    created_at: datetime = datetime(2026, 3, 2, tzinfo=UTC)
    figures: dict[str, str] = field(default_factory=lambda: {"top1": "0.713"})
    run_id: str = "r-1"


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

    def run_of(self, spec: ModelSpec, number: int) -> str:
        self._check()
        if number not in self.labels:
            raise NotFoundError(f"{spec.name} has no version {number}")
        return "r-1"

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
