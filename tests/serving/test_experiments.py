"""Experiments in the gateway: routes, assignment, loss of the database, and one seen through to its end."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from crewflow_assets.experiments.ledger import Arm, Assignment
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Prediction
from serving.predictors import MOST_PINNED
from serving.runtime import Runtime
from tests.serving.conftest import MAPPING_INPUT, check_problem
from tests.serving.fakes import FakeSource

ECHO = "/v1/echo/predict"
pytestmark = pytest.mark.usefixtures("no_experiment_left")
ROUTE = "/v1/experiments"
MODEL = "cost_code_mapping"
BODY: dict[str, Any] = {
    "name": "mapping-model-v2",
    "model": MODEL,
    "variants": {
        "control": {"model_version": "1.1", "percentage": 50},
        "treatment": {"model_version": "1.2", "percentage": 50},
    },
    "metrics": ["mapping_accuracy", "user_acceptance_rate", "setup_time"],
    "duration_days": 30,
    "decided_by": "dana",
}
ASSIGNED = Assignment("e", "echo", "salt", (Arm("control", "1.0", 50.0), Arm("treatment", "1.2", 50.0)))


def post(client: TestClient, path: str, body: dict[str, Any], headers: dict[str, str], key: str = "k-1") -> Any:
    return client.post(path, json=body, headers={**headers, "Idempotency-Key": key})


@pytest.fixture
def in_experiment(runtime: Runtime, source: FakeSource, monkeypatch: pytest.MonkeyPatch) -> Assignment:
    """The echo model's companies are in an experiment."""
    monkeypatch.setattr(runtime.arms, "_read", lambda: [ASSIGNED])
    assert runtime.arms.refresh()
    assert not runtime.arms.refresh(), "nothing new"
    return ASSIGNED


