"""One feature row for each candidate: what each feature sees, and its range."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crewflow_assets.arrays import Singles
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, account_kind, prepare
from crewflow_assets.cost_code_mapping.features import COLUMN, FEATURES, candidate_features
from crewflow_assets.cost_code_mapping.history import History

COGS = "Cost of Goods Sold"
TARGETS = [
    Target("50100", "Electrical Labor", COGS, "Job Expenses"),
    Target("50200", "Electrical Materials", COGS, "Job Expenses"),
    Target("50300", "Subcontractors", COGS, None),
    Target("61000", "Office Supplies", "Expense", None),
    Target("40100", "Job Income", "Income", None),
    Target("10100", "Checking", "Bank", None),
    Target("99999", "Suspense", None, None),
]
CHART = Chart(TARGETS)
HISTORY_FEATURES = FEATURES[FEATURES.index("used_before") :]


def source(name: str, code: str = "X-1", group: str | None = None, kind: str = "cost_code") -> Source:
    return Source(kind, code, name, None, group, None, "electrical")


def history(*mapped: tuple[Source, str], chart: Chart = CHART) -> History:
    return History.of(prepare([s for s, _ in mapped]), [target for _, target in mapped], chart)


def rows(asked: Source, before: History | None = None, chart: Chart = CHART) -> Singles:
    [query] = prepare([asked])
    return candidate_features(query, chart, before if before is not None else history(chart=chart))


def column(found: Singles, name: str) -> list[float]:
    return [float(value) for value in found[:, COLUMN[name]]]


def test_there_is_one_row_for_each_account_and_one_column_for_each_feature() -> None:
    found = rows(source("Rough Electrical Labor"))
    assert found.shape == (len(TARGETS), len(FEATURES))
    assert found.dtype == np.float32


def test_without_history_every_history_feature_is_zero() -> None:
    found = rows(source("Rough Electrical Labor", group="16 Electrical"))
    for name in HISTORY_FEATURES:
        assert column(found, name) == [0.0] * len(TARGETS), name


def test_names_alike_are_similar() -> None:
    found = rows(source("ELEC LBR"))
    assert column(found, "name_similarity")[0] == pytest.approx(1, abs=1e-5)
    assert column(found, "name_similarity")[5] < 0.1
    covered = column(found, "source_covered")
    assert covered[0] == pytest.approx(1)
    assert 0 < covered[1] < 1
    assert covered[2] == 0
    assert column(found, "target_covered")[0] > column(found, "target_covered")[1] > 0


def test_the_encoder_knows_what_is_alike_in_meaning_where_no_letters_are() -> None:
    chart = Chart([Target("1", "Vehicles", None, None), Target("2", "Salaries", None, None)])
    found = rows(source("Pickup truck"), None, chart)
    assert column(found, "encoder_name")[0] > column(found, "encoder_name")[1] + 0.1


def test_the_cost_type_matches_clashes_or_is_unclear() -> None:
    found = rows(source("Rough-in labor"))
    assert column(found, "cost_type_match") == [1, 0, 0, 0, 0, 0, 0]
    assert column(found, "cost_type_clash") == [0, 1, 1, 1, 0, 0, 0]
    unclear = rows(source("Rough-in"))
    assert column(unclear, "cost_type_match") == column(unclear, "cost_type_clash") == [0] * 7


def test_projects_belong_to_income_and_cost_codes_to_costs() -> None:
    code, project = rows(source("Mall")), rows(source("Mall", kind="project"))
    assert column(code, "is_direct_cost") == [1, 1, 1, 0, 0, 0, 0]
    assert column(code, "is_expense") == [0, 0, 0, 1, 0, 0, 0]
    assert column(code, "is_income") == [0, 0, 0, 0, -1, 0, 0]
    assert column(project, "is_direct_cost") == column(project, "is_expense") == [0] * 7
    assert column(project, "is_income") == [0, 0, 0, 0, 1, 0, 0]
    assert column(project, "is_balance_sheet") == [0, 0, 0, 0, 0, 1, 0]


def test_a_code_that_stands_in_the_account_number_is_noticed() -> None:
    assert column(rows(source("x", code="EL-502")), "code_match") == [0, 1, 0, 0, 0, 0, 0]
    assert column(rows(source("x", code="10")), "code_match") == [0] * 7  # two digits are chance


def test_memory_is_the_share_of_codes_of_the_same_name() -> None:
    before = history(
        (source("Trencher rental", "A-1"), "50300"),
        (source("TRENCHER - RENTAL", "A-2"), "50300"),
        (source("rental, trencher", "A-3"), "61000"),
        (source("Crane rental", "A-4"), "50100"),
    )
    found = rows(source("Rental trencher", "B-9"), before)
    assert column(found, "memory") == pytest.approx([0, 0, 2 / 3, 1 / 3, 0, 0, 0])
    assert column(found, "used_before") == [1, 0, 1, 1, 0, 0, 0]


def test_names_without_a_single_word_are_not_remembered_as_the_same() -> None:
    before = history((source("---", "A-1"), "50300"))
    assert column(rows(source("***", "A-2"), before), "memory") == [0] * 7


def test_shares_count_what_stands_under_the_same_heading_prefix_and_cost_type() -> None:
    before = history(
        (source("Panel labor", "16-1", group="16 Electrical"), "50100"),
        (source("Panel board", "16-2", group="16 Electrical"), "50200"),
        (source("Paint", "09-1", group="09 Finishes"), "50300"),
        (source("Desk", "x", group=None), "61000"),
    )
    found = rows(source("Conduit labor", "16-9", group="16 Electrical"), before)
    assert column(found, "share_group")[:4] == [0.5, 0.5, 0, 0]
    assert column(found, "share_prefix")[:4] == [0.5, 0.5, 0, 0]
    assert np.argmax(column(found, "log_share_cost_type")) == 0
    assert column(found, "log_share_all")[:4] == pytest.approx([np.log(1.2 / 5.4 * 7)] * 4, abs=1e-5)
    without_group = rows(source("Conduit labor", "99-9", group=None), before)
    assert column(without_group, "share_group") == column(without_group, "share_prefix") == [0] * 7


def test_codes_that_differ_in_their_last_part_alone_speak_louder_than_those_of_the_same_beginning() -> None:
    before = history(
        (source("Panel", "16-100.L"), "50100"),
        (source("Trench", "16-200.L"), "50200"),
        (source("Pump", "16-200.M"), "50200"),
    )
    found = rows(source("Wire", "16-100.M"), before)
    assert column(found, "share_stem")[:3] == [1, 0, 0]
    assert column(found, "share_prefix")[:3] == pytest.approx([1 / 3, 2 / 3, 0])
    assert int(np.argmax(column(found, "log_share_stem"))) == 0
    assert column(rows(source("Wire", "16-300.M"), before), "share_stem") == [0] * 7


def test_a_word_that_few_accounts_have_says_more_than_one_that_most_have() -> None:
    names = ("Lighting systems", "Drainage systems", "Roof systems", "Control systems", "Lowest floor construction")
    chart = Chart([Target(name, name, None, None) for name in names])
    found = column(rows(source("Floor systems"), None, chart), "name_similarity")
    assert int(np.argmax(found)) == 4  # by letters alone "Roof systems" is nearest


def test_the_parent_is_read_by_the_encoder_too() -> None:
    chart = Chart([Target("1", "Other", None, "Vehicles"), Target("2", "Other", None, "Salaries")])
    found = rows(source("Pickup truck"), None, chart)
    assert column(found, "encoder_name")[0] == pytest.approx(column(found, "encoder_name")[1], abs=1e-6)
    assert column(found, "encoder_context")[0] > column(found, "encoder_context")[1] + 0.1


def test_the_nearest_neighbour_is_the_most_similar_code_of_each_account() -> None:
    before = history(
        (source("Crane rental", "A"), "50300"), (source("Desk", "B"), "50300"), (source("Pens"), "61000")
    )
    found = column(rows(source("Crane rental", "C"), before), "nearest")
    assert found[2] == pytest.approx(1, abs=1e-5)
    assert 0 <= found[3] < 0.3
    assert found[0] == 0


def test_neighbours_weigh_by_how_near_they_are() -> None:
    before = history(
        (source("Crane rental", "A-1"), "50300"),
        (source("Crane rental", "16-1"), "50200"),
        (source("Payroll taxes", "Z-1"), "61000"),
    )
    near = column(rows(source("Crane hire", "16-2"), before), "neighbours")
    assert near[1] == pytest.approx(near[2], abs=1e-5)
    assert near[1] > near[3] > near[0]


def test_projects_and_cost_codes_have_separate_histories() -> None:
    before = history((source("Mall", "A", kind="project"), "40100"))
    found = rows(source("Mall", "B"), before)
    assert all(column(found, name) == [0] * 7 for name in HISTORY_FEATURES)


def test_a_mapping_to_an_account_that_is_gone_counts_for_no_other() -> None:
    smaller = Chart(TARGETS[1:])
    before = history((source("Rough labor", "A"), "50100"), chart=smaller)
    found = rows(source("Rough labor", "B"), before, smaller)
    assert len(before) == 1
    assert all(column(found, name) == [0] * 6 for name in HISTORY_FEATURES)


@pytest.mark.parametrize(
    ("account_type", "kind"),
    [
        ("Cost of Goods Sold", "direct_cost"),
        ("COGS", "direct_cost"),
        ("Direct Costs", "direct_cost"),
        ("CostOfGoodsSold", "direct_cost"),
        ("DIRECTCOSTS", "direct_cost"),
        ("Cost of Sales", "direct_cost"),
        ("Indirect Costs", "expense"),
        ("DEPRECIATN", "expense"),
        ("OtherExpense", "expense"),
        ("Expense", "expense"),
        ("Other Expenses", "expense"),
        ("OVERHEADS", "expense"),
        ("Income", "income"),
        ("Sales", "income"),
        ("Revenue", "income"),
        ("OTHERINCOME", "income"),
        ("Bank", "balance_sheet"),
        ("OtherCurrentAsset", "balance_sheet"),
        ("TERMLIAB", "balance_sheet"),
        ("Superannuation", None),
        ("Accounts Receivable", "balance_sheet"),
        ("", None),
        (None, None),
    ],
)
def test_account_types_of_the_accounting_systems_are_sorted(account_type: str | None, kind: str | None) -> None:
    assert account_kind(account_type) == kind


texts = st.text(max_size=30)
sources = st.builds(
    Source,
    st.sampled_from(["cost_code", "project"]),
    st.text(min_size=1, max_size=10),
    texts,
    st.none() | texts,
    st.none() | texts,
    st.none() | texts,
    texts,
)
charts = st.lists(
    st.builds(Target, st.text(min_size=1, max_size=6), texts, st.none() | texts, st.none() | texts),
    min_size=1,
    max_size=6,
    unique_by=lambda target: target.code,
)
BOUNDED = (
    *("name_similarity", "context_similarity", "source_covered", "target_covered"),
    *("nearest", "nearest_spelling", "memory"),
)
COSINES = ("encoder_name", "encoder_context")
SHARES = ("share_group", "share_prefix", "share_stem", "memory")


@settings(max_examples=60)
@given(sources, charts, st.lists(st.tuples(sources, st.integers(0, 7)), max_size=8))
def test_whatever_is_written_features_are_finite_and_in_range(
    asked: Source, targets: list[Target], mapped: list[tuple[Source, int]]
) -> None:
    chart = Chart(targets)
    codes = [target.code for target in targets]
    before = history(*((s, codes[i] if i < len(codes) else "gone") for s, i in mapped), chart=chart)
    found = rows(asked, before, chart)
    assert np.isfinite(found).all()
    for name in BOUNDED:
        assert min(column(found, name)) >= 0, name
        assert max(column(found, name)) <= 1.0001, name
    for name in COSINES:
        assert max(abs(value) for value in column(found, name)) <= 1.0001, name
    for name in SHARES:
        assert sum(column(found, name)) <= 1.0001, name


@settings(max_examples=30)
@given(sources, charts)
def test_the_order_of_the_chart_does_not_matter(asked: Source, targets: list[Target]) -> None:
    turned = targets[::-1]
    one, other = rows(asked, None, Chart(targets)), rows(asked, None, Chart(turned))
    np.testing.assert_allclose(one, other[::-1], atol=1e-6)


def test_a_part_of_a_history_is_the_history_of_that_part() -> None:
    mapped = [
        (source("Panel labor", "16-1", group="16 Electrical"), "50100"),
        (source("Paint", "09-1", group="09 Finishes"), "50300"),
        (source("Mall", "P-1", kind="project"), "40100"),
        (source("Conduit wire", "16-2", group="16 Electrical"), "50200"),
    ]
    kept = np.array([3, 0])
    part = history(*mapped).only(kept, np.array([CHART.position["50200"], CHART.position["61000"]]))
    fresh = history(mapped[3], (mapped[0][0], "61000"))
    for asked in (source("Panel wire", "16-9", group="16 Electrical"), source("Paint", "09-2"), source("Mall")):
        np.testing.assert_allclose(rows(asked, part), rows(asked, fresh), atol=1e-5)
