"""``crewflow key``: the keys of the HTTP API."""

from typing import Annotated

import typer

from crewflow_assets.store import keys
from crewflow_assets.store.database import reading, transaction

app = typer.Typer(
    no_args_is_help=True,
    help="""Make, list and revoke keys of the HTTP API.

    \b
    Examples:
      crewflow key create --company c-1 --name backend   for one company
      crewflow key create --platform --name operations   for all companies
      crewflow key limit 3 --per-minute 600
      crewflow key list
      crewflow key revoke 3
    """,
)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who uses the key, such as backend.")],
    company: Annotated[str | None, typer.Option(help="The company whose data the key opens.")] = None,
    platform: Annotated[bool, typer.Option("--platform", help="Open all companies' data instead.")] = False,
    per_minute: Annotated[
        int | None,
        typer.Option(help="Requests this key may make a minute; without, the setting holds."),
    ] = None,
) -> None:
    """Make a key and print its token, once: only a hash of it is kept.

    The token alone goes to standard output, so that it can be piped into a secret store.

    \b
    Examples:
      crewflow key create --company c-1 --name backend
      crewflow key create --platform --name operations > platform.token
    """
    if platform == (company is not None):
        raise typer.BadParameter("give either --company ID or --platform")
    with transaction() as session:
        token, row = keys.create(session, name, company, requests_per_minute=per_minute)
    typer.echo(token)
    scope = f"company {company}" if company is not None else "the platform"
    typer.echo(f"Key {row.id} ({row.name}) opens the data of {scope}. Keep it: it is not shown again.", err=True)
    typer.echo('Send it as "Authorization: Bearer <token>".', err=True)


@app.command("list")
def list_keys() -> None:
    """List all keys with what they open; revoked ones too."""
    with reading() as session:
        rows = keys.list_keys(session)
    if not rows:
        typer.echo("no keys yet; make one with: crewflow key create --company ID --name backend")
        return
    table = [("id", "name", "opens", "ends in", "a minute", "made", "revoked")]
    for row in rows:
        revoked = row.revoked_at.isoformat(timespec="seconds") if row.revoked_at else "-"
        made = row.created_at.isoformat(timespec="seconds")
        limit = str(row.requests_per_minute or "-")
        table.append((str(row.id), row.name, row.company_id or "the platform", row.hint, limit, made, revoked))
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@app.command("limit")
def set_limit(
    key_id: Annotated[int, typer.Argument(help="The key's id, as `crewflow key list` shows it.")],
    per_minute: Annotated[
        int | None, typer.Option(help="Requests a minute; without, the installation's limit holds again.")
    ] = None,
) -> None:
    """Set how many requests a key may make a minute in each worker; services follow within seconds.

    \b
    Examples:
      crewflow key limit 3 --per-minute 600
      crewflow key limit 3                    back to CREWFLOW_REQUESTS_PER_MINUTE
    """
    with transaction() as session:
        row = keys.limit(session, key_id, per_minute)
    said = f"{per_minute:,} requests" if per_minute is not None else "CREWFLOW_REQUESTS_PER_MINUTE requests"
    typer.echo(f"Key {row.id} ({row.name}) may make {said} a minute.")


@app.command()
def revoke(key_id: Annotated[int, typer.Argument(help="The key's id, as `crewflow key list` shows it.")]) -> None:
    """Close a key for good; requests that carry it get 401 from then on.

    Example: crewflow key revoke 3
    """
    with transaction() as session:
        row = keys.revoke(session, key_id)
    typer.echo(f"Key {row.id} ({row.name}) is revoked.")
