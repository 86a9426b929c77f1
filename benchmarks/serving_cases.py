"""What the serving benchmark asks of each model: another model is another entry in ``CASES``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks import serving_world
from crewflow_assets import clock
from crewflow_assets.conflict_resolution.model_spec import CONFLICT_RESOLUTION
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.integration_health.model_spec import INTEGRATION_HEALTH_FORECAST
from crewflow_assets.retry_strategy.model_spec import RETRY_STRATEGY
from crewflow_assets.spec import ModelSpec, Predictor
from crewflow_assets.sync_health.model_spec import SYNC_HEALTH
from crewflow_assets.twin.vocabulary import Concept, Trade, trades

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from crewflow_assets.ingest.rows import AccountRow, CostCodeRow

Inputs = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Probe:
    """A single request of some inputs that has a limit in seconds; the first one, which prepares, is told apart."""

    name: str
    size: int
    inputs: Callable[[int, int], Inputs]
    limit_seconds: float
    times: int = 10
    """How often it is asked; the slowest counts, of more than a hundred the 99th percentile."""
    slow_start: bool = False
    """Takes minutes to prepare, so ``--quick`` leaves it out unless it is asked for by ``--large``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model, a fit that is good enough to be served, what it needs in the store, and what it is asked.

    ``inputs(first, count)`` are unlike each other, and those of any other range, where ``texts`` is true: then what
    repeats is measured apart. ``fit`` gets whether it is to be a small one, ``write`` that too, and whether the large
    chart is asked for. ``parts`` says how many seconds each part of a single answer took, in process.
    ``design`` is the application of the requirements' own design.
    """

    spec: ModelSpec
    fit: Callable[[bool], Predictor]
    write: Callable[[bool, bool], None]
    inputs: Callable[[int, int], Inputs]
    parts: Callable[[ModelSpec, Predictor, Inputs], Mapping[str, list[float]]]
    probes: tuple[Probe, ...] = ()
    design: str | None = None
    texts: bool = False


COMPANY, LARGE = "benchmark", "benchmark-large"
SYSTEM = "quickbooks"
ACCOUNTS, MANY_ACCOUNTS, MAPPED = 500, 50_000, 200
COMPANIES, FEW_COMPANIES = 24, 6
PLACES = "north south east west upper lower lobby garage roof annex level tower".split()


def _fit_mapping(quick: bool) -> Predictor:
    from benchmarks.mapping_world import fit_on_world

    return fit_on_world(FEW_COMPANIES if quick else COMPANIES)


def _concepts() -> list[tuple[Trade, Concept]]:
    return [(trade, concept) for trade in trades().values() for concept in trade.concepts]


def _accounts(count: int) -> "list[AccountRow]":
    """Return a chart in which every trade's costs stand by cost type, and then again by place."""
    from crewflow_assets.ingest.rows import AccountRow

    places = ["", *(f" {place} {number}".rstrip() for number, place in product(range(1, 200), PLACES))]
    names = (
        (f"{concept.names[0]} {kind}{place}", trade.accounts[0], concept.direct)
        for place in places
        for trade, concept in _concepts()
        for kind in concept.cost_types
    )
    return [
        AccountRow(
            code=str(100_000 + number), name=name, type="Cost of Goods Sold" if direct else "Expense", parent=parent
        )
        for number, (name, parent, direct) in zip(range(count), names, strict=False)
    ]


def _codes(first: int, count: int) -> "list[CostCodeRow]":
    from crewflow_assets.ingest.rows import CostCodeRow

    concepts = _concepts()
    found = []
    for number in range(first, first + count):
        chance = Random(number)
        trade, concept = chance.choice(concepts)
        name = f"{chance.choice(concept.names)} {chance.choice(PLACES)} {chance.choice(concept.cost_types)} {number}"
        found.append(
            CostCodeRow(code=f"{trade.number}-{number:06d}", name=name, description=None, group=trade.accounts[0])
        )
    return found


def _write_mapping(_small: bool, large: bool) -> None:
    from crewflow_assets.store.database import transaction

    with transaction() as session:
        _write_companies(session, large)


