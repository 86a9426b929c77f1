"""Where a company's receipts go: its projects, and the income accounts that they map to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from crewflow_assets.twin.accounts import Draft
from crewflow_assets.twin.companies import Profile
from crewflow_assets.twin.conventions import Role
from crewflow_assets.twin.parameters import WINDOW_DAYS
from crewflow_assets.twin.randomness import chance, lognormal, pick, pick_weighted, some
from crewflow_assets.twin.records import Project
from crewflow_assets.twin.vocabulary import word_list

INCOME: Role = ("income",)
OTHER_INCOME: Role = ("income", "other")
FEWEST, MOST = 5, 40
"""Projects of a company."""

IncomeLevel = Literal["one", "type", "contract"]


@dataclass(frozen=True, slots=True)
class IncomePlan:
    """How receipts are cut, the project types with an account, and the types booked with another by habit."""

    level: IncomeLevel
    types: tuple[str, ...]
    contracts: tuple[str, ...]
    instead: Mapping[str, str]

    def roles(self, project_type: str, contract: str) -> Iterator[Role]:
        """Yield the roles that a project's receipts would go to, best first; the last is in every chart."""
        if self.level == "type":
            yield ("income", "type", self.instead.get(project_type, project_type))
        if self.level == "contract":
            yield ("income", "contract", contract)
        yield INCOME


@dataclass(frozen=True, slots=True)
class Job:
    """A project with what the platform does not see: how it is billed, and when it starts."""

    project: Project
    project_type: str
    contract: str
    starts: datetime


def draw_income_plan(rng: np.random.Generator, profile: Profile) -> IncomePlan:
    """Return how a company cuts its receipts."""
    levels: dict[IncomeLevel, float] = {"one": 0.3, "type": 0.4, "contract": 0.3}
    types = profile.project_types
    level = pick_weighted(rng, levels)
    contracts = list(word_list("ledger")["income"]["contract"])
    crossing = len(types) > 2 and types[-1] != "service" and chance(rng, 0.5)
    return IncomePlan(
        level=level,
        types=tuple(kind for kind in types if chance(rng, 0.9)),
        contracts=tuple(kind for kind in contracts if chance(rng, 0.85)),
        instead={types[-1]: types[0]} if crossing else {},
    )


def income_drafts(rng: np.random.Generator, plan: IncomePlan, nested: bool) -> Iterator[Draft]:
    """Yield the income accounts: the general one, those of the plan, and some that stand unused."""
    words, by_type = word_list("ledger")["income"], word_list("names")["income_names"]
    yield Draft(INCOME, "Income", tuple(some(rng, words["one"], 9)))
    parent = INCOME if nested and chance(rng, 0.6) else None
    spare = 0.1
    for kind in plan.types:
        if plan.level == "type" or chance(rng, spare):
            yield Draft(("income", "type", kind), "Income", tuple(some(rng, by_type[kind], 9)), parent)
    for contract, names in words["contract"].items():
        if (plan.level == "contract" and contract in plan.contracts) or chance(rng, spare):
            yield Draft(("income", "contract", contract), "Income", tuple(some(rng, names, 9)), parent)
    if chance(rng, 0.6):
        yield Draft(OTHER_INCOME, "Income", tuple(some(rng, words["other"], 9)))


def draw_jobs(rng: np.random.Generator, profile: Profile, end: datetime) -> list[Job]:
    """Return a company's projects by the time of their start, some of them before it came to the platform."""
    number = int(np.clip(lognormal(rng, 5 + 1.6 * profile.size**0.5, 0.4), FEWEST, MOST))
    earliest = profile.onboarded_at - timedelta(days=WINDOW_DAYS / 4)
    span = end - earliest
    starts = sorted(earliest + span * float(share) for share in rng.random(number))
    weights = {kind: 1 / (1 + i) for i, kind in enumerate(profile.project_types)}
    scheme, tells = pick(rng, ("year", "short_year", "letter", "sequence")), chance(rng, 0.7)
    named: set[str] = set()
    jobs: list[Job] = []
    for i, moment in enumerate(starts):
        kind = pick_weighted(rng, weights)
        contract = pick_weighted(rng, word_list("names")["contracts"][kind])
        name, customer = _project_name(rng, kind, contract)
        if name.casefold() in named:
            name = f"{name} - Phase {2 + i % 3}"
        named.add(name.casefold())
        project = Project(
            code=_project_code(scheme, i, moment),
            name=profile.habits.write(rng, name),
            customer=customer if chance(rng, 0.85) else None,
            project_type=kind if tells else None,
        )
        jobs.append(Job(project, kind, contract, moment))
    return jobs


def _project_code(scheme: str, i: int, start: datetime) -> str:
    match scheme:
        case "year":
            return f"{start.year}-{i + 1:03d}"
        case "short_year":
            return f"{start.year % 100}{i + 1:03d}"
        case "letter":
            return f"J{1001 + i}"
        case _:
            return str(100 + i)


def _project_name(rng: np.random.Generator, kind: str, contract: str) -> tuple[str, str]:
    names = word_list("names")
    surname, place, street = (pick(rng, names[which]) for which in ("surnames", "places", "streets"))
    what, owner = pick(rng, names["project_kinds"][kind]), pick(rng, names["customers"][kind])
    if owner.endswith(" of"):
        customer = f"{owner} {place}"
    elif owner == "" or owner.startswith(" "):
        customer = f"{surname}{owner}"
    else:
        customer = f"{place} {owner}"
    site = pick(rng, (surname, place, street, place)) if kind != "residential" else pick(rng, (surname, street))
    name = f"{site} {what}"
    if contract == "change_order" and chance(rng, 0.6):
        name = f"{name} CO #{1 + int(rng.random() * 9)}"
    elif contract == "time_and_material" and chance(rng, 0.4):
        name = f"T&M {name}"
    return name, customer
