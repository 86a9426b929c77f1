"""The numbers of accounts, and the codes of cost codes, in the schemes that houses use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from crewflow_assets.twin.randomness import chance, pick, pick_weighted
from crewflow_assets.twin.vocabulary import PHASES, Concept, CostType, trades, word_list

CODE_SCHEMES: Mapping[str, float] = {
    "masterformat": 0.16,
    "masterformat_six": 0.05,
    "masterformat_spaced": 0.06,
    "csi": 0.13,
    "sequential": 0.14,
    "block": 0.12,
    "mnemonic": 0.12,
    "dotted": 0.08,
    "phase": 0.07,
    "prefixed": 0.07,
}
"""House schemes of cost codes and how common they are: assumptions."""

_RANGES: Mapping[str, tuple[int, int]] = {
    "Bank": (1000, 1100),
    "Accounts Receivable": (1100, 1200),
    "Other Current Asset": (1200, 1500),
    "Fixed Asset": (1500, 1800),
    "Other Asset": (1800, 2000),
    "Accounts Payable": (2000, 2050),
    "Credit Card": (2050, 2100),
    "Other Current Liability": (2100, 2500),
    "Long Term Liability": (2500, 3000),
    "Equity": (3000, 4000),
    "Income": (4000, 5000),
    "Cost of Goods Sold": (5000, 6000),
    "Expense": (6000, 8000),
    "Other Income": (8000, 8500),
    "Other Expense": (8500, 9999),
}
"""First number, and the first one that is too much, of each account type: the usual four-digit ranges."""

KINDS = tuple(_RANGES)


def account_numbers(rng: np.random.Generator, accounts: Sequence[tuple[str, bool]]) -> list[str]:
    """Return numbers for accounts in order, each given as its QuickBooks type and whether it stands under another."""
    five = chance(rng, 0.4)
    tail = pick_weighted(rng, {"": 0.9, "-00": 0.1})
    numbers = [0] * len(accounts)
    for kind, (first, beyond) in _RANGES.items():
        members = [i for i, (found, _) in enumerate(accounts) if found == kind]
        for align, step in ((100, 10), (50, 10), (50, 5), (20, 5), (10, 2), (10, 1), (1, 1)):
            laid = _laid_out(first, [accounts[i][1] for i in members], align, step)
            if not laid or laid[-1] < beyond:
                break
        for i, number in zip(members, laid, strict=True):
            numbers[i] = number
    return [f"{number * 10 if five else number}{tail}" for number in numbers]


def _laid_out(first: int, below: Sequence[bool], align: int, step: int) -> list[int]:
    numbers: list[int] = []
    for child in below:
        last = numbers[-1] if numbers else first - 1
        if not numbers:
            numbers.append(first)
        elif child:
            numbers.append((last // step + 1) * step)
        else:
            numbers.append((last // align + 1) * align)
    return numbers


@dataclass(slots=True)
class CodeBook:
    """Gives out the codes of one company's list; a code is never given twice."""

    scheme: str
    house: str
    separator: str
    suffixed: bool
    start: int
    step: int
    _bases: dict[tuple[str, str], str] = field(default_factory=dict)
    _counters: dict[str, int] = field(default_factory=dict)
    _blocks: dict[str, int] = field(default_factory=dict)
    _given: set[str] = field(default_factory=set)

    def code(self, concept: Concept, place: str, cost_type: CostType) -> str:
        """Return a fresh code; the cost types of one concept and place share what stands before the suffix."""
        key = (concept.id, place)
        if key not in self._bases or not self.suffixed:
            self._bases[key] = self._base(concept)
        words = word_list("wording")["cost_types"][cost_type]
        mark = words["digit"] if self.separator == "-0" else words["letter"]
        suffix = f"{self.separator}{mark}" if self.suffixed else ""
        while (code := f"{self._bases[key]}{suffix}").casefold() in self._given:
            self._bases[key] = _next(self._bases[key])
        self._given.add(code.casefold())
        return code

    def _base(self, concept: Concept) -> str:
        trade = trades()[concept.trade]
        division = self.house if trade.number == "00" else trade.number
        match self.scheme:
            case "masterformat":
                return f"{division}-{concept.section}"
            case "masterformat_six":
                return f"{division}{concept.section}"
            case "masterformat_spaced":
                return f"{division} {concept.section[:2]} {concept.section[2:]}"
            case "csi":
                old = self.house if trade.number == "00" else trade.number95
                return f"{old}{concept.section[:2]}{concept.section[3]}"
            case "sequential":
                return str(self._count("", self.start, self.step))
            case "block":
                blocks = self._blocks.setdefault(concept.trade, 1000 * (1 + len(self._blocks)))
                return str(self._count(concept.trade, blocks, self.step))
            case "mnemonic":
                return f"{trade.mnemonic}-{self._count(trade.mnemonic, 100, max(1, self.step // 2))}"
            case "dotted":
                old = self.house if trade.number == "00" else trade.number95
                return f"{old}.{self._count(old, 100, self.step)}"
            case "phase":
                phase = 100 * (1 + PHASES.index(concept.phase))
                return f"{phase}-{self._count(concept.phase, 10, max(1, self.step // 2)):02d}"
            case _:
                letter = trade.mnemonic[0] if trade.direct else "F" if trade.number == "01" else "O"
                return f"{letter}-{self._count(letter, self.start, self.step)}"

    def _count(self, counter: str, start: int, step: int) -> int:
        self._counters[counter] = self._counters.get(counter, start - step) + step
        return self._counters[counter]


def draw_code_book(rng: np.random.Generator, typed: bool) -> CodeBook:
    """Return a company's scheme; where codes are cut by cost type, most schemes mark the type at the end."""
    scheme = pick_weighted(rng, CODE_SCHEMES)
    return CodeBook(
        scheme=scheme,
        house=pick(rng, ("00", "01", "50", "90", "99")),
        separator=pick(rng, (".", "-", "", "-0")) if scheme != "dotted" else ".",
        suffixed=typed and (scheme == "dotted" or chance(rng, 0.8)),
        start=pick(rng, (100, 1000, 1010, 10)),
        step=pick(rng, (10, 10, 5, 1)),
    )


def _next(base: str) -> str:
    """Return the base with its last number one higher, at the same width if it fits."""
    head = base.rstrip("0123456789")
    digits = base[len(head) :]
    return f"{head}{int(digits or 0) + 1:0{len(digits)}d}"
