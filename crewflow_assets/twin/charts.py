"""A company's chart of accounts: the full ledger, named, nested and numbered in the house style."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count

import numpy as np

from crewflow_assets.twin.accounts import Draft, draw_style, job_drafts, needed_roles, overhead_drafts
from crewflow_assets.twin.companies import Profile
from crewflow_assets.twin.conventions import Convention, Role
from crewflow_assets.twin.income import IncomePlan, income_drafts
from crewflow_assets.twin.numbering import KINDS, account_numbers
from crewflow_assets.twin.randomness import chance, pick
from crewflow_assets.twin.records import Account
from crewflow_assets.twin.vocabulary import word_list
from crewflow_assets.twin.wording import Habits, draw_habits

SAGE_TYPES: Mapping[str, str] = {
    "Bank": "Cash",
    "Other Current Asset": "Other Current Assets",
    "Fixed Asset": "Fixed Assets",
    "Other Asset": "Other Assets",
    "Credit Card": "Other Current Liabilities",
    "Other Current Liability": "Other Current Liabilities",
    "Long Term Liability": "Long Term Liabilities",
    "Equity": "Equity-doesn't close",
    "Cost of Goods Sold": "Cost of Sales",
    "Expense": "Expenses",
    "Other Income": "Income",
    "Other Expense": "Expenses",
}
"""QuickBooks' account types in the words of Sage 50 (US)."""

XERO_TYPES: Mapping[str, str] = {
    "Accounts Receivable": "Current Asset",
    "Other Current Asset": "Current Asset",
    "Other Asset": "Non-current Asset",
    "Accounts Payable": "Current Liability",
    "Credit Card": "Bank",
    "Other Current Liability": "Current Liability",
    "Long Term Liability": "Non-current Liability",
    "Income": "Revenue",
    "Cost of Goods Sold": "Direct Costs",
    "Other Expense": "Expense",
}
"""QuickBooks' account types in the words of Xero."""

COST_KINDS = frozenset({"Cost of Goods Sold", "Expense"})


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, the account that plays each role, and which accounts costs and receipts can be put to.

    ``odd`` are the accounts in which a cost may stand without a reason.
    """

    accounts: tuple[Account, ...]
    by_role: Mapping[Role, Account]
    costs: tuple[Account, ...]
    incomes: tuple[Account, ...]
    odd: tuple[Account, ...]

    def first(self, roles: Iterator[Role]) -> Account:
        """Return the account of the first role that the chart fills."""
        return next(account for role in roles if (account := self.by_role.get(role)))


def build_chart(rng: np.random.Generator, profile: Profile, convention: Convention, income: IncomePlan) -> Chart:
    """Return the chart of a company that books by the convention given."""
    style = draw_style(rng, profile, convention)
    roles = needed_roles(rng, profile, convention)
    drafts = [
        *_ledger(rng),
        *income_drafts(rng, income, nested=style.nesting != "flat"),
        *job_drafts(rng, style, convention, roles),
        *overhead_drafts(rng, roles, nested=style.nesting != "flat"),
    ]
    ordered = _ordered(rng, drafts, sorted_by_name=not profile.numbered)
    named = list(_named(rng, ordered, _chart_hand(rng), flat=profile.system != "quickbooks"))
    numbers = account_numbers(rng, [(draft.kind, draft.parent is not None) for draft in ordered])
    dialect = {"quickbooks": {}, "sage": SAGE_TYPES, "xero": XERO_TYPES}[profile.system]
    accounts = tuple(
        Account(number if profile.numbered else None, name, full, dialect.get(draft.kind, draft.kind), parent)
        for draft, (name, full, parent), number in zip(ordered, named, numbers, strict=True)
    )
    pairs = list(zip(ordered, accounts, strict=True))
    return Chart(
        accounts=accounts,
        by_role={draft.role: account for draft, account in pairs},
        costs=tuple(account for draft, account in pairs if draft.kind in COST_KINDS),
        incomes=tuple(account for draft, account in pairs if draft.kind == "Income"),
        odd=tuple(a for draft, a in pairs if draft.kind in COST_KINDS and draft.role[0] not in ("ledger", "root")),
    )


def _ledger(rng: np.random.Generator) -> Iterator[Draft]:
    keeping = 0.8 + 0.4 * rng.random()
    for entry in word_list("ledger")["accounts"]:
        if entry["share"] == 1 or chance(rng, entry["share"] * keeping):
            first = pick(rng, entry["names"])
            yield Draft(("ledger", entry["id"]), entry["kind"], (first, *entry["names"]))


def _ordered(rng: np.random.Generator, drafts: Sequence[Draft], sorted_by_name: bool) -> list[Draft]:
    """Return the drafts by type, children behind their parents, expenses often by name."""
    children: dict[Role, list[Draft]] = {}
    held = {draft.role for draft in drafts}
    for draft in drafts:
        if draft.parent is not None and draft.parent in held:
            children.setdefault(draft.parent, []).append(draft)
    tops = [replace(draft, parent=None) for draft in drafts if draft.parent is None or draft.parent not in held]
    alphabetical = chance(rng, 0.6)

    def place(draft: Draft) -> tuple[int, str]:
        by_name = sorted_by_name or (alphabetical and draft.kind == "Expense")
        return KINDS.index(draft.kind), draft.names[0] if by_name else ""

    def family(draft: Draft) -> Iterator[Draft]:
        yield draft
        for child in sorted(children.get(draft.role, ()), key=place):
            yield from family(child)

    return [member for top in sorted(tops, key=place) for member in family(top)]


def _named(
    rng: np.random.Generator, drafts: Sequence[Draft], hand: Habits, flat: bool
) -> Iterator[tuple[str, str, str | None]]:
    """Yield name, full name and parent's full name; no full name stands twice, whatever the case of its letters."""
    full_names: dict[Role, str] = {}
    given: set[str] = set()
    for draft in drafts:
        parent = None if flat or draft.parent is None else full_names[draft.parent]
        for option in chain(draft.names, (f"{draft.names[-1]} - {i}" for i in count(2))):
            name = hand.write(rng, option)
            full = name if parent is None else f"{parent}:{name}"
            if full.casefold() not in given:
                break
        given.add(full.casefold())
        full_names[draft.role] = full
        yield name, full, parent


def _chart_hand(rng: np.random.Generator) -> Habits:
    """Return the hand of the person who set the chart up: tidier than the one that wrote the cost codes."""
    hand = draw_habits(rng, typo_rate=0.002)
    casing = hand.casing if hand.casing in ("written", "upper") and chance(rng, 0.6) else "written"
    short = {word: form for word, form in hand.short.items() if chance(rng, 0.25)}
    return replace(hand, casing=casing, short=short, instead={})
