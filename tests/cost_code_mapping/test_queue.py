"""The review queue: pages in the order of codes, and progress."""

from datetime import timedelta
from typing import Any, Literal

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.cost_code_mapping.queue import review_queue
from crewflow_assets.errors import NotFoundError
from crewflow_assets.ingest.files import import_rows
from crewflow_assets.ingest.rows import CostCodeRow
from crewflow_assets.store.database import reading, transaction
from tests.worlds import ACCOUNTS, QUICKBOOKS, START, mapping_event, post, write_company

COMPANY = "c-1"
ALL = [f"{i:03d}" for i in range(10)]


@pytest.fixture
def company(store: Engine) -> str:
    """Ten cost codes, the first three of them mapped."""
    codes = [CostCodeRow(code=code, name=f"Name {code}", description=f"About {code}", group="G") for code in ALL]
    with transaction() as session:
        write_company(session, COMPANY, cost_codes=codes)
        post(session, *(mapping_event(COMPANY, code, "50100", START + timedelta(hours=1)) for code in ALL[:3]))
    return COMPANY


def queue(state: Literal["review", "mapped", "all"] = "review", **changes: Any) -> dict[str, Any]:
    with reading() as session:
        arguments = {"company_id": COMPANY, "kind": "cost_code", "system": QUICKBOOKS, "state": state} | changes
        return review_queue(session, **arguments)


def codes(page: dict[str, Any]) -> list[str]:
    return [item["source_code"] for item in page["items"]]


def test_progress_counts_all_items_whatever_is_shown(company: str) -> None:
    for state, shown in (("review", ALL[3:]), ("mapped", ALL[:3]), ("all", ALL)):
        page = queue(state)  # type: ignore[arg-type]
        assert codes(page) == shown
        assert (page["mapped"], page["total"]) == (3, 10)


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_pages_follow_each_other_without_gaps_or_repetitions(company: str, size: int) -> None:
    seen: list[str] = []
    after = None
    while True:
        page = queue(limit=size, after=after)
        assert len(page["items"]) <= size
        seen += codes(page)
        after = page["next"]
        if after is None:
            break
    assert seen == ALL[3:]


def test_an_item_that_is_mapped_leaves_the_queue_and_one_taken_back_returns(company: str) -> None:
    with transaction() as session:
        post(session, mapping_event(COMPANY, "003", "50100", START + timedelta(hours=2)))
        post(session, mapping_event(COMPANY, "000", None, START + timedelta(hours=2)))
    page = queue()
    assert codes(page) == ["000", *ALL[4:]]
    assert page["mapped"] == 3
    assert page["items"][0]["state"] == "review"


def test_items_show_what_they_are_and_where_they_stand(company: str) -> None:
    page = queue("all")
    mapped, waiting = page["items"][0], page["items"][3]
    assert mapped["name"] == "Name 000"
    assert (
        mapped["state"],
        mapped["target_code"],
        mapped["target_name"],
        mapped["method"],
        mapped["decided_by"],
    ) == (
        "mapped",
        "50100",
        "Electrical Labor",
        "person",
        "dana",
    )
    assert waiting == {
        "kind": "cost_code",
        "source_code": "003",
        "name": "Name 003",
        "description": "About 003",
        "group": "G",
        "project_type": None,
        "state": "review",
    } | dict.fromkeys(
        ("target_code", "target_name", "method", "decision_id", "decided_by", "decided_at", "reopened_reason")
    )


def test_items_out_of_use_are_neither_shown_nor_counted(company: str) -> None:
    rows = [CostCodeRow(code=code, name=f"Name {code}", description=None, group=None) for code in ALL[1:5]]
    with clock.fixed(START + timedelta(days=1)), transaction() as session:
        import_rows(session, "cost_codes", COMPANY, None, rows)
    page = queue("all")
    assert codes(page) == ALL[1:5]
    assert (page["mapped"], page["total"]) == (2, 4)


def test_kinds_systems_and_companies_are_kept_apart(company: str) -> None:
    with transaction() as session:
        write_company(session, "c-2")
        import_rows(session, "accounts", COMPANY, "sage", ACCOUNTS)
    assert codes(queue(kind="project")) == ["P-1", "P-2"]
    assert queue(system="sage")["mapped"] == 0
    assert queue(company_id="c-2")["total"] == 8


def test_an_unknown_company_is_not_found_rather_than_empty(store: Engine) -> None:
    with pytest.raises(NotFoundError, match="company 'c-1' is unknown"):
        queue()
