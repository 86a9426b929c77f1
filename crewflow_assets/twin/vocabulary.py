"""The trades, what is done in them, and the words for it: the YAML files of ``data/``, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal

import yaml

CostType = Literal["labor", "material", "subcontract", "equipment", "other"]
COST_TYPES: tuple[CostType, ...] = ("labor", "material", "subcontract", "equipment", "other")
PHASES = (
    "preconstruction",
    "sitework",
    "foundation",
    "structure",
    "rough_in",
    "finish",
    "closeout",
    "overhead",
)

_LETTERS: dict[str, CostType] = {kind[0].upper(): kind for kind in COST_TYPES}
_DATA = Path(__file__).parent / "data"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Concept:
    """Something that costs money on a job or around it, and 3 to 6 ways in which people write it.

    ``direct`` is work of a trade; the rest supports it. ``section`` is the last four digits of a
    MasterFormat-like number.
    """

    id: str
    trade: str
    system: str
    division: str
    direct: bool
    section: str
    phase: str
    cost_types: tuple[CostType, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class System:
    """A part of a trade that may have an account of its own.

    ``overhead`` and ``balance`` are names of the account outside the job costs, where there is one.
    """

    id: str
    trade: str
    accounts: tuple[str, ...]
    overhead: tuple[str, ...]
    balance: tuple[str, ...]
    concepts: tuple[Concept, ...]


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade, or a part of the costs around the trades, with its division numbers before and since 2004."""

    id: str
    direct: bool
    division: str
    number: str
    number95: str
    mnemonic: str
    accounts: tuple[str, ...]
    systems: tuple[System, ...]

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """All concepts, in the order of the file."""
        return tuple(concept for system in self.systems for concept in system.concepts)


@cache
def word_list(name: str) -> Mapping[str, Any]:
    """Return one of the files of ``data/`` by its name without the suffix: wording, ledger, industries …"""
    content: Mapping[str, Any] = yaml.load((_DATA / f"{name}.yaml").read_text(encoding="utf-8"), _LOADER)
    return content


@lru_cache(maxsize=1)
def trades() -> Mapping[str, Trade]:
    """Return every trade by its id, in the order of the files."""
    found: dict[str, Trade] = {}
    for path in sorted((_DATA / "trades").glob("*.yaml")):
        for raw in yaml.load(path.read_text(encoding="utf-8"), _LOADER):
            trade = _trade(raw)
            if trade.id in found:
                raise ValueError(f"trade {trade.id!r} stands twice in the vocabulary; rename the one in {path.name}")
            found[trade.id] = trade
    return found


@lru_cache(maxsize=1)
def systems() -> Mapping[str, System]:
    """Return every system by its id."""
    return {system.id: system for trade in trades().values() for system in trade.systems}


@lru_cache(maxsize=1)
def concepts() -> Mapping[str, Concept]:
    """Return every concept by its id."""
    return {concept.id: concept for trade in trades().values() for concept in trade.concepts}


def _trade(raw: Mapping[str, Any]) -> Trade:
    direct = raw["kind"] == "direct"
    return Trade(
        id=raw["trade"],
        direct=direct,
        division=raw["division"],
        number=raw["number"],
        number95=raw["number95"],
        mnemonic=raw["mnemonic"],
        accounts=tuple(raw["accounts"]),
        systems=tuple(_system(entry, raw, direct) for entry in raw["systems"]),
    )


def _system(raw: Mapping[str, Any], trade: Mapping[str, Any], direct: bool) -> System:
    return System(
        id=raw["system"],
        trade=trade["trade"],
        accounts=tuple(raw["accounts"]),
        overhead=tuple(raw.get("overhead", ())),
        balance=tuple(raw.get("balance", ())),
        concepts=tuple(
            Concept(
                id=entry["id"],
                trade=trade["trade"],
                system=raw["system"],
                division=trade["division"],
                direct=direct,
                section=entry["section"],
                phase=entry["phase"],
                cost_types=tuple(_LETTERS[letter] for letter in entry["types"]),
                names=tuple(entry["names"]),
            )
            for entry in raw["concepts"]
        ),
    )
