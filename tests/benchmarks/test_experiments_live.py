"""The live experiment's people and report; its stage is the platform itself."""

import json
from collections.abc import Sequence

import httpx
import pytest
from rich.progress import Progress
from sqlalchemy import Engine

from benchmarks import experiments_live, experiments_live_people
from benchmarks.experiments_live import Look, SeenThrough, table
from benchmarks.experiments_live_people import Person, asked, order_of
from benchmarks.experiments_live_stage import Code, Customer, Versions
from crewflow_assets.experiments import ledger
from crewflow_assets.experiments.config import ExperimentConfig
from crewflow_assets.store.database import reading, transaction

CODES = tuple(Code(f"k-{place}", f"Item {place}", None, None, str(100 + place)) for place in range(5))
CUSTOMER = Customer("live-1", "quickbooks", "electrical", CODES)


def gateway(calls: list[tuple[str, dict[str, object]]], **said: object) -> Person:
    def answer(request: httpx.Request) -> httpx.Response:
        calls.append((request.url.path, json.loads(request.content)))
        suggested = {"suggestions": [{"target_code": "101"}], "prediction_id": "p-1", **said}
        return httpx.Response(200, json=suggested if request.url.path.endswith("predict") else {})

    return Person(httpx.Client(base_url="http://gateway", transport=httpx.MockTransport(answer)))


def test_what_is_right_is_accepted_and_the_rest_corrected() -> None:
    calls: list[tuple[str, dict[str, object]]] = []
    assert gateway(calls).decide(CUSTOMER, [1, 2]) == 2
    decided = [(path, body["target_code"], body["prediction_id"]) for path, body in calls if "prediction_id" in body]
    assert decided == [("/v1/mappings/accept", "101", "p-1"), ("/v1/mappings/correct", "102", "p-1")]


def test_a_request_leaves_out_what_the_list_does_not_say() -> None:
    assert "cost_code_group" not in asked(CUSTOMER, 0)


def test_every_code_is_decided_once_in_an_order_of_the_company() -> None:
    order = order_of(CUSTOMER)
    assert sorted(order) == list(range(5))
    assert order == order_of(CUSTOMER)


def test_the_new_champion_is_told_by_variant_and_version(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gateway([], variant="champion", model_version="1.1")
    assert right.seconds_until(CUSTOMER, 0, ("champion",), "1.1") < experiments_live_people.FOLLOW_SECONDS
    monkeypatch.setattr(experiments_live_people, "FOLLOW_SECONDS", 0.3)
    with pytest.raises(RuntimeError, match="still answered by champion"):
        right.seconds_until(CUSTOMER, 0, ("champion",), "1.0")


def test_a_refusal_ends_the_run() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(409, text="decided otherwise"))
    with pytest.raises(RuntimeError, match="409: decided otherwise"):
        Person(httpx.Client(base_url="http://gateway", transport=transport)).predict(CUSTOMER, 0)


def test_the_table_tells_looks_without_numbers_and_no_winner() -> None:
    early = Look(0.5, (4, 3), 20, None, None, None, None, None, "open")
    late = Look(9.0, (50, 52), 2000, 0.3, 0.45, 0.15, 0.02, 0.28, "winner")
    seen = SeenThrough(
        versions=Versions("1.0", "1.1"),
        companies=110,
        decisions=2000,
        minutes=9.0,
        looks=[early, late],
        taken_up_seconds=2.0,
        winner="treatment",
        followed_seconds=3.0,
        trainings=["corrections: 21 corrections (done)"],
    )
    told = table(seen)
    assert "| 0 min | 4, 3 | 20 | –, – | too few companies | open |" in told
    assert "+0.150 [+0.020, +0.280] | winner |" in told
    assert "asked for, corrections: 21 corrections (done)." in told


def test_a_proposed_winner_is_approved_and_asked_for_by_a_company_of_the_other_arm(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[str, ...]] = []
    customers = [Customer(f"live-{number}", "quickbooks", "electrical", CODES) for number in range(40)]

    def crewflow(*words: str) -> str:
        ran.append(words)
        if words[1] == "start":
            config = ExperimentConfig.model_validate(
                {
                    "name": words[2],
                    "model": "cost_code_mapping",
                    "variants": {
                        "control": {"model_version": "1.0", "percentage": 50},
                        "treatment": {"model_version": "1.1", "percentage": 50},
                    },
                    "metrics": list(experiments_live.METRICS),
                    "duration_days": 30,
                }
            )
            with transaction() as session:
                ledger.start(session, config, versions=["1.0", "1.1"], champion="1.0", by="dana")
        return ""

    def look(_dagster: str) -> None:
        with transaction() as session:
            row = ledger.find(session, experiments_live.NAME, lock=True)
            ledger.propose(session, row, "treatment", by="experiments", why="better")

    class Everybody(Person):
        followed: Customer

        def decide(self, _customer: Customer, places: Sequence[int]) -> int:
            return len(places)

        def seconds_until(
            self, customer: Customer, _place: int, variants: Sequence[str], version: str | None = None
        ) -> float:
            assert (tuple(variants), version) in [(("control", "treatment"), None), (("champion",), "1.1")]
            self.followed = customer
            return 1.0

    monkeypatch.setattr(experiments_live, "crewflow", crewflow)
    monkeypatch.setattr(experiments_live, "run_looks", look)
    person = Everybody(httpx.Client())
    with Progress(disable=True) as progress:
        seen = experiments_live.see_through(
            Versions("1.0", "1.1"), customers, person, "", experiments_live.Effort(3, 2), progress
        )
    assert (seen.winner, seen.decisions, seen.followed_seconds, seen.looks) == ("treatment", 80, 1.0, [])
    assert [words[1] for words in ran] == ["start", "approve"]
    with reading() as session:
        assignment = ledger.assignment_of(ledger.find(session, experiments_live.NAME))
    assert assignment.arm(person.followed.company_id).name == "control"
