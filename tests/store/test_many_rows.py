"""Many rows by one statement: what is read back is what the columns' own way would have written."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.many_rows import insert_at_once
from crewflow_assets.store.tables import Prediction

TABLE = Prediction.metadata.tables[Prediction.__tablename__]
MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def row(prediction_id: str = "p-1", **changes: Any) -> dict[str, Any]:
    return {
        "id": prediction_id,
        "model": "echo",
        "model_version": "1.0",
        "variant": "champion",
        "company_id": "c-1",
        "inputs": {"text": "é \" ' 材 T Z", "list": [1, 2.5, None, True, {}], "empty": {}},
        "output": {"probability": 0.1},
        "withheld": False,
        "propensity": 0.95,
        "latency_ms": 12.25,
        "created_at": MOMENT,
        **changes,
    }


def put(*rows: dict[str, Any], again: bool = False) -> None:
    with transaction() as session:
        insert_at_once(session, TABLE, rows, again=again)


def stored() -> list[dict[str, Any]]:
    with reading() as session:
        return [dict(found) for found in session.execute(select(TABLE).order_by(TABLE.c.id)).mappings()]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"company_id": None},
        {"withheld": True, "propensity": 1.0, "latency_ms": 0},
        {"created_at": MOMENT.replace(microsecond=0)},
        {"created_at": MOMENT.replace(microsecond=500_000)},
        {"model": "a 'quoted' \"name\" \\ T Z", "inputs": {}},
    ],
)
def test_a_row_is_read_back_as_if_inserted_by_its_columns(store: Engine, changes: dict[str, Any]) -> None:
    put(row("p-1", **changes))
    with transaction() as session:
        session.execute(insert(TABLE), [row("p-2", **changes)])
    first, second = stored()
    assert {**first, "id": "p-2"} == second == row("p-2", **changes)


def test_moments_compare_with_those_written_by_their_columns(store: Engine) -> None:
    put(row("p-1"), row("p-2", created_at=MOMENT.replace(second=16)))
    with reading() as session:
        later = session.scalars(select(TABLE.c.id).where(TABLE.c.created_at > MOMENT)).all()
    assert later == ["p-2"]


def test_one_row_that_is_refused_refuses_all(store: Engine) -> None:
    with pytest.raises(IntegrityError):
        put(row("p-1"), row("p-2", model=None))
    with pytest.raises(IntegrityError):
        put(row("p-1"), row("p-1"))
    assert stored() == []


def test_again_leaves_alone_what_is_there(store: Engine) -> None:
    put(row("p-1"))
    put(row("p-1", variant="another"), row("p-2"), again=True)
    assert [(one["id"], one["variant"]) for one in stored()] == [("p-1", "champion"), ("p-2", "champion")]


def test_more_rows_than_one_statement_takes(store: Engine) -> None:
    put(*(row(f"p-{number}") for number in range(2000)))
    assert len(stored()) == 2000


def test_nothing_is_inserted_of_no_rows(store: Engine) -> None:
    put()
    assert stored() == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
"""Without what the gateway refuses."""
PLAIN = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e6, 1e6) | TEXTS
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inputs=st.dictionaries(TEXTS, VALUES, max_size=4), text=TEXTS)
def test_whatever_the_values(store: Engine, inputs: dict[str, Any], text: str) -> None:
    with transaction() as session:
        session.execute(delete(TABLE))
    put(row("p-1", inputs=inputs, model=text))
    assert stored() == [row("p-1", inputs=inputs, model=text)]
