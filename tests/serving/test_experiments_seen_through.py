"""Experiments from assignment to the champion, with a real registry."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from crewflow_assets import registration, registry
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.errors import ConflictError
from crewflow_assets.experiments import ledger
from crewflow_assets.experiments.looks import look
from crewflow_assets.promotion import promote
from crewflow_assets.registration import TrainingRecord
from crewflow_assets.spec import Answer, ModelSpec
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.tables import AuditEntry
from crewflow_assets.store.training_tables import Promotion
from serving.predictors import Origin
from serving.runtime import Runtime
from tests.experiments.trial import BEGAN
from tests.serving.conftest import MAPPING_INPUT, add_company
from tests.serving.fakes import FakeLoaded, FakePredictor, FirstAccountCode
from tests.serving.test_experiments import BODY, MODEL, ROUTE, post
from tests.worlds import start_registry

pytestmark = pytest.mark.usefixtures("no_experiment_left")


class RegistrySource:
    """The real registry, with predictors that know nothing but their version."""

    def load(self, spec: ModelSpec, version: str) -> FakeLoaded:
        found = registry.find(spec, version)
        predictor = FakePredictor()
        predictor.label = found.label  # type: ignore[attr-defined]
        return FakeLoaded(predictor, found.label, found.number, found.run_id)

    def alias_numbers(self, spec: ModelSpec) -> dict[str, int]:
        return registry.alias_numbers(spec)

    def run_of(self, spec: ModelSpec, number: int) -> str | None:
        return registry.run_of(spec, number)

    def describe(self, spec: ModelSpec) -> Any:
        return registry.describe(spec)

    def origin(self, spec: ModelSpec) -> Origin | None:  # noqa: ARG002
        return Origin("registry", BEGAN)


class ByVersion(FirstAccountCode):
    """Version 1.1 suggests the account that people choose, version 1.0 another one; people decide all."""

    def answer(self, predictor: Any, requests: Sequence[Any]) -> list[Answer]:
        best = ("50100", "Electrical Labor") if predictor.label == "1.1" else ("61000", "Office")
        answers = super().answer(predictor, requests)
        for answer in answers:
            answer.fields["method"] = "ask"
            answer.fields["suggestions"][0] |= {"target_code": best[0], "target_name": best[1], "auto_map": False}
        return answers


def register(folder: Path, features: str) -> str:
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    record = TrainingRecord(role="candidate", seed=7, data_until=BEGAN, feature_hash=features, code_hash="c")
    return registration.register(COST_CODE_MAPPING, folder, record).label


def test_from_assignment_to_champion(
    client: TestClient, platform: dict[str, str], runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Assignment, predictions, people's decisions, a look, approval, and the new champion answers everyone."""
    start_registry()
    assert [register(tmp_path / one, one) for one in ("first", "second")] == ["1.0", "1.1"]
    registry.promote(registry.find(COST_CODE_MAPPING, "1.0"), registry.CHAMPION)
    monkeypatch.setattr(runtime.predictors, "source", RegistrySource())
    monkeypatch.setitem(vars(runtime.predictions[MODEL]), "_code", ByVersion())
    runtime.predictors.refresh()
    companies = [f"e-{number}" for number in range(40)]
    for company in companies:
        add_company(company)

    variants = {
        "control": {"model_version": "1.0", "percentage": 50},
        "treatment": {"model_version": "1.1", "percentage": 50},
    }
    assert post(client, ROUTE, {**BODY, "variants": variants}, platform).status_code == 200
    with transaction() as session:
        ledger.find(session, BODY["name"]).salt = "salt"  # so that the test repeats
    assert runtime.arms.refresh()

    codes = ("ELEC-105", "ELEC-110", "ELEC-120")
    base = {name: value for name, value in MAPPING_INPUT.items() if name != "target_accounts"}
    inputs = [{**base, "company_id": company, "crewflow_cost_code": code} for company in companies for code in codes]
    answer = client.post(f"/v1/{MODEL}/predict_batch", json={"inputs": inputs}, headers=platform)
    assert answer.status_code == 200, answer.text
    assert runtime.log.flush(within_seconds=5)
    people = random.Random(1)
    for number, (sent, one) in enumerate(zip(inputs, answer.json()["predictions"], strict=True)):
        target = "50100" if people.random() < 0.9 else "50200"
        accepted = target == one["suggestions"][0]["target_code"]
        decision = {
            "company_id": sent["company_id"],
            "system": "quickbooks",
            "source_code": sent["crewflow_cost_code"],
            "target_code": target,
            "decided_by": "u-1",
            "prediction_id": one["prediction_id"],
        }
        route = f"/v1/mappings/{'accept' if accepted else 'correct'}"
        decided = post(client, route, decision, platform, f"d-{number}")
        assert decided.status_code == 200, decided.text

    row, taken = look("mapping-model-v2")
    assert (taken.verdict, row.winner) == ("winner", "treatment"), taken.why
    shown = client.get(f"{ROUTE}/mapping-model-v2", headers=platform).json()
    assert shown["winner"] == "treatment"
    assert sum(arm["companies"] for arm in shown["variants"]) == 40
    assert shown["results"][0]["low"] > 0.5

    ledger.approve("mapping-model-v2", by="dana", why="shown to be better")
    assert registry.find(COST_CODE_MAPPING, registry.CHAMPION).label == "1.1"
    runtime.predictors.refresh()
    runtime.arms.refresh()
    for company in companies[:10]:
        body = {**base, "company_id": company, "crewflow_cost_code": "ELEC-105"}
        last = client.post(f"/v1/{MODEL}/predict", json=body, headers=platform).json()
        assert (last["model_version"], last["variant"]) == ("1.1", "champion")
    shown = client.get(f"{ROUTE}/mapping-model-v2", headers=platform).json()
    assert (shown["state"], shown["ended_reason"], shown["approved_by"]) == ("ended", "approved", "dana")
    with reading() as session:
        done = session.scalars(
            select(AuditEntry.action).where(AuditEntry.subject_type == "experiment").order_by(AuditEntry.id)
        )
        assert list(done) == ["experiment.start", "experiment.propose", "experiment.end"]
        [moved] = session.scalars(select(Promotion).where(Promotion.method == "experiment"))
        assert (moved.from_label, moved.to_label, moved.decided_by) == ("1.0", "1.1", "dana")


def test_a_champion_that_was_not_compared_is_not_replaced(
    client: TestClient, platform: dict[str, str], tmp_path: Path
) -> None:
    start_registry()
    assert [register(tmp_path / one, one) for one in ("a", "b", "c")] == ["1.0", "1.1", "1.2"]
    registry.promote(registry.find(COST_CODE_MAPPING, "1.1"), registry.CHAMPION)
    assert post(client, ROUTE, BODY, platform).status_code == 200
    promote(COST_CODE_MAPPING, "1.0", by="eve", why="urgent", method="approval")
    with transaction() as session:
        ledger.propose(session, ledger.find(session, BODY["name"]), "treatment", by="experiments", why="better")
    with pytest.raises(ConflictError, match=r"is 1\.0 by now, which .* rollback cost_code_mapping --to 1\.2"):
        ledger.approve(BODY["name"], by="dana", why="why not")
    assert registry.find(COST_CODE_MAPPING, registry.CHAMPION).label == "1.0"
