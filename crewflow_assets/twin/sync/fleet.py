"""The integrations: whose they are, when they sync, how many records and calls they make."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints
from crewflow_assets.twin.companies import LARGEST, SMALLEST
from crewflow_assets.twin.parameters import DEFAULTS as MAPPING_DEFAULTS
from crewflow_assets.twin.randomness import Randomness, chance, lognormal, pick_weighted
from crewflow_assets.twin.records import AccountingSystem
from crewflow_assets.twin.sync.parameters import INTERVALS, LIMITS, SYSTEMS, TICK_MINUTES, SyncParameters

ZONES = (-5, -6, -7, -8)
"""Hours from UTC: the four of the contiguous United States, summer time left out."""

SPARE_QUOTA = 0.75
"""An integration is not set to an interval at which its polling alone would use more of the day's calls."""


@dataclass(frozen=True, slots=True)
class Customer:
    """An integration as the world is told of it. ``since`` is its first day, counted from the world's beginning."""

    integration_id: str
    company_id: str
    system: AccountingSystem
    employees: int
    since: int = 0


def draw_customers(randomness: Randomness, count: int) -> Iterator[Customer]:
    """Yield integrations "i-1", "i-2" … of the companies "c-1", "c-2" …, when there is no world of mappings."""
    mapping = MAPPING_DEFAULTS
    rest = 1 - mapping.quickbooks_share
    shares: dict[AccountingSystem, float] = {
        "quickbooks": mapping.quickbooks_share,
        "sage": rest * mapping.sage_share_of_rest,
        "xero": rest * (1 - mapping.sage_share_of_rest),
    }
    for number in range(1, count + 1):
        rng = randomness.generator(f"i-{number}", "customer")
        size = lognormal(rng, mapping.employees_median, mapping.employees_sigma)
        system = pick_weighted(rng, shares)
        yield Customer(f"i-{number}", f"c-{number}", system, int(np.clip(size, SMALLEST, LARGEST)))


@dataclass(frozen=True, slots=True)
class Fleet:
    """The integrations of all draws, one element each.

    Attributes:
        customers: Who they are; ids repeat from draw to draw.
        draw: Which draw of the world each belongs to.
        system: Index into ``SYSTEMS``.
        server: Index of the API server: one for each draw and system.
        interval: Ticks between two syncs.
        phase: Tick of the day's grid at which it syncs, below ``interval``.
        minute: Of the tick, in [0, 14).
        zone: Index into ``ZONES``.
        place: Where in [0, 1) it lies among the customers of its API; an outage touches a range of them.
        records: On a working day.
        polling: Calls of a sync without records.
        latency: Its own factor on the latency of its API.
        has_others: Whether other apps use the same limit.
        nightly: Local hour at which the other apps' nightly job begins; negative without one.
        rigid: Whether its grant ends after its life.
        granted_days: Age of its grant at the beginning, in days.
    """

    customers: tuple[Customer, ...]
    draw: Ints
    system: Ints
    server: Ints
    interval: Ints
    phase: Ints
    minute: Floats
    zone: Ints
    place: Floats
    records: Floats
    polling: Floats
    latency: Floats
    has_others: Bools
    nightly: Floats
    rigid: Bools
    granted_days: Floats

    def __len__(self) -> int:
        return len(self.customers)

    def limit(self, name: str) -> Floats:
        """Return one field of ``ApiLimits`` for each integration; None becomes infinity."""
        values = [getattr(LIMITS[system], name) for system in SYSTEMS]
        return np.array([np.inf if value is None else float(value) for value in values])[self.system]

    def spread(self, parameters: Sequence[SyncParameters], value: Callable[[SyncParameters], float]) -> Floats:
        """Return a parameter of each integration's draw."""
        return np.array([value(each) for each in parameters])[self.draw]


def build_fleet(
    draws: Sequence[tuple[Randomness, Sequence[Customer], SyncParameters]],
) -> Fleet:
    """Return the integrations of all draws, in the order given. A customer does not depend on who else there is."""
    columns: dict[str, list[float]] = {}
    customers: list[Customer] = []
    for number, (randomness, members, parameters) in enumerate(draws):
        for customer in members:
            customers.append(customer)
            traits = _traits(randomness.generator(customer.integration_id, "traits"), customer, parameters)
            system = SYSTEMS.index(customer.system)
            server = number * len(SYSTEMS) + system
            for name, value in {**traits, "draw": number, "system": system, "server": server}.items():
                columns.setdefault(name, []).append(value)
    return Fleet(
        customers=tuple(customers),
        **{entry.name: np.array(columns[entry.name], dtype=_DTYPES[entry.name]) for entry in fields(Fleet)[1:]},
    )


_DTYPES: Mapping[str, Any] = {
    **dict.fromkeys(("place", "minute", "records", "polling", "latency", "nightly", "granted_days"), np.float64),
    **dict.fromkeys(("draw", "system", "server", "interval", "phase", "zone"), np.int64),
    **dict.fromkeys(("has_others", "rigid"), np.bool_),
}


def _traits(rng: np.random.Generator, customer: Customer, parameters: SyncParameters) -> dict[str, float]:
    limits = LIMITS[customer.system]
    polling = float(
        np.round(np.clip(lognormal(rng, parameters.polling_calls_median, parameters.polling_calls_sigma), 3, 80))
    )
    fits = {
        minutes: share
        for minutes, share in INTERVALS.items()
        if limits.calls_per_day is None or polling * 1440 / minutes <= SPARE_QUOTA * limits.calls_per_day
    }
    interval = pick_weighted(rng, fits) // TICK_MINUTES
    has_nightly = chance(rng, parameters.nightly_share)
    hour = 1 + 4 * rng.random()
    return {
        "interval": interval,
        "phase": int(rng.random() * interval),
        "minute": 14 * rng.random(),
        "zone": int(rng.random() * len(ZONES)),
        "place": rng.random(),
        "records": customer.employees * lognormal(rng, parameters.records_per_employee, parameters.records_sigma),
        "polling": polling,
        "latency": lognormal(rng, 1.0, 0.25),
        "has_others": limits.shared and chance(rng, parameters.other_apps_share),
        "nightly": hour if has_nightly else -1.0,
        "rigid": chance(rng, parameters.rigid_token_share),
        "granted_days": limits.token_days * rng.random(),
    }
