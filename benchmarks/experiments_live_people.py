"""The people of the live experiment: they know what is right, and decide over HTTP on what is suggested."""

import random
from collections.abc import Sequence
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any

from benchmarks.experiments_live_stage import Customer
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING

if TYPE_CHECKING:
    import httpx

FOLLOW_SECONDS = 60.0
"""Within this the services follow a start, or a promotion."""


def asked(customer: Customer, place: int) -> dict[str, Any]:
    """Return the request about a company's code of a place."""
    code = customer.codes[place]
    body = {
        "company_id": customer.company_id,
        "target_system": customer.system,
        "company_industry": customer.industry,
        "crewflow_cost_code": code.code,
        "cost_code_name": code.name,
        "cost_code_group": code.group,
        "cost_code_description": code.description,
    }
    return {name: value for name, value in body.items() if value is not None}


def order_of(customer: Customer) -> list[int]:
    """Return in which order a company decides its codes, the same in every run."""
    return random.Random(customer.company_id).sample(range(len(customer.codes)), len(customer.codes))


class Person:
    """Somebody in each company who knows what is right, and decides on what is suggested."""

    def __init__(self, http: "httpx.Client") -> None:
        self._http = http

    def predict(self, customer: Customer, place: int) -> dict[str, Any]:
        """Return what is suggested."""
        return self._post(f"/v1/{COST_CODE_MAPPING.name}/predict", asked(customer, place), {})

    def decide(self, customer: Customer, places: Sequence[int]) -> int:
        """Ask about codes, accept what is right and correct what is not; return how many."""
        for place in places:
            suggested, code = self.predict(customer, place), customer.codes[place]
            first = suggested["suggestions"][0]["target_code"] if suggested["suggestions"] else None
            body = {
                "company_id": customer.company_id,
                "kind": "cost_code",
                "system": customer.system,
                "source_code": code.code,
                "target_code": code.right,
                "decided_by": "pat",
                "prediction_id": suggested["prediction_id"],
            }
            key = {"Idempotency-Key": f"{customer.company_id}-{code.code}"}
            self._post(f"/v1/mappings/{'accept' if first == code.right else 'correct'}", body, key)
        return len(places)

    def seconds_until(
        self, customer: Customer, place: int, variants: Sequence[str], version: str | None = None
    ) -> float:
        """Ask until one of the variants answers, as a version where one is named, and return how long that took.

        Raises:
            RuntimeError: it takes more than a minute.
        """
        began = perf_counter()
        while perf_counter() - began < FOLLOW_SECONDS:
            answer = self.predict(customer, place)
            if answer["variant"] in variants and version in (None, answer["model_version"]):
                return perf_counter() - began
            sleep(0.25)
        raise RuntimeError(
            f"after {FOLLOW_SECONDS:.0f} s {customer.company_id} is still answered by {answer['variant']}"
        )

    def _post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        answer = self._http.post(path, json=body, headers=headers)
        if answer.status_code != 200:
            raise RuntimeError(f"POST {path} was answered {answer.status_code}: {answer.text[:500]}")
        found: dict[str, Any] = answer.json()
        return found
