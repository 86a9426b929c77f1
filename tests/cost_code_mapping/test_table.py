"""The feature table: what becomes a row, what is its label, and that it knows nothing of the future."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from crewflow_assets.cost_code_mapping.features import FEATURES
from crewflow_assets.cost_code_mapping.table import SHARES, CompanyRecords, PastDecision, feature_table
from crewflow_assets.store.tables import Account, SourceItem

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
NAMES = {
    "50100": "Electrical Labor",
    "50200": "Electrical Materials",
    "50300": "Subcontractors",
    "61000": "Office",
}
FUTURE = ["label", "stood"]


def at(hour: float) -> datetime:
    return START + timedelta(hours=hour)


def account(code: str, *, created: int = -1, gone: int | None = None) -> Account:
    return Account(
        company_id="c-1",
        system="quickbooks",
        code=code,
        name=NAMES.get(code, f"Account {code}"),
        type="Expense",
        parent=None,
        created_at=at(created),
        deactivated_at=None if gone is None else at(gone),
    )


def item(code: str, name: str, kind: str = "cost_code") -> SourceItem:
    return SourceItem(
        company_id="c-1",
        kind=kind,
        code=code,
        name=name,
        description=None,
        group_name="16 Electrical",
        project_type=None,
        created_at=at(-1),
        deactivated_at=None,
    )


ITEMS = [
    item("E-1", "Rough labor"),
    item("E-2", "Finish labor"),
    item("E-3", "Rough wire"),
    item("X-4", "Rough labour"),
    item("P-1", "Mall", "project"),
]


def decision(hour: float, code: str, target: str | None, **changes: Any) -> PastDecision:
    known: dict[str, Any] = {
        "at": at(hour),
        "kind": "cost_code",
        "system": "quickbooks",
        "source_code": code,
        "action": "undo" if target is None else "accept",
        "target_code": target,
        "method": "person",
    }
    return PastDecision(**(known | changes))


def table(*decisions: PastDecision, accounts: Iterable[Account] = (), variant: str | None = "replay") -> pd.DataFrame:
    """Return the rows of a variant; without one, all."""
    company = CompanyRecords(
        company_id="c-1",
        industry="electrical",
        items={(i.kind, i.code): i for i in ITEMS},
        accounts=list(accounts) or [account(code) for code in NAMES],
        decisions=sorted(decisions, key=lambda d: d.at),
    )
    found = feature_table([company])
    return found if variant is None else found[found["variant"] == variant].reset_index(drop=True)


def labels(found: pd.DataFrame) -> dict[str, str]:
    chosen = found[found["label"] == 1]
    assert len(chosen) == found["query"].nunique()
    return {
        code.split("/")[3]: str(target) for code, target in zip(chosen["query"], chosen["candidate"], strict=True)
    }


def test_each_first_decision_gives_a_row_for_each_open_account() -> None:
    found = table(decision(1, "E-1", "50100"), decision(2, "E-3", "50200"))
    assert found.groupby("query", sort=False).size().to_dict() == {
        "c-1/quickbooks/cost_code/E-1/replay": 4,
        "c-1/quickbooks/cost_code/E-3/replay": 4,
    }
    assert labels(found) == {"E-1": "50100", "E-3": "50200"}
    assert found["n_history"].tolist() == [0] * 4 + [1] * 4
    assert found["fold"].unique().tolist() == ["train"]
    assert found["decided_at"].unique().tolist() == [pd.Timestamp(at(1)), pd.Timestamp(at(2))]


def test_the_first_row_of_a_company_knows_no_history_and_the_next_one_does() -> None:
    found = table(decision(1, "E-1", "50100"), decision(2, "X-4", "50100"))
    history = list(FEATURES[FEATURES.index("used_before") :])
    first, second = (rows for _, rows in found.groupby("query", sort=False))
    assert (first[history].to_numpy() == 0).all()
    assert second["memory"].tolist() == [1, 0, 0, 0]  # "Rough labour" was "Rough labor" before


def test_the_label_is_where_the_item_was_left_and_tells_whether_it_stood() -> None:
    found = table(
        decision(1, "E-1", "50300"), decision(2, "E-2", "50100"), decision(3, "E-1", "50100", action="correct")
    )
    assert labels(found) == {"E-1": "50100", "E-2": "50100"}
    assert found.groupby("source_code")["stood"].first().to_dict() == {"E-1": False, "E-2": True}


def test_a_decision_does_not_count_for_what_came_before_it_even_when_corrected_later() -> None:
    found = table(
        decision(1, "E-1", "50300"), decision(2, "E-2", "50100"), decision(3, "E-1", "50100", action="correct")
    )
    second = found[found["source_code"] == "E-2"]
    assert dict(zip(second["candidate"], second["used_before"], strict=True))["50300"] == 1


def test_what_was_taken_back_and_left_open_is_no_example() -> None:
    found = table(decision(1, "E-1", "50100"), decision(2, "E-1", None), decision(3, "E-2", "50100"))
    assert labels(found) == {"E-2": "50100"}
    assert found["n_history"].tolist() == [0] * 4


def test_the_platforms_own_decisions_are_history_but_never_labels() -> None:
    found = table(
        decision(1, "E-1", "50300", method="model"),
        decision(2, "E-2", "50100"),
        decision(3, "E-2", None),
        decision(4, "E-2", "50300", method="model"),
        decision(5, "E-3", "50200"),
    )
    assert labels(found) == {"E-3": "50200"}
    assert found["n_history"].unique().tolist() == [2]


def test_an_automatic_decision_does_not_change_what_a_person_left() -> None:
    found = table(
        decision(1, "E-1", "50100"), decision(2, "E-1", "50300", method="model"), decision(3, "E-2", "50100")
    )
    assert labels(found) == {"E-1": "50100", "E-2": "50100"}
    second = found[found["source_code"] == "E-2"]
    assert second["used_before"].tolist() == [1, 0, 0, 0]


def test_decisions_of_one_moment_do_not_know_of_each_other() -> None:
    found = table(
        decision(1, "E-1", "50100"), decision(1, "E-2", "50100"), decision(1, "E-1", "50200", action="correct")
    )
    assert found["n_history"].unique().tolist() == [0]
    assert found["query"].nunique() == 2
    assert labels(found) == {"E-1": "50200", "E-2": "50100"}


def test_accounts_that_were_not_open_at_the_moment_are_no_candidates() -> None:
    accounts = [account("50100"), account("50200", created=2), account("50300", gone=2), account("61000")]
    found = table(decision(1, "E-1", "50100"), decision(3, "E-2", "50100"), accounts=accounts)
    candidates = found.groupby("source_code")["candidate"].apply(list).to_dict()
    assert candidates == {"E-1": ["50100", "50300", "61000"], "E-2": ["50100", "50200", "61000"]}


def test_a_label_that_was_not_open_yet_is_no_example() -> None:
    accounts = [account("50100"), account("50200", created=2)]
    assert table(decision(1, "E-1", "50100"), decision(3, "E-1", "50200", action="correct"), accounts=accounts).empty


def test_no_decisions_give_an_empty_table_with_the_columns_of_a_full_one() -> None:
    full, empty = table(decision(1, "E-1", "50100")), feature_table([])
    assert empty.empty
    assert empty.columns.tolist() == full.columns.tolist()


def test_a_decision_on_an_unknown_item_or_of_another_system_is_left_out() -> None:
    found = table(
        decision(1, "gone", "50100"), decision(2, "E-2", "50100", system="sage"), decision(3, "E-3", "50200")
    )
    assert labels(found) == {"E-3": "50200"}
    assert found["n_history"].unique().tolist() == [0]


BASE = [
    decision(1, "E-1", "50100"),
    decision(2, "E-2", "50100"),
    decision(2, "P-1", "61000", kind="project"),
    decision(4, "E-3", "50200"),
]


@pytest.mark.parametrize(
    "later",
    [
        [decision(5, "X-4", "50100")],
        [decision(5, "E-1", "50300", action="correct")],
        [decision(5, "E-2", "50300", method="model")],
        [decision(4, "X-4", "50300")],
        [decision(5, "X-4", "50300", method="model"), decision(6, "X-4", "50100", action="correct")],
    ],
    ids=["another item", "a correction", "an automatic one", "at the same moment", "a corrected automatic one"],
)
def test_a_later_decision_never_changes_earlier_rows(later: list[PastDecision]) -> None:
    before = table(*BASE, variant=None)
    after = table(*BASE, *later, variant=None)
    kept = after[after["query"].isin(before["query"])].reset_index(drop=True)
    assert_frame_equal(kept.drop(columns=FUTURE), before.drop(columns=FUTURE))


@pytest.mark.parametrize(
    "accounts",
    [
        [*(account(code) for code in NAMES), account("70000", created=9)],
        [*(account(code) for code in NAMES if code != "50300"), account("50300", gone=9)],
    ],
    ids=["added", "closed"],
)
def test_a_later_change_of_the_chart_never_changes_earlier_rows(accounts: list[Account]) -> None:
    before = table(*BASE, accounts=[account(code) for code in sorted(NAMES)], variant=None)
    after = table(*BASE, accounts=sorted(accounts, key=lambda one: one.code), variant=None)
    assert_frame_equal(after, before)


def many(number: int, *, odd: int | None = None) -> CompanyRecords:
    """Return a company that decides on many items in turn; ``odd`` is decided otherwise."""
    items = [item(f"M-{i}", f"Work {i} labor") for i in range(number)]
    return CompanyRecords(
        company_id="c-1",
        industry="electrical",
        items={(one.kind, one.code): one for one in items},
        accounts=[account(code) for code in NAMES],
        decisions=[decision(i, f"M-{i}", "61000" if i == odd else "50100") for i in range(number)],
    )


def sizes(found: pd.DataFrame) -> pd.DataFrame:
    """Return n_history of each decision by variant, with the share of its thinned history."""
    first = found.drop_duplicates("query").set_index(["source_code", "variant"])
    wide: pd.DataFrame = first["n_history"].unstack()
    return wide.assign(share=first["share"].xs("thinned", level="variant"))


def test_each_decision_is_asked_with_its_whole_history_and_again_with_a_part_of_it() -> None:
    found = feature_table([many(60)])
    seen = sizes(found)
    assert len(seen) == 60
    assert seen.loc[[f"M-{i}" for i in range(60)], "replay"].tolist() == list(range(60))
    assert (seen["thinned"] <= seen["replay"]).all()
    assert set(seen["share"]) == set(SHARES)
    assert (seen.loc[seen["share"] == 0, "thinned"] == 0).all()
    kept = seen[seen["share"] == 0.5]
    assert 0.35 < kept["thinned"].sum() / kept["replay"].sum() < 0.65
    assert found.loc[found["variant"] == "replay", "share"].unique().tolist() == [1.0]


def test_both_variants_have_the_same_candidates_labels_and_text_features() -> None:
    found = feature_table([many(20)])
    replay, thinned = (
        found[found["variant"] == variant].sort_values(["source_code", "candidate"]).reset_index(drop=True)
        for variant in ("replay", "thinned")
    )
    text = list(FEATURES[: FEATURES.index("used_before")])
    same = ["source_code", "candidate", "label", "stood", "decided_at", *text]
    assert_frame_equal(replay[same], thinned[same])


def test_a_thinned_row_sees_never_more_than_the_whole_history_did() -> None:
    found = feature_table([many(40, odd=3)])
    replay, thinned = (
        found[found["variant"] == variant].sort_values(["source_code", "candidate"])
        for variant in ("replay", "thinned")
    )
    for feature in ("used_before", "nearest", "nearest_spelling"):
        assert (thinned[feature].to_numpy() <= replay[feature].to_numpy() + 1e-6).all(), feature
    unknown = thinned["n_history"].to_numpy() == 0
    assert unknown.any()
    history = list(FEATURES[FEATURES.index("used_before") :])
    assert (thinned.loc[unknown, history].to_numpy() == 0).all()


def test_what_is_thinned_is_drawn_once_and_for_ever_whatever_comes_later() -> None:
    one, again, longer = feature_table([many(30)]), feature_table([many(30)]), feature_table([many(45)])
    assert_frame_equal(one, again)
    kept = longer[longer["query"].isin(one["query"])].reset_index(drop=True)
    assert_frame_equal(kept, one)