def _write_companies(session: "Session", large: bool) -> None:
    from crewflow_assets.cost_code_mapping.posted import EVENT_HANDLERS
    from crewflow_assets.ingest.event_kinds import EventIn
    from crewflow_assets.ingest.events import record_events
    from crewflow_assets.ingest.files import import_rows

    at = clock.now() - timedelta(days=30)
    for company, size in ((COMPANY, ACCOUNTS), *(((LARGE, MANY_ACCOUNTS),) if large else ())):
        accounts, codes = _accounts(size), _codes(0, MAPPED)
        with clock.fixed(at):
            import_rows(session, "accounts", company, SYSTEM, accounts, company_name="Benchmark", industry="general")
            import_rows(session, "cost_codes", company, None, codes)
        events = [
            EventIn(
                event_id=f"{company}-{code.code}",
                kind="mapping_decision",
                company_id=company,
                occurred_at=at + timedelta(minutes=number),
                payload={
                    "system": SYSTEM,
                    "source_code": code.code,
                    "action": "accept",
                    "target_code": Random(number).choice(accounts).code,
                    "decided_by": "benchmark",
                },
            )
            for number, code in enumerate(codes, start=1)
        ]
        record_events(session, events, handlers=EVENT_HANDLERS)


def _asking(company: str) -> Callable[[int, int], Inputs]:
    def inputs(first: int, count: int) -> Inputs:
        return [
            {
                "crewflow_cost_code": code.code,
                "cost_code_name": code.name,
                "cost_code_group": code.group,
                "company_industry": "general",
                "company_id": company,
                "target_system": SYSTEM,
            }
            for code in _codes(MAPPED + first, count)
        ]

    return inputs


def _mapping_parts(spec: ModelSpec, predictor: Predictor, inputs: Inputs) -> Mapping[str, list[float]]:
    from crewflow_assets.cost_code_mapping.text import unordered
    from crewflow_assets.encoder import encoder

    def encode(request: Any) -> None:
        encoder().encode([unordered(request.cost_code_name)])

    code, requests = spec.code(), [spec.request_type.model_validate(one) for one in inputs]
    code.answer(predictor, requests[:1])
    return {
        "encode": timed(encode, requests[1:]),
        "features, ranking, reasons": timed(lambda request: code.answer(predictor, [request]), requests[1:]),
    }


def timed(work: Callable[[Any], object], each: Sequence[Any]) -> list[float]:
    """Return the seconds that the work took on each."""
    from time import perf_counter

    seconds = []
    for one in each:
        began = perf_counter()
        work(one)
        seconds.append(perf_counter() - began)
    return seconds


def _whole(spec: ModelSpec, predictor: Predictor, inputs: Inputs) -> Mapping[str, list[float]]:
    """Time the model's answer as one part."""
    code, requests = spec.code(), [spec.request_type.model_validate(one) for one in inputs]
    code.answer(predictor, requests[:1])
    return {"features, model, reasons": timed(lambda request: code.answer(predictor, [request]), requests[1:])}


def _of_world(spec: ModelSpec, inputs: Callable[[int, int], Inputs], *probes: Probe) -> Case:
    return Case(
        spec=spec,
        fit=lambda _quick: serving_world.fit_on_store(spec),
        write=lambda small, _large: serving_world.write_world(small),
        inputs=inputs,
        parts=_whole,
        probes=probes,
    )


CASES: dict[str, Case] = {
    COST_CODE_MAPPING.name: Case(
        spec=COST_CODE_MAPPING,
        fit=_fit_mapping,
        write=_write_mapping,
        inputs=_asking(COMPANY),
        parts=_mapping_parts,
        probes=(
            Probe("200 codes in one batch, 500 accounts", 200, _asking(COMPANY), 2.0),
            Probe("1 code, 50,000 accounts", 1, _asking(LARGE), 1.0, slow_start=True),
        ),
        design="benchmarks.serving_design:app",
        texts=True,
    ),
    SYNC_HEALTH.name: _of_world(
        SYNC_HEALTH,
        serving_world.integrations,
        Probe("1 integration, from the store", 1, serving_world.integrations, 0.06, times=300),
    ),
    CONFLICT_RESOLUTION.name: _of_world(CONFLICT_RESOLUTION, serving_world.conflicts),
    RETRY_STRATEGY.name: _of_world(RETRY_STRATEGY, serving_world.failures),
    INTEGRATION_HEALTH_FORECAST.name: _of_world(INTEGRATION_HEALTH_FORECAST, serving_world.metrics),
}