def asked(client: TestClient, headers: dict[str, str], **body: Any) -> tuple[str, str]:
    answer = client.post(ECHO, json={"text": "hi", **body}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["model_version"], answer.json()["variant"]


def test_the_arm_answers_by_default_and_is_logged(
    client: TestClient, platform: dict[str, str], in_experiment: Assignment, runtime: Runtime
) -> None:
    seen: Counter[str] = Counter()
    for number in range(40):
        arm = in_experiment.arm(f"c-{number}")
        for _ in range(2):
            assert asked(client, platform, company_id=f"c-{number}") == (arm.version, arm.name)
        seen[arm.name] += 2
    assert len(seen) == 2
    assert runtime.log.flush(within_seconds=5)
    with reading() as session:
        logged = Counter(session.scalars(select(Prediction.variant)))
    assert logged == seen


def test_who_names_a_version_or_no_company_is_not_in_it(
    client: TestClient, own: dict[str, str], platform: dict[str, str], in_experiment: Assignment
) -> None:
    arm = in_experiment.arm("c-17")
    assert asked(client, own) == (arm.version, arm.name), "the key names the company"
    assert asked(client, own, version="champion") == ("1.1", "champion")
    assert asked(client, own, version="challenger") == ("1.2", "challenger")
    assert asked(client, own, version="1.0") == ("1.0", "pinned")
    assert asked(client, platform) == ("1.1", "champion")


def test_a_batch_of_many_companies_goes_to_both_arms(
    client: TestClient, platform: dict[str, str], in_experiment: Assignment
) -> None:
    companies = [f"c-{number}" for number in range(30)]
    inputs = [{"text": company, "company_id": company} for company in companies] + [{"text": "none"}]
    answer = client.post("/v1/echo/predict_batch", json={"inputs": inputs}, headers=platform)
    predictions = answer.json()["predictions"]
    assert [one["said"] for one in predictions] == [*companies, "none"]
    arms = [in_experiment.arm(company) for company in companies]
    assert [(one["model_version"], one["variant"]) for one in predictions] == [
        *((arm.version, arm.name) for arm in arms),
        ("1.1", "champion"),
    ]


def test_arms_stay_loaded_while_others_are_pinned(
    client: TestClient, own: dict[str, str], in_experiment: Assignment, source: FakeSource
) -> None:
    source.labels |= {number: f"1.{number}" for number in range(10, 10 + 2 * MOST_PINNED)}
    for number in range(10, 10 + 2 * MOST_PINNED):
        assert asked(client, own, version=f"1.{number}")[1] == "pinned"
    loads = source.loads
    source.broken = True
    assert asked(client, own)[1] == in_experiment.arm("c-17").name
    assert source.loads == loads
    loaded = client.get("/v1/models", headers=own).json()["models"][0]["loaded"]
    assert {"1.0", "1.2"} <= {one["asked_as"] for one in loaded}


def test_an_arm_that_cannot_be_loaded_leaves_the_champion_in_place(
    client: TestClient, own: dict[str, str], runtime: Runtime, source: FakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Assignment("e", "echo", "salt", (Arm("control", "1.0", 50.0), Arm("treatment", "7.7", 50.0)))
    monkeypatch.setattr(runtime.arms, "_read", lambda: [unknown])
    assert not runtime.arms.refresh()
    assert asked(client, own) == ("1.1", "champion")
    source.labels[7] = "7.7"
    assert runtime.arms.refresh(), "it is tried again"
    assert asked(client, own)[1] == unknown.arm("c-17").name


@pytest.mark.parametrize("then", [None, Assignment("f", "echo", "s", (Arm("control", "1.1", 50.0),) * 2)])
def test_what_is_asked_while_an_experiment_ends_or_changes_needs_no_registry(
    client: TestClient,
    platform: dict[str, str],
    runtime: Runtime,
    source: FakeSource,
    in_experiment: Assignment,
    then: Assignment | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    company = next(f"c-{number}" for number in range(40) if in_experiment.arm(f"c-{number}").version == "1.0")
    hold = runtime.predictors.hold
    meanwhile: list[tuple[str, str]] = []

    def hold_and_be_asked(spec: ModelSpec, labels: Collection[str]) -> None:
        hold(spec, labels)
        if spec.name == "echo":
            meanwhile.append(asked(client, platform, company_id=company))

    monkeypatch.setattr(runtime.predictors, "hold", hold_and_be_asked)
    monkeypatch.setattr(runtime.arms, "_read", lambda: [then] if then else [])
    source.broken = True
    runtime.arms.refresh()
    assert meanwhile == [("1.0", "control")], "assigned still"
    spec = next(spec for spec in runtime.specs if spec.name == "echo")
    assert "1.0" in runtime.predictors.loaded(spec), "one that was assigned just before may still need it"
    runtime.arms.refresh()
    assert meanwhile[1:] == [("1.1", "control" if then else "champion")]
    assert "1.0" not in runtime.predictors.loaded(spec)


def test_while_the_database_is_away_the_experiment_goes_on(
    client: TestClient,
    own: dict[str, str],
    runtime: Runtime,
    in_experiment: Assignment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away() -> Sequence[Assignment]:
        raise OSError("the database is away")

    monkeypatch.setattr(runtime.arms, "_read", away)
    assert not runtime.arms.refresh()
    assert asked(client, own)[1] == in_experiment.arm("c-17").name
    monkeypatch.setattr(runtime.arms, "_read", list)
    runtime.arms.refresh()
    assert asked(client, own) == ("1.1", "champion"), "it has ended"


def test_starting_showing_and_stopping(
    client: TestClient, platform: dict[str, str], runtime: Runtime, source: FakeSource
) -> None:
    started = post(client, ROUTE, BODY, platform)
    assert started.status_code == 200, started.text
    state = started.json()
    assert (state["state"], state["started_by"], state["verdict"], state["winner"]) == ("running", "dana", None, None)
    assert [(one["name"], one["model_version"], one["companies"]) for one in state["variants"]] == [
        ("control", "1.1", None),
        ("treatment", "1.2", None),
    ]
    again = post(client, ROUTE, BODY, platform)
    assert again.json() == state
    assert again.headers["idempotent-replayed"] == "true"
    check_problem(post(client, ROUTE, BODY, platform, "k-2"), 409, "choose another name")
    second = {**BODY, "name": "second"}
    check_problem(post(client, ROUTE, second, platform, "k-3"), 409, "is in the experiment 'mapping-model-v2'")
    assert client.get(f"{ROUTE}/mapping-model-v2", headers=platform).json() == state
    assert client.get(ROUTE, headers=platform).json() == {"experiments": [state]}
    assert runtime.arms.refresh()
    predicted = client.post(
        f"/v1/{MODEL}/predict", json={**MAPPING_INPUT, "company_id": "c-17"}, headers=platform
    ).json()
    assert predicted["variant"] in ("control", "treatment")
    why = {"reason": "customers complain", "decided_by": "lee"}
    stopped = post(client, f"{ROUTE}/mapping-model-v2/stop", why, platform, "k-4").json()
    assert (stopped["state"], stopped["ended_reason"], stopped["ended_by"]) == ("ended", "stopped", "lee")
    check_problem(post(client, f"{ROUTE}/mapping-model-v2/stop", why, platform, "k-5"), 409, "ended already")
    runtime.arms.refresh()
    predicted = client.post(
        f"/v1/{MODEL}/predict", json={**MAPPING_INPUT, "company_id": "c-17"}, headers=platform
    ).json()
    assert predicted["variant"] == "champion"


def test_what_is_refused(
    client: TestClient, platform: dict[str, str], own: dict[str, str], source: FakeSource
) -> None:
    source.aliases["champion"] = 1
    check_problem(post(client, ROUTE, BODY, platform), 400, "no arm is 1.0, the champion of cost_code_mapping")
    source.aliases["champion"] = 2
    problem = check_problem(post(client, ROUTE, {**BODY, "metrics": ["clicks"]}, platform), 400, "mapping_accuracy")
    assert problem["errors"][0]["loc"] == ["metrics", 0]
    check_problem(post(client, ROUTE, {**BODY, "model": "weather"}, platform), 404, "weather")
    check_problem(post(client, ROUTE, {**BODY, "decided_by": ""}, platform), 400, "decided_by")
    check_problem(client.post(ROUTE, json=BODY, headers=platform), 400, "Idempotency-Key")
    check_problem(client.get(f"{ROUTE}/nothing", headers=platform), 404, "'nothing'")
    source.broken = True
    check_problem(post(client, ROUTE, BODY, platform), 503, "registry cannot be read")
    for answer in (
        post(client, ROUTE, BODY, own),
        post(client, f"{ROUTE}/e/stop", {"reason": "x", "decided_by": "u"}, own),
        client.get(ROUTE, headers=own),
        client.get(f"{ROUTE}/e", headers=own),
    ):
        check_problem(answer, 403, "platform key")
