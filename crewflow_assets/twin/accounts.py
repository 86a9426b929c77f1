"""The accounts that job costs, overhead and income go to: which roles a chart fills, and what it calls them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crewflow_assets.twin.companies import Profile
from crewflow_assets.twin.conventions import JOB, OFFICE, OVERHEAD, POOL, SERVICE, Convention, Role
from crewflow_assets.twin.randomness import chance, pick, pick_weighted
from crewflow_assets.twin.vocabulary import COST_TYPES, CostType, systems, trades, word_list

Nesting = Literal["flat", "root", "type", "trade"]
ROOT: Role = ("root",)

_OVERHEAD_TWIN = 0.5
_JOB_TWIN = 0.15
"""How often a cost that is booked on one side of the ledger has an unused account on the other: an assumption."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An account before it has its final name and number: the role it plays, names in order of preference."""

    role: Role
    kind: str
    names: tuple[str, ...]
    parent: Role | None = None


@dataclass(frozen=True, slots=True)
class Style:
    """How a chart is laid out.

    ``root`` is the account above all job costs; ``job_kind`` their QuickBooks type; ``main`` says that most of
    them go to a single account.
    """

    nesting: Nesting
    job_kind: str
    root: str
    words: Mapping[CostType, str]
    short: Mapping[CostType, str]
    trades: Mapping[str, str]
    pattern: int
    main: bool

    def joined(self, subject: str, cost_type: CostType) -> str:
        """Return the name of an account for a trade's or a part's costs of one type, outside any nesting."""
        word = self.short[cost_type]
        return (f"{subject} {word}", f"{word} - {subject}", f"{subject} - {word}")[self.pattern]


def draw_style(rng: np.random.Generator, profile: Profile, convention: Convention) -> Style:
    """Return a chart's layout; only QuickBooks nests accounts."""
    ledger = word_list("ledger")
    nested = profile.system == "quickbooks" and chance(rng, 0.65)
    nestings: dict[Nesting, float] = {"root": 0.3, "type": 0.4, "trade": 0.3}
    return Style(
        nesting=pick_weighted(rng, nestings) if nested else "flat",
        job_kind="Cost of Goods Sold" if chance(rng, 0.85) else "Expense",
        root=pick(rng, ledger["roots"]),
        words={kind: pick(rng, ledger["cost_types"][kind]) for kind in COST_TYPES},
        short={kind: pick(rng, ledger["short_cost_types"][kind]) for kind in COST_TYPES},
        trades={trade: pick(rng, names) for trade, names in convention.group_names.items()},
        pattern=int(rng.random() * 3),
        main="one" in (convention.levels["labor"], convention.levels["material"], convention.levels["subcontract"]),
    )


def needed_roles(rng: np.random.Generator, profile: Profile, convention: Convention) -> dict[Role, None]:
    """Return the roles that the chart fills, in the order of the trades; a chart has gaps, and accounts unused."""
    richness = 0.75 + 0.35 * rng.random()
    filled: dict[Role, None] = {JOB: None, OVERHEAD: None}
    refused: set[Role] = set()
    for trade_id in (*profile.performed, *profile.support):
        for concept in trades()[trade_id].concepts:
            for cost_type in dict.fromkeys((*concept.cost_types, "labor", "subcontract")):
                for role in convention.roles(concept, cost_type, service=profile.service):
                    if role in filled or role in refused:
                        continue
                    if chance(rng, _share(role, profile, convention, trade_id) * richness + 0.25):
                        filled[role] = None
                    else:
                        refused.add(role)
    for system in systems().values():
        if trades()[system.trade].direct:
            continue
        if chance(rng, _OVERHEAD_TWIN * richness):
            filled.setdefault(("overhead", system.id))
        crowded = convention.name != "few_accounts" and system.trade not in OFFICE
        if crowded and chance(rng, _JOB_TWIN * richness):
            filled.setdefault(("support", system.id))
    return filled


def _share(role: Role, profile: Profile, convention: Convention, trade: str) -> float:
    """Return how surely a chart holds the account, before its richness is counted in."""
    match role[0]:
        case "trade":
            return 1.0 if trade in profile.core else 0.75
        case "trade_type":
            if trade in profile.core:
                return 0.95
            return 0.8 if (role[2] == "subcontract") == (trade in profile.subs) else 0.05
        case "system" | "system_type":
            return 0.5
        case "type":
            return 1.0 if "type" in convention.levels.values() else 0.4
        case "support":
            return 0.8
        case "overhead":
            return 0.7
        case "service":
            return 0.5
        case _:
            return 1.0


