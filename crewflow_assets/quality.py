"""Great Expectations suites on feature tables, as blocking Dagster asset checks."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import dagster as dg

from crewflow_assets.spec import Expectation, ModelSpec

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES_SHOWN = 5


def run_suite(name: str, expectations: tuple[Expectation, ...], table: "pd.DataFrame") -> "pd.DataFrame":
    """Validate a table and return one row for each expectation, the failed first.

    Columns: expectation, column, passed, unexpected (count), share, examples, problem.

    Raises:
        ValueError: Great Expectations has no expectation of that name.
    """
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")  # a fresh one each time, or memory grows
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    batch = (
        context.data_sources.add_pandas(name)
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe(name)
        .get_batch({"dataframe": table})
    )
    suite = gx.ExpectationSuite(name)
    for expectation in expectations:
        kind = getattr(gx.expectations, expectation.kind, None)
        if kind is None:
            raise ValueError(f"Great Expectations has no {expectation.kind!r}; see its gallery of expectations")
        suite.add_expectation(kind(**expectation.arguments))
    outcome = batch.validate(suite)
    rows = pd.DataFrame([_row(result) for result in outcome.results])
    return rows.sort_values(["passed", "expectation", "column"], kind="stable").reset_index(drop=True)


def _row(result: Any) -> dict[str, Any]:
    arguments = dict(result.expectation_config.kwargs)
    arguments.pop("batch_id", None)
    found = result.result or {}
    error = (result.exception_info or {}).get("exception_message")
    if error is None and isinstance(result.exception_info, dict):
        nested = [v for v in result.exception_info.values() if isinstance(v, dict) and v.get("raised_exception")]
        error = nested[0]["exception_message"] if nested else None
    column = str(arguments.pop("column", ""))
    return {
        "expectation": f"{result.expectation_config.type} {arguments or ''}".strip(),
        "column": column,
        "passed": bool(result.success),
        "unexpected": int(found.get("unexpected_count") or 0),
        "share": round(float(found.get("unexpected_percent") or 0) / 100, 4),
        "examples": ", ".join(map(str, (found.get("partial_unexpected_list") or [])[:EXAMPLES_SHOWN])),
        "observed": str(found.get("observed_value", "")),
        "problem": str(error or ""),
    }


def results_table(rows: "pd.DataFrame") -> dg.TableMetadataValue:
    """Return the results as a table that Dagster shows."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord({str(k): v for k, v in row.items()}) for row in rows.to_dict(orient="records")]
    )


def feature_check(
    spec: ModelSpec, alive: Callable[[dg.DagsterRun], AbstractContextManager[None]]
) -> dg.AssetChecksDefinition:
    """Make the check that stops a training whose feature table is not what the spec expects.

    Args:
        spec: The model's.
        alive: Shows that a run lives while it validates, which takes minutes for a large table.
    """

    @dg.asset_check(
        asset=dg.AssetKey([spec.name, "features"]),
        name="expectations",
        description=f"Great Expectations on the feature table of {spec.name}; a failure stops its training.",
        blocking=True,
    )
    def expectations(context: dg.AssetCheckExecutionContext, features: dict[str, Any]) -> dg.AssetCheckResult:
        import pandas as pd

        with alive(context.run):
            rows = run_suite(spec.name, spec.expectations, pd.read_parquet(features["path"]))
        failed = int((~rows["passed"]).sum())
        return dg.AssetCheckResult(
            passed=failed == 0,
            description=f"{failed} of {len(rows)} expectations failed" if failed else f"all {len(rows)} hold",
            metadata={"results": results_table(rows), "failed": failed},
        )

    return expectations
