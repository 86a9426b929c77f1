"""Real charts and cost-code lists, written out as their owners' files would be, are imported whole and again.

The lists are not part of this repository: CREWFLOW_DATA names the folder that holds them.
"""

import csv
import os
from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from crewflow_assets.errors import InvalidInputError
from crewflow_assets.ingest.files import import_file
from crewflow_assets.store.database import reading
from crewflow_assets.store.tables import Account, SourceItem
from tests.ingest.exports import as_csv, as_xlsx, quickbooks

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("CREWFLOW_DATA", REPOSITORY.parent / "shared" / "data")) / "mapping"
Rows = list[dict[str, str]]


def lists(name: str, key: str) -> dict[str, Rows]:
    path = DATA / name
    if not path.exists():
        return {}
    found: dict[str, Rows] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row[key], []).append(row)
    return found


CHARTS = lists("charts_of_accounts.csv", "chart")
NUMBERED_CHARTS = {name: rows for name, rows in CHARTS.items() if all(row["account_code"] for row in rows)}
CODES = lists("company_cost_codes.csv", "company")
WRITERS = ("cp1252", "utf-8-sig", "xlsx")

pytestmark = pytest.mark.skipif(
    not (CHARTS and CODES),
    reason=f"{DATA} has no charts_of_accounts.csv and company_cost_codes.csv: set CREWFLOW_DATA",
)


def numbered(names: dict[str, Rows]) -> list[Any]:
    """Number the lists and give each a way of writing it; names of real lists stay out of the test ids."""
    return [
        pytest.param(name, writer, id=f"{index}-{writer}")
        for index, (name, writer) in enumerate(zip(names, cycle(WRITERS)))
    ]


def save(folder: Path, header: tuple[str, ...], rows: Sequence[tuple[str, ...]], writer: str) -> Path:
    if writer == "xlsx":
        path = folder / "list.xlsx"
        path.write_bytes(as_xlsx({"About": [["Exported for review"]], "List": quickbooks(rows, header)}))
    else:
        path = folder / "list.csv"
        delimiter = ";" if writer == "cp1252" else ","
        path.write_bytes(as_csv(quickbooks(rows, header), encoding=writer, delimiter=delimiter))
    return path


@pytest.mark.parametrize(("name", "writer"), numbered(CHARTS))
def test_each_real_chart_is_imported_and_imported_again(
    store: Engine, tmp_path: Path, name: str, writer: str
) -> None:
    rows = CHARTS[name]
    full = [":".join([*filter(None, row["parent_path"].split(" > ")), row["account_name"]]) for row in rows]
    if rows[0]["account_code"]:
        header = ("Account #", "Full name", "Type")
        table = [(row["account_code"], path, row["account_type"]) for row, path in zip(rows, full, strict=True)]
        expected = {row["account_code"]: row["account_name"] for row in rows}
    else:
        header = ("Full name", "Type", "Detail type")
        table = [(path, row["account_type"], "") for row, path in zip(rows, full, strict=True)]
        expected = {path: path.rsplit(":", 1)[-1] for path in full}
    path = save(tmp_path, header, table, writer)
    first = import_file(path, kind="accounts", company_id="c-1", system="quickbooks")
    assert (first.inserted, first.rows, first.skipped) == (len(rows), len(rows), 0)
    with reading() as session:
        stored = dict(session.execute(select(Account.code, Account.name)).all())
    assert stored == expected
    again = import_file(path, kind="accounts", company_id="c-1", system="quickbooks")
    assert (again.unchanged, again.changed, again.warnings) == (len(rows), False, ())


@pytest.mark.parametrize(("name", "writer"), numbered(NUMBERED_CHARTS))
def test_each_real_chart_is_imported_with_numbered_names(
    sqlite_store: Engine, tmp_path: Path, name: str, writer: str
) -> None:
    rows = CHARTS[name]
    table = [(f"{row['account_code']} {row['account_name']}", row["account_type"], "") for row in rows]
    path = save(tmp_path, ("Full name", "Type", "Detail type"), table, writer)
    report = import_file(path, kind="accounts", company_id="c-1", system="quickbooks")
    assert report.inserted == len(rows)
    with reading() as session:
        stored = dict(session.execute(select(Account.code, Account.name)).all())
    assert stored == {row["account_code"]: row["account_name"] for row in rows}


@pytest.mark.parametrize(("name", "writer"), numbered(CODES))
def test_each_real_cost_code_list_is_imported_and_imported_again(
    store: Engine, tmp_path: Path, name: str, writer: str
) -> None:
    rows = CODES[name]
    table = [(row["source_code"], row["source_name"], row["source_group"]) for row in rows]
    path = save(tmp_path, ("Cost Code", "Description", "Division"), table, writer)
    twice = {code for code, count in Counter(row["source_code"] for row in rows).items() if count > 1}
    if twice:
        with pytest.raises(InvalidInputError) as caught:
            import_file(path, kind="cost_codes", company_id="c-1")
        bad = {int(problem.loc[1]) - 6 for problem in caught.value.problems}  # five lines above, counted from 1
        assert bad == {index for index, row in enumerate(rows) if row["source_code"] in twice}
        assert len(bad) == 2 * len(twice)
    first = import_file(path, kind="cost_codes", company_id="c-1", on_duplicate="first")
    assert (first.inserted, first.skipped) == (len(rows) - len(twice), len(twice))
    expected: dict[str, str] = {}
    for row in rows:
        expected.setdefault(row["source_code"], row["source_name"])
    with reading() as session:
        stored = dict(session.execute(select(SourceItem.code, SourceItem.name)).all())
    assert stored == expected
    again = import_file(path, kind="cost_codes", company_id="c-1", on_duplicate="first")
    assert (again.unchanged, again.changed) == (len(expected), False)


def test_one_real_list_has_two_codes_twice() -> None:
    repeated = [sum(n > 1 for n in Counter(row["source_code"] for row in rows).values()) for rows in CODES.values()]
    assert sorted(repeated)[-2:] == [0, 2]