def job_drafts(
    rng: np.random.Generator, style: Style, convention: Convention, roles: Mapping[Role, None]
) -> Iterator[Draft]:
    """Yield the accounts of the job costs, parents before their children."""
    nested = style.nesting != "flat"
    root = ROOT if nested else None
    if nested:
        yield Draft(ROOT, style.job_kind, (style.root,))
    headed = {JOB} if nested else set()
    for role in roles:
        if role[0] in ("overhead", "balance"):
            continue
        parent = root
        if role[0] in ("trade_type", "system_type") and style.nesting in ("type", "trade"):
            parent = _header(role, style, convention)
            if parent not in roles and parent not in headed:
                yield _draft(rng, parent, style, root)
                headed.add(parent)
        elif role[0] == "system" and nested:
            above = ("trade", convention.groups[systems()[role[1]].trade])
            parent = above if above in roles else root
        elif role[0] == "support" and nested and POOL in roles and chance(rng, 0.6):
            parent = POOL
        elif role[0] == "service" and len(role) > 1 and nested:
            parent = SERVICE if SERVICE in roles else root
        yield _draft(rng, role, style, parent)


def _header(role: Role, style: Style, convention: Convention) -> Role:
    if style.nesting == "type":
        return ("type", role[2])
    trade = systems()[role[1]].trade if role[0] == "system_type" else role[1]
    return ("trade", convention.groups[trade])


def _draft(rng: np.random.Generator, role: Role, style: Style, parent: Role | None) -> Draft:
    return Draft(role, style.job_kind, tuple(_names(rng, role, style, parent)), parent)


def _names(rng: np.random.Generator, role: Role, style: Style, parent: Role | None) -> Iterator[str]:
    """Yield what an account may be called, the house's first choice first."""
    ledger = word_list("ledger")
    match role:
        case ("type", cost_type):
            yield style.words[_typed(cost_type)]
            yield from ledger["cost_types"][cost_type]
        case ("trade", group):
            yield style.trades[group]
            yield from (f"{style.trades[group]} Costs", f"{style.trades[group]} - Jobs")
        case ("trade_type", group, cost_type):
            if parent == ("trade", group):
                yield style.short[_typed(cost_type)]
            elif parent == ("type", cost_type):
                yield style.trades[group]
            yield style.joined(style.trades[group], _typed(cost_type))
        case ("system", system):
            yield from _shuffled(rng, systems()[system].accounts)
        case ("system_type", system, cost_type):
            name = pick(rng, systems()[system].accounts)
            if parent == ("type", cost_type):
                yield name
            yield style.joined(name, _typed(cost_type))
        case ("phase", phase):
            yield from _shuffled(rng, ledger["phases"][phase])
        case ("support", system):
            yield from _shuffled(rng, systems()[system].accounts)
            yield f"{systems()[system].accounts[0]} - Job Cost"
        case ("service", cost_type):
            word = style.short[_typed(cost_type)]
            yield from (f"Service {word}", f"Service - {word}")
        case ("job",) if style.main:
            yield from (name for name in _shuffled(rng, ledger["main"]) if name != style.root)
        case _:
            yield from (name for name in _shuffled(rng, ledger[role[0]]) if name != style.root)


def overhead_drafts(rng: np.random.Generator, roles: Mapping[Role, None], nested: bool) -> Iterator[Draft]:
    """Yield the accounts of the overhead, and those that some costs are put to on the balance sheet."""
    under = OVERHEAD if nested and chance(rng, 0.4) else None
    yield Draft(OVERHEAD, "Expense", _shuffled(rng, word_list("ledger")["overhead"]))
    for role in roles:
        if role[0] == "overhead" and len(role) > 1:
            system = systems()[role[1]]
            names = (*_shuffled(rng, system.overhead), f"{system.overhead[0]} - Overhead")
            yield Draft(role, "Expense", names, under)
        elif role[0] == "balance":
            kind = "Other Current Liability" if role[1] == "paid_leave" else "Fixed Asset"
            yield Draft(role, kind, _shuffled(rng, systems()[role[1]].balance))


def _shuffled(rng: np.random.Generator, names: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(names[i] for i in rng.permutation(len(names)))


def _typed(cost_type: str) -> CostType:
    return next(kind for kind in COST_TYPES if kind == cost_type)
