"""Who a company is: its trade, size, accounting system, habits, and when it came to the platform."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from crewflow_assets.twin.conventions import CONVENTIONS
from crewflow_assets.twin.parameters import WINDOW_DAYS, TwinParameters
from crewflow_assets.twin.randomness import Randomness, chance, lognormal, pick, pick_weighted
from crewflow_assets.twin.records import AccountingSystem
from crewflow_assets.twin.vocabulary import trades, word_list
from crewflow_assets.twin.wording import Habits, draw_habits

GOLDEN = 0.6180339887498949
SMALLEST, LARGEST = 4, 900
RECENT_DAYS = 15


@dataclass(frozen=True, slots=True)
class Profile:
    """What is settled about a company before its lists are written. ``size`` is in employees."""

    id: str
    name: str
    industry: str
    size: int
    system: AccountingSystem
    onboarded_at: datetime
    convention: str
    core: tuple[str, ...]
    related: tuple[str, ...]
    subs: tuple[str, ...]
    project_types: tuple[str, ...]
    habits: Habits
    numbered: bool
    typed_codes: bool
    labor_only: bool
    service: bool
    described: bool

    @property
    def general(self) -> bool:
        """Whether the company runs whole jobs and buys most trades in."""
        return len(self.subs) > len(self.core) + len(self.related)

    @property
    def support(self) -> tuple[str, ...]:
        """The parts of the costs around the trades: every company has them all."""
        return tuple(trade.id for trade in trades().values() if not trade.direct)

    @property
    def performed(self) -> tuple[str, ...]:
        """The trades of the company, its own crews' before those that it buys in."""
        return self.core + self.related + self.subs


def draw_profile(randomness: Randomness, index: int, end: datetime, parameters: TwinParameters) -> Profile:
    """Return the company numbered ``index`` (from 1) of a world whose history ends at ``end``."""
    company = f"c-{index}"
    rng = randomness.generator(company, "profile")
    industries: Mapping[str, Any] = word_list("industries")
    industry = pick_weighted(rng, {name: entry["weight"] for name, entry in industries.items()})
    entry = industries[industry]
    size = int(np.clip(lognormal(rng, parameters.employees_median, parameters.employees_sigma), SMALLEST, LARGEST))
    types = entry["project_types"]
    system = _system(rng, parameters)
    return Profile(
        id=company,
        name=_name(rng, entry["names"]),
        industry=industry,
        size=size,
        system=system,
        onboarded_at=_onboarded(randomness, index, end, parameters),
        convention=_convention(rng, industry, parameters),
        core=tuple(entry["core"]),
        related=tuple(trade for trade in entry["related"] if chance(rng, 0.75)),
        subs=tuple(trade for trade in entry["subs"] if chance(rng, 0.92 if len(entry["subs"]) > 5 else 0.6)),
        project_types=tuple(types[: 1 + int(rng.random() * len(types))]),
        habits=draw_habits(rng, parameters.typo_rate),
        numbered=system != "quickbooks" or chance(rng, parameters.account_numbers_share),
        typed_codes=chance(rng, parameters.typed_codes_share),
        labor_only=chance(rng, parameters.labor_only_share),
        service="service" in types and chance(rng, parameters.service_share),
        described=chance(rng, parameters.described_share),
    )


def _system(rng: np.random.Generator, parameters: TwinParameters) -> AccountingSystem:
    rest = 1 - parameters.quickbooks_share
    shares: dict[AccountingSystem, float] = {
        "quickbooks": parameters.quickbooks_share,
        "sage": rest * parameters.sage_share_of_rest,
        "xero": rest * (1 - parameters.sage_share_of_rest),
    }
    return pick_weighted(rng, shares)


def _convention(rng: np.random.Generator, industry: str, parameters: TwinParameters) -> str:
    weights = {name: float(getattr(parameters, f"weight_{name}")) for name in CONVENTIONS}
    if industry in ("general contractor", "home builder"):
        weights["by_phase"] *= 2
        weights["by_trade"] *= 1.5
    return pick_weighted(rng, weights)


def _name(rng: np.random.Generator, words: list[str]) -> str:
    names = word_list("names")
    trade = pick(rng, words)
    match int(rng.random() * 10):
        case 0 | 1:
            return f"{pick(rng, names['surnames'])} & {pick(rng, names['surnames'])} {trade}"
        case 2 | 3 | 4 | 5:
            return f"{pick(rng, names['surnames'])} {trade}{pick(rng, names['suffixes'])}"
        case _:
            return f"{pick(rng, names['places'])} {trade}{pick(rng, names['suffixes'][:6])}"


def _onboarded(randomness: Randomness, index: int, end: datetime, parameters: TwinParameters) -> datetime:
    """Return when the company came: spread evenly by the golden ratio, whatever number of companies there is."""
    rng = randomness.generator(f"c-{index}", "onboarding")
    if chance(rng, parameters.recent_share):
        days = 1 + (RECENT_DAYS - 1) * rng.random()
    else:
        share = (randomness.uniform("world", "onboarding") + index * GOLDEN) % 1.0
        days = RECENT_DAYS + share * (WINDOW_DAYS - RECENT_DAYS - 1)
    return end - timedelta(days=days)
