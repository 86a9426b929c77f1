"""The backtest as an asset: the champions in simulated worlds that no training has seen, with the PRD's table 4."""

import dagster as dg
from pydantic import Field

from crewflow_assets.lifecycle import picture

MODELS = ("sync_health", "retry_strategy", "conflict_resolution")


class BacktestConfig(dg.Config):
    """How large a run is."""

    draws: int = Field(50, ge=2, description="Simulated worlds, each with parameters drawn from their ranges.")
    integrations: int = Field(10, ge=1, description="Integrations in each world.")
    days: int = Field(5, ge=1, description="Days that count in each world, after a week of warm-up.")
    companies: int = Field(4, ge=1, description="Companies with timecards in each world.")


@dg.asset(
    name="policies",
    key_prefix="backtest",
    group_name="backtest",
    description="What the champions are worth together: fixed, adaptive and learned retries, with and without "
    "prevention, conflicts left to people or resolved, in paired simulated worlds; beside the ceiling.",
    deps=[dg.AssetKey([name, "champion"]) for name in MODELS],
    kinds={"python"},
)
def policies(context: dg.AssetExecutionContext, config: BacktestConfig) -> dg.MaterializeResult[None]:
    """Run the backtest and show its report."""
    from crewflow_assets.backtest.conflicts import Size as ConflictSize
    from crewflow_assets.backtest.models import champions
    from crewflow_assets.backtest.prd_table import prd_table
    from crewflow_assets.backtest.run import run
    from crewflow_assets.backtest.syncs import Size as SyncSize
    from crewflow_assets.backtest.table import markdown, plot

    def told(what: str, done: int, total: int) -> None:
        if done == total:
            context.log.info("%s: done", what)

    found = run(
        champions(),
        SyncSize(config.draws, config.integrations, days=config.days),
        ConflictSize(config.draws, config.companies),
        told,
    )
    return dg.MaterializeResult(
        metadata={
            "report": dg.MetadataValue.md(markdown(found)),
            "plot": picture("failures fewer", plot(found)),
            "versions": dg.MetadataValue.json(dict(found.versions)),
            "not_reached": [row.metric for row in prd_table(found) if row.reached == "no"],
            "draws": config.draws,
        }
    )


backtest_job = dg.define_asset_job(
    "backtest",
    selection=dg.AssetSelection.assets(policies),
    description="Judge the champions together in simulated worlds; takes some minutes.",
)
