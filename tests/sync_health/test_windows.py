"""Sums over the time before each row are those of adding up by hand, with ties, gaps and nothing to add."""

import ibis
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from crewflow_assets.sync_health.windows import sums_before

ROWS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 12), st.none() | st.integers(-5, 5)), min_size=1, max_size=30
)


@settings(max_examples=15)
@given(ROWS)
def test_sums_are_those_of_the_rows_within_each_span(rows: list[tuple[str, int, int | None]]) -> None:
    given_rows = [{"row": place, "key": key, "at": at, "x": x} for place, (key, at, x) in enumerate(rows)]
    kinds = [("row", pa.int64()), ("key", pa.string()), ("at", pa.int64()), ("x", pa.int64())]
    table = ibis.duckdb.connect(threads=1).create_table("t", pa.Table.from_pylist(given_rows, pa.schema(kinds)))
    wanted = {"x_3": ("x", 3), "x_7": ("x", 7)}
    found = (
        sums_before(table, ["key"], "at", wanted, {"double": table.x * 2}).order_by("row").to_pyarrow().to_pylist()
    )
    assert set(found[0]) == {"row", "key", "at", "x", "double", *wanted}
    for mine, (key, at, _) in zip(found, rows, strict=True):
        for name, (_, span) in wanted.items():
            inside = [x for other, then, x in rows if other == key and 1 <= at - then <= span and x is not None]
            assert mine[name] == sum(inside)
