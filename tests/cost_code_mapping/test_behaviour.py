"""What must not change a first suggestion, and what must: on a model fitted on the small world."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.model import MappingPredictor, Ranking
from tests.worlds import OTHERS, TASKS, TRADES, TYPES, fitted

COGS = "Cost of Goods Sold"
BOTH = Chart([Target(f"{trade} {kind}", f"{trade} {kind}", COGS, None) for trade, kind in product(TRADES, TYPES)])
"""A chart that tells trades and cost types apart."""
WORLD = Chart(
    [
        *(Target(name, name, COGS, None) for name in (*TRADES, *TYPES)),
        *(Target(name, name, "Expense", None) for name in OTHERS),
    ]
)
"""The chart of the small world: what is right is a matter of the company's history."""
SPELT = {"LBR": "Labor", "Matl": "Materials", "Sub": "Subcontractors", "Equip": "Equipment"}
BY_TYPE = [(f"{trade} layout {short}", kind) for trade in TRADES[:4] for kind, short in TYPES.items()]
BY_TRADE = [(f"{trade} layout {short}", trade) for trade in TRADES for short in list(TYPES.values())[:2]]
HISTORIES = {"nothing known": [], "by cost type": BY_TYPE, "by trade": BY_TRADE}


@pytest.fixture(scope="module")
def model() -> MappingPredictor:
    return fitted()


def source(name: str) -> Source:
    return Source("cost_code", "X-1", name, None, None, None, "electrical")


def first(model: MappingPredictor, name: str, chart: Chart = BOTH, known: list[tuple[str, str]] | None = None) -> str:
    return str(chart.targets[int(asked(model, source(name), chart, known or []).order[0])].code)


def asked(model: MappingPredictor, one: Source, chart: Chart, mapped: list[tuple[str, str]]) -> Ranking:
    history = History.of(prepare([source(n) for n, _ in mapped]), [target for _, target in mapped], chart)
    [query] = prepare([one])
    return model.rank(model.features(query, chart, history), len(history))


NAMES = [f"{trade} {task} {short}" for trade, task, short in product(TRADES[::3], TASKS[::2], TYPES.values())]


def upper(name: str) -> str:
    return name.upper()


def lower(name: str) -> str:
    return name.lower()


def punctuated(name: str) -> str:
    return " - ".join(name.split()) + "."


def slashed(name: str) -> str:
    trade, *rest = name.split()
    return f"{trade}: {'/'.join(rest)}"


def spelt_out(name: str) -> str:
    *rest, short = name.split()
    return " ".join([*rest, SPELT[short]])


def abbreviated(name: str) -> str:
    for word, short in (("Electrical", "Elec"), ("Roofing", "Rfg"), ("Painting", "Ptg"), ("repair", "rep")):
        name = name.replace(word, short)
    return name


def turned(name: str) -> str:
    return " ".join(reversed(name.split()))


CHANGES = (upper, lower, punctuated, slashed, spelt_out, abbreviated, turned)
CHARTS = {"fine chart": BOTH, "chart of the world": WORLD}


def case(change: Callable[[str], str], chart: str, history: str) -> Any:
    return pytest.param(change, CHARTS[chart], HISTORIES[history], id=f"{change.__name__}, {chart}, {history}")


@pytest.mark.parametrize(("change", "chart", "known"), [case(*one) for one in product(CHANGES, CHARTS, HISTORIES)])
def test_writing_it_otherwise_does_not_change_the_first_suggestion(
    model: MappingPredictor, change: Callable[[str], str], chart: Chart, known: list[tuple[str, str]]
) -> None:
    if chart is BOTH and known:
        known = [(name, f"{name.split()[0]} {SPELT[name.split()[-1]]}") for name, _ in known]
    pairs = {name: (first(model, name, chart, known), first(model, change(name), chart, known)) for name in NAMES}
    changed = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    assert changed == {}


@pytest.mark.parametrize("known", HISTORIES.values(), ids=HISTORIES)
@given(shuffled=st.sampled_from(NAMES).flatmap(lambda name: st.permutations(name.split())))
@settings(max_examples=40)
def test_the_order_of_words_changes_nothing_at_all(
    model: MappingPredictor, known: list[tuple[str, str]], shuffled: list[str]
) -> None:
    """Not the first suggestion alone: every candidate's probability, and the confidence."""
    name, other = " ".join(sorted(shuffled)), " ".join(shuffled)
    one, two = asked(model, source(name), WORLD, known), asked(model, source(other), WORLD, known)
    assert one.order.tolist() == two.order.tolist()
    assert one.probabilities.tolist() == two.probabilities.tolist()
    assert one.confidence == two.confidence


def test_nor_does_the_order_of_words_in_a_description(model: MappingPredictor) -> None:
    told = "temporary power for site trailers"
    turned_round = " ".join(reversed(told.split()))
    for name in NAMES:
        one, two = (
            asked(model, replace(source(name), description=text), WORLD, BY_TRADE) for text in (told, turned_round)
        )
        assert one.order.tolist() == two.order.tolist()
        assert one.confidence == two.confidence


def test_labor_concrete_is_concrete_labor(model: MappingPredictor) -> None:
    for trade in TRADES:
        for kind in TYPES:
            assert first(model, f"{kind} {trade}") == first(model, f"{trade} {kind}") == f"{trade} {kind}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("labor", "material"),
        ("LBR", "Matl"),
        ("Labour", "Mat'l"),
        ("crew wages", "supplies"),
    ],
)
def test_labour_or_material_does(model: MappingPredictor, one: str, other: str) -> None:
    for trade in TRADES:
        assert first(model, f"{trade} rough {one}") == f"{trade} Labor"
        assert first(model, f"{trade} rough {other}") == f"{trade} Materials"


def test_the_trade_does(model: MappingPredictor) -> None:
    assert [first(model, f"{trade} rough labor") for trade in TRADES] == [f"{trade} Labor" for trade in TRADES]


def test_the_companys_own_way_does(model: MappingPredictor) -> None:
    for trade in TRADES:
        assert first(model, f"{trade} cleanup LBR", WORLD, BY_TYPE) == "Labor"
        assert first(model, f"{trade} cleanup LBR", WORLD, BY_TRADE) == trade


@pytest.mark.parametrize("corrections", [20, 200])
def test_three_examples_of_a_convention_carry_to_the_codes_like_them(
    model: MappingPredictor, corrections: int
) -> None:
    """The 200th correction helps as the first did: much history of other codes does not drown three of these."""
    numbered = ((f"{trade} {task} {number}", trade) for number in range(9) for task in TASKS for trade in TRADES)
    earlier = list(islice(numbered, corrections))
    examples = [(f"Survey drone {what}", "Utilities") for what in ("flights", "battery", "pilot")]
    for like in ("Survey drone mapping", "survey drone repair", "DRONE, SURVEY"):
        assert first(model, like, WORLD, earlier) != "Utilities"
        assert first(model, like, WORLD, earlier + examples) == "Utilities"


def test_what_does_not_matter_to_a_cost_code_does_not_matter(model: MappingPredictor) -> None:
    """An account that is added to the chart and has nothing to do with a code does not change its account."""
    longer = Chart(
        [*BOTH.targets, Target("1", "Accounts Receivable", "Bank", None), Target("2", "Rent", "Expense", None)]
    )
    for name in NAMES:
        assert first(model, name, longer) == first(model, name)


def test_the_order_of_the_chart_does_not_matter(model: MappingPredictor) -> None:
    turned_chart = Chart(BOTH.targets[::-1])
    for name in NAMES:
        assert first(model, name, turned_chart) == first(model, name)
