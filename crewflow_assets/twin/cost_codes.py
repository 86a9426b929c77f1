"""A company's cost-code list: what it tracks, how it writes it, and what each line truly is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crewflow_assets.twin.companies import Profile
from crewflow_assets.twin.numbering import CodeBook, draw_code_book
from crewflow_assets.twin.parameters import TwinParameters
from crewflow_assets.twin.randomness import chance, lognormal, pick, pick_weighted, some
from crewflow_assets.twin.records import CostCode
from crewflow_assets.twin.vocabulary import Concept, CostType, Trade, trades, word_list

FEWEST, MOST = 40, 260
"""Lines of a list."""

LEAST_SUPPORT, MOST_SUPPORT = 0.12, 0.45
"""Share of a list that is no work of a trade: an assumption; in public lists division 01 makes up 2 to 20 %."""

HeadingStyle = Literal["none", "number", "numbered", "division", "trade", "place"]
_HEADINGS: Mapping[HeadingStyle, float] = {
    "none": 0.25,
    "number": 0.15,
    "numbered": 0.18,
    "division": 0.12,
    "trade": 0.18,
    "place": 0.12,
}
_OFF_TYPE = 0.08
"""Share of lines, in a list without cost types, whose type is not the usual one of their trade: an assumption."""


@dataclass(frozen=True, slots=True)
class Line:
    """What stands behind a line of a list: the cost, its type, and whether it is of the service department."""

    concept: Concept
    cost_type: CostType
    service: bool
    place: str


@dataclass(frozen=True, slots=True)
class ListedCode:
    """A cost code as it is written, with what stands behind it."""

    line: Line
    code: CostCode


def draw_cost_codes(rng: np.random.Generator, profile: Profile, parameters: TwinParameters) -> list[ListedCode]:
    """Return the list of a company, in its own order."""
    wanted = int(np.clip(lognormal(rng, parameters.codes_median, parameters.codes_sigma), FEWEST, MOST))
    lines = _lines(rng, profile, wanted)
    book = draw_code_book(rng, profile.typed_codes)
    heading, project_types = pick_weighted(rng, _HEADINGS), pick(rng, ("none", "none", "main", "split"))
    hand = _Hand(rng, profile, book, heading, project_types)
    return [ListedCode(line, hand.written(line)) for line in _sorted(rng, lines, profile, book.scheme)]


def _lines(rng: np.random.Generator, profile: Profile, wanted: int) -> list[Line]:
    """Return the lines in no order: work of the trades, and a share of costs around them."""
    bought = {trade for trade in profile.subs if chance(rng, 0.95)}
    bought |= {trade for trade in profile.related if chance(rng, 0.35)}
    around = int(wanted * (LEAST_SUPPORT + (MOST_SUPPORT - LEAST_SUPPORT) * rng.random()))
    splitting = 0.25 if chance(rng, 0.25) else 0.0
    direct: list[Line] = []
    for concept in _chosen(rng, profile.performed, _direct_weights(profile)):
        service = profile.service and concept.trade in profile.core
        served = service and (concept.system.endswith("_service") or chance(rng, 0.15))
        places = some(rng, word_list("wording")["places"], 2) if chance(rng, splitting) else [""]
        for cost_type in _types(rng, profile, concept, concept.trade in bought):
            direct += [Line(concept, cost_type, served, place) for place in places]
        if len(direct) >= wanted - around:
            break
    direct = direct[: wanted - around]
    support = [
        Line(concept, cost_type, False, "")
        for concept in _chosen(rng, profile.support, _support_weights(profile))
        for cost_type in _types(rng, profile, concept, bought=False)
    ]
    return direct + support[: max(FEWEST - len(direct), min(around, len(direct)))]


def _direct_weights(profile: Profile) -> dict[str, float]:
    weights = dict.fromkeys(profile.core, 7.0) | dict.fromkeys(profile.related, 2.0)
    return weights | dict.fromkeys(profile.subs, 1.6 if profile.general else 0.6)


def _support_weights(profile: Profile) -> dict[str, float]:
    near = ("general_conditions", "safety", "preconstruction", "warranty")
    weights = dict.fromkeys(near, 2.0 if profile.general else 1.2)
    weights |= dict.fromkeys(("office", "payroll", "insurance"), 0.3)
    return {trade: weights.get(trade, 0.7) for trade in profile.support}


def _chosen(rng: np.random.Generator, within: tuple[str, ...], weights: Mapping[str, float]) -> list[Concept]:
    """Return the concepts of the trades, the more needed sooner: weighted sampling without replacement."""
    keys: list[tuple[float, Concept]] = []
    for trade in within:
        for i, concept in enumerate(trades()[trade].concepts):
            first = 4.0 if i == 0 and concept.direct else 1.0
            keys.append((rng.standard_exponential() / (weights[trade] * first), concept))
    return [concept for _, concept in sorted(keys, key=lambda entry: entry[0])]


def _types(rng: np.random.Generator, profile: Profile, concept: Concept, bought: bool) -> Iterator[CostType]:
    """Yield the types as which the company tracks the cost."""
    main: CostType = "labor" if "labor" in concept.cost_types else concept.cost_types[0]
    if bought and (main == "labor" or "subcontract" in concept.cost_types):
        main = "subcontract"
    if profile.labor_only:
        yield "labor" if concept.direct or "labor" in concept.cost_types else main
        return
    if not profile.typed_codes:
        yield pick(rng, concept.cost_types) if chance(rng, _OFF_TYPE) else main
        return
    yield main
    for cost_type in concept.cost_types:
        likely = 0.12 if bought or cost_type == "subcontract" else 0.6
        if cost_type != main and chance(rng, likely):
            yield cost_type


def _sorted(rng: np.random.Generator, lines: list[Line], profile: Profile, scheme: str) -> list[Line]:
    by_number = scheme.startswith("masterformat") or scheme in ("csi", "dotted")
    fronted = chance(rng, 0.5)
    order = {trade: i for i, trade in enumerate((*profile.performed, *profile.support))}

    def place(line: Line) -> tuple[str, int, str]:
        trade = trades()[line.concept.trade]
        if by_number:
            return (trade.number95 if scheme in ("csi", "dotted") else trade.number, 0, line.concept.section)
        return ("", order[trade.id] - (100 if fronted and not trade.direct else 0), "")

    return sorted(lines, key=place)


class _Hand:
    """Writes the lines of one list."""

    def __init__(
        self,
        rng: np.random.Generator,
        profile: Profile,
        book: CodeBook,
        heading: HeadingStyle,
        project_types: str,
    ) -> None:
        self.rng, self.profile, self.book = rng, profile, book
        self.heading, self.project_types = heading, project_types
        self.phrases: dict[str, str] = {}
        self.headings: dict[str, str] = {}
        self.plain = 0.25 + 0.5 * rng.random()
        self.upper_headings = chance(rng, 0.3)
        self.main_type = profile.project_types[0]

    def written(self, line: Line) -> CostCode:
        phrase = self._phrase(line)
        return CostCode(
            code=self.book.code(line.concept, f"{line.place}{line.service}", line.cost_type),
            name=self.profile.habits.write(self.rng, phrase),
            description=self._description(line),
            group=self._group(line),
            project_type=self._project_type(line),
        )

    def _phrase(self, line: Line) -> str:
        names = line.concept.names
        name = self.phrases.setdefault(
            line.concept.id, names[0] if chance(self.rng, self.plain) else pick(self.rng, names)
        )
        if line.place:
            name = f"{name} - {line.place}"
        if line.service and not line.concept.system.endswith("_service") and chance(self.rng, 0.7):
            name = f"Service - {name}" if self.book.suffixed else f"{name} - Service"
        shown = 0.92 if self.profile.typed_codes and not self.book.suffixed else 0.55
        if self.profile.typed_codes and len(line.concept.cost_types) > 1 and chance(self.rng, shown):
            return self.profile.habits.tagged(name, line.cost_type)
        return name

    def _description(self, line: Line) -> str | None:
        if not self.profile.described or not chance(self.rng, 0.6):
            return None
        if chance(self.rng, 0.2):
            return str(pick(self.rng, word_list("wording")["notes"]))
        other = pick(self.rng, line.concept.names)
        return self.profile.habits.write(
            self.rng, f"{line.cost_type.capitalize()} for {other.lower()}" if chance(self.rng, 0.3) else other
        )

    def _project_type(self, line: Line) -> str | None:
        if line.service and self.project_types != "none":
            return "service"
        if self.project_types == "main":
            return self.main_type
        if self.project_types == "split" and line.concept.direct:
            return pick(self.rng, [kind for kind in self.profile.project_types if kind != "service"] or ["service"])
        return None

    def _group(self, line: Line) -> str | None:
        trade = trades()[line.concept.trade]
        key = trade.id if self.heading in ("trade", "place") else trade.number
        if key not in self.headings:
            text = _heading(self.rng, self.heading, trade, self.book.house)
            self.headings[key] = text.upper() if self.upper_headings else text
        return self.headings[key] or None


def _heading(rng: np.random.Generator, style: HeadingStyle, trade: Trade, house: str) -> str:
    number = house if trade.number == "00" else trade.number
    division = trade.division.title() if trade.number != "00" else "Overhead"
    match style:
        case "none":
            return ""
        case "number":
            return number
        case "numbered":
            return f"{number} - {division}"
        case "division":
            return f"Division {number} {division}"
        case "trade":
            return pick(rng, trade.accounts)
        case "place":
            return "Field" if trade.direct or trade.number == "01" else "Shop" if trade.id == "shop" else "Office"
