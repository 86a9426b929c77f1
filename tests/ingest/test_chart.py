"""An account's code, name and parent follow from its columns by the documented rules."""

import pytest

from crewflow_assets.ingest.chart import ChartLine, NamedAccount, levels_of, name_accounts


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("Materials", ("Materials",)),
        ("Job Expenses:Materials", ("Job Expenses", "Materials")),
        ("Job Expenses : Materials", ("Job Expenses", "Materials")),
        ("Expenses > Job > Materials", ("Expenses", "Job", "Materials")),
        ("Less: Accumulated Depreciation", ("Less: Accumulated Depreciation",)),
        ("Job:", ("Job:",)),
        ("", ()),
    ],
)
def test_names_are_split_where_they_nest(name: str, levels: tuple[str, ...]) -> None:
    assert levels_of(name) == levels


def test_numbers_in_nested_names_are_codes_where_most_names_have_them() -> None:
    lines = [
        ChartLine("", "50100 Job Expenses"),
        ChartLine("", "50100 Job Expenses:50110 Materials"),
        ChartLine("", "50100 Job Expenses:50120 · Labor"),
        ChartLine("", "Uncategorized Income"),
    ]
    assert name_accounts(lines) == [
        NamedAccount("50100", "Job Expenses", None),
        NamedAccount("50110", "Materials", "Job Expenses"),
        NamedAccount("50120", "Labor", "Job Expenses"),
        NamedAccount("Uncategorized Income", "Uncategorized Income", None),
    ]


def test_a_chart_without_numbers_is_known_by_full_names() -> None:
    lines = [ChartLine("", name) for name in ("Travel", "Travel:Hotel", "1099 Contractors", "Job > Site > Fuel")]
    assert name_accounts(lines) == [
        NamedAccount("Travel", "Travel", None),
        NamedAccount("Travel:Hotel", "Hotel", "Travel"),
        NamedAccount("1099 Contractors", "1099 Contractors", None),
        NamedAccount("Job:Site:Fuel", "Fuel", "Job:Site"),
    ]


def test_a_number_column_is_the_code_and_is_taken_off_the_name() -> None:
    lines = [ChartLine("50110", "50110 - Materials"), ChartLine("7", "24 Hour Fitness"), ChartLine("8", "Less: Tax")]
    assert name_accounts(lines) == [
        NamedAccount("50110", "Materials", None),
        NamedAccount("7", "24 Hour Fitness", None),
        NamedAccount("8", "Less: Tax", None),
    ]


def test_a_parent_column_goes_before_the_name_once() -> None:
    lines = [
        ChartLine("", "Materials", "Job Expenses"),
        ChartLine("", "Job Expenses:Labor", "Job Expenses"),
        ChartLine("", "Stone", "Expenses > Job"),
        ChartLine("", "Same", "Same"),
    ]
    assert [(account.code, account.parent) for account in name_accounts(lines)] == [
        ("Job Expenses:Materials", "Job Expenses"),
        ("Job Expenses:Labor", "Job Expenses"),
        ("Expenses:Job:Stone", "Expenses:Job"),
        ("Same:Same", "Same"),
    ]


def test_a_parent_may_be_given_by_its_number() -> None:
    lines = [ChartLine("5", "Costs"), ChartLine("51", "Job", "5"), ChartLine("511", "Fuel", "51")]
    assert [account.parent for account in name_accounts(lines)] == [None, "Costs", "Costs:Job"]


def test_parents_in_a_circle_come_to_an_end() -> None:
    lines = [ChartLine("1", "A", "2"), ChartLine("2", "B", "1"), ChartLine("3", "C", "3")]
    assert [account.parent for account in name_accounts(lines)] == ["B", "A", None]


def test_an_empty_name_stays_empty() -> None:
    assert name_accounts([ChartLine("1", ""), ChartLine("", ":")]) == [
        NamedAccount("1", "", None),
        NamedAccount(":", ":", None),
    ]
