"""``crewflow integration``: which integrations are known, how often they sync, and how fresh their data must be."""

from typing import Annotated

import typer

from crewflow_assets.store.database import reading, transaction
from crewflow_assets.sync_health.dashboard import overview
from crewflow_assets.sync_health.integrations import register
from pipelines.cli.columns import print_columns

app = typer.Typer(
    no_args_is_help=True,
    help="""List a company's integrations, and set what cannot be learned from their events.

    \b
    Examples:
      crewflow integration list --company c-1
      crewflow integration set --company c-1 --id i-3 --system quickbooks --freshness 60
    """,
)
PAGE = 200


@app.command("set")
def set_integration(
    company: Annotated[str, typer.Option(help="The company.")],
    integration: Annotated[str, typer.Option("--id", help="The integration's id, as its events carry it.")],
    system: Annotated[str, typer.Option(help="The accounting system that it connects to.")],
    interval: Annotated[float | None, typer.Option(help="Minutes between syncs, until events report it.")] = None,
    freshness: Annotated[
        float | None,
        typer.Option(help="Minutes within which a sync that is due has to be completed; 240 by default."),
    ] = None,
) -> None:
    """Register an integration before its first sync, or change its freshness limit.

    \b
    Examples:
      crewflow integration set --company c-1 --id i-3 --system quickbooks
      crewflow integration set --company c-1 --id i-3 --system quickbooks --freshness 60
    """
    with transaction() as session:
        row = register(
            session,
            company_id=company,
            integration_id=integration,
            system=system,
            interval_minutes=interval,
            freshness_minutes=freshness,
            actor="crewflow integration",
        )
    often = "as often as its events tell" if row.interval_minutes is None else f"every {row.interval_minutes:g} min"
    typer.echo(
        f"{row.integration_id} connects {row.company_id} to {row.system}, syncs {often}; a sync that is due has to "
        f"be completed within {row.freshness_minutes:g} min"
    )


@app.command("list")
def list_integrations(company: Annotated[str, typer.Option(help="The company.")]) -> None:
    """List a company's integrations with the risk found by the last run of the watch.

    Example: crewflow integration list --company c-1
    """
    table = [("id", "system", "state", "status", "risk", "last success", "open alerts")]
    after = None
    with reading() as session:
        while True:
            page = overview(session, company_id=company, limit=PAGE, after=after)
            for item in page["items"]:
                risk = item["failure_probability"]
                table.append(
                    (
                        item["integration_id"],
                        item["system"],
                        item["state"],
                        item["status"] or "-",
                        "-" if risk is None else f"{risk:.0%}",
                        (item["last_ok_at"] or "never")[:16],
                        str(item["open_alerts"]),
                    )
                )
            if (after := page["next"]) is None:
                break
    if len(table) == 1:
        typer.echo(f"no integration of {company} is known yet; they become so with their first sync_attempt event")
        return
    print_columns(table)
