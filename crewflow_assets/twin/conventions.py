"""How a company books: which kind of account each cost goes to, and its habits that cross its own rule.

An account of a chart plays a role, such as ("type", "labor") or ("trade_type", "electrical", "labor"). A convention
answers a cost with the roles that it would go to, best first; the first one that the chart holds is the truth.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from crewflow_assets.twin.parameters import TwinParameters
from crewflow_assets.twin.randomness import chance, pick, pick_weighted, some
from crewflow_assets.twin.vocabulary import COST_TYPES, Concept, CostType, systems, trades, word_list

Role = tuple[str, ...]
Level = Literal["type", "trade", "trade_type", "phase", "one"]
Policy = Literal["own", "overhead", "pooled", "type", "balance"]

JOB: Role = ("job",)
OVERHEAD: Role = ("overhead",)
POOL: Role = ("pool",)
SERVICE: Role = ("service",)

CONVENTIONS = ("by_trade", "by_cost_type", "trade_by_cost_type", "by_phase", "few_accounts", "mixed")

OFFICE = frozenset({"office", "payroll", "insurance", "vehicles", "travel"})
"""The parts of the costs around the trades that are overhead to most companies."""


@dataclass(frozen=True, slots=True)
class HouseRule:
    """A habit: what it is about (an empty field means any), and the trade or system that it is booked with."""

    trade: str | None
    system: str | None
    concepts: frozenset[str]
    phase: str | None
    direct: bool | None
    cost_types: frozenset[str]
    to_trade: str | None
    to_system: str | None

    def applies(self, concept: Concept, cost_type: CostType) -> bool:
        """Whether the cost falls under the habit."""
        return (
            self.trade in (None, concept.trade)
            and self.system in (None, concept.system)
            and self.phase in (None, concept.phase)
            and self.direct in (None, concept.direct)
            and (not self.concepts or concept.id in self.concepts)
            and (not self.cost_types or cost_type in self.cost_types)
        )


@dataclass(frozen=True, slots=True)
class Convention:
    """A company's way of booking.

    ``levels`` says how direct costs of each type are cut; ``support`` how each system around the trades is treated;
    ``groups`` maps each trade to the trade under whose account it goes; ``detail`` holds the trades whose parts have
    accounts of their own.
    """

    name: str
    levels: Mapping[CostType, Level]
    groups: Mapping[str, str]
    group_names: Mapping[str, tuple[str, ...]]
    detail: frozenset[str]
    support: Mapping[str, Policy]
    rules: tuple[HouseRule, ...]
    service: bool

    def roles(self, concept: Concept, cost_type: CostType, service: bool = False) -> Iterator[Role]:
        """Yield the roles that the cost would go to, best first; the last one is in every chart."""
        if service and self.service:
            yield (*SERVICE, cost_type)
            yield SERVICE
        rule = next((rule for rule in self.rules if rule.applies(concept, cost_type)), None)
        if rule is not None and rule.to_trade is not None:
            yield from self._direct(rule.to_trade, None, concept.phase, cost_type)
        elif rule is not None and rule.to_system is not None:
            home = "overhead" if systems()[rule.to_system].trade in OFFICE else "support"
            yield (home, rule.to_system)
            yield from self._support(rule.to_system, cost_type)
        elif concept.direct:
            yield from self._direct(concept.trade, concept.system, concept.phase, cost_type)
        else:
            yield from self._support(concept.system, cost_type)

    def _direct(self, trade: str, system: str | None, phase: str, cost_type: CostType) -> Iterator[Role]:
        level = self.levels[cost_type]
        group = self.groups[trade]
        detailed = system is not None and trade in self.detail
        if level == "trade":
            if detailed:
                yield ("system", str(system))
            yield ("trade", group)
        elif level == "trade_type":
            if detailed:
                yield ("system_type", str(system), cost_type)
            yield ("trade_type", group, cost_type)
        elif level == "phase":
            yield ("phase", phase)
        if level != "one":
            yield ("type", cost_type)
        yield JOB

    def _support(self, system: str, cost_type: CostType) -> Iterator[Role]:
        policy = self.support[system]
        if policy == "own":
            yield ("support", system)
        if policy == "balance":
            yield ("balance", system)
        if policy == "pooled":
            yield POOL
        if policy == "type":
            yield ("type", cost_type)
        if policy in ("overhead", "balance"):
            yield ("overhead", system)
            yield OVERHEAD
        yield JOB


def draw_convention(
    rng: np.random.Generator,
    name: str,
    core: tuple[str, ...],
    performed: tuple[str, ...],
    service: bool,
    parameters: TwinParameters,
) -> Convention:
    """Return one company's version of a convention; ``performed`` lists its trades, ``core`` its own."""
    groups, group_names = _merged(rng, core)
    return Convention(
        name=name,
        levels=_levels(rng, name),
        groups=groups,
        group_names=group_names,
        detail=frozenset(trade for trade in core if chance(rng, 0.9 if len(core) <= 2 else 0.3)),
        support=_policies(rng, name),
        rules=tuple(_rules(rng, name, performed, parameters)),
        service=service,
    )


def _levels(rng: np.random.Generator, name: str) -> Mapping[CostType, Level]:
    plain: dict[str, Level] = {
        "by_trade": "trade",
        "by_cost_type": "type",
        "trade_by_cost_type": "trade_type",
        "by_phase": "phase",
        "few_accounts": "one",
    }
    if name in plain:
        levels: dict[CostType, Level] = dict.fromkeys(COST_TYPES, plain[name])
        if name in ("few_accounts", "by_phase") and chance(rng, 0.5):
            levels["labor"] = "type"
        if name == "few_accounts" and chance(rng, 0.6):
            levels["subcontract"] = "type"
        if name in ("by_trade", "trade_by_cost_type") and chance(rng, 0.3):
            levels["equipment"] = "type"
        return levels
    recipes: tuple[tuple[Level, Level, Level, Level], ...] = (
        ("type", "type", "trade_type", "type"),
        ("type", "trade_type", "trade_type", "type"),
        ("trade_type", "type", "type", "type"),
        ("type", "phase", "phase", "type"),
        ("phase", "type", "trade_type", "one"),
        ("trade_type", "trade_type", "type", "one"),
    )
    labor, material, subcontract, equipment = pick(rng, recipes)
    return {
        "labor": labor,
        "material": material,
        "subcontract": subcontract,
        "equipment": equipment,
        "other": "one",
    }


def _merged(rng: np.random.Generator, core: tuple[str, ...]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Return each trade's group and the names of each group's account; own trades stay apart more often."""
    groups = {trade: trade for trade in trades()}
    names = {trade.id: trade.accounts for trade in trades().values()}
    willing = pick(rng, (0.0, 0.12, 0.35))
    taken: set[str] = set()
    for merge in some(rng, word_list("house_rules")["merges"], 99):
        members: list[str] = merge["trades"]
        likely = willing * (0.3 if set(members) & set(core) else 1.0)
        if not taken & set(members) and chance(rng, likely):
            groups.update(dict.fromkeys(members, members[0]))
            names[members[0]] = tuple(merge["names"])
            taken.update(members)
    return groups, names


def _policies(rng: np.random.Generator, name: str) -> dict[str, Policy]:
    """Return how each system around the trades is treated: mostly as the others beside it."""
    base: dict[Policy, float] = {"own": 0.4, "overhead": 0.2, "pooled": 0.2, "type": 0.2}
    if name in ("few_accounts", "by_phase"):
        base["own"] = 0.2
    leaning = pick_weighted(rng, base)
    weights = {policy: weight * (4 if policy == leaning else 1) for policy, weight in base.items()}
    office: dict[Policy, float] = {"overhead": 0.86, "own": 0.07, "pooled": 0.04, "type": 0.03}
    found: dict[str, Policy] = {}
    for trade in trades().values():
        if trade.direct:
            continue
        shares = office if trade.id in OFFICE else weights
        usual = pick_weighted(rng, shares)
        for system in trade.systems:
            found[system.id] = usual if chance(rng, 0.7) else pick_weighted(rng, shares)
            if system.balance and chance(rng, 0.15):
                found[system.id] = "balance"
    return found


def _rules(
    rng: np.random.Generator, name: str, performed: tuple[str, ...], parameters: TwinParameters
) -> Iterator[HouseRule]:
    """Yield the house rules: only such as make a difference under the convention and to the company's trades."""
    cut_by_trade = name in ("by_trade", "trade_by_cost_type", "mixed")
    usable = [
        rule
        for rule in map(_rule, word_list("house_rules")["rules"])
        if (rule.to_system is not None or (cut_by_trade and rule.to_trade in performed)) and _touches(rule, performed)
    ]
    yield from some(rng, usable, int(rng.poisson(parameters.house_rules_mean)))


def _touches(rule: HouseRule, performed: tuple[str, ...]) -> bool:
    if rule.trade is not None:
        return rule.trade in performed
    if rule.system is not None:
        return systems()[rule.system].trade in performed
    return True


def _rule(raw: Mapping[str, Any]) -> HouseRule:
    when, to = raw["when"], raw["to"]
    direct = True if when.get("direct") else False if when.get("support") else None
    return HouseRule(
        trade=when.get("trade"),
        system=when.get("system"),
        concepts=frozenset(when.get("concepts", ())),
        phase=when.get("phase"),
        direct=direct,
        cost_types=frozenset(when.get("types", ())),
        to_trade=to.get("trade"),
        to_system=to.get("system"),
    )
