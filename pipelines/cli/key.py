"""``crewflow key``: the keys of the HTTP API."""

from typing import Annotated

import typer

from crewflow_assets.store import keys
from crewflow_assets.store.database import reading, transaction
from pipelines.cli.columns import print_columns

app = typer.Typer(
    no_args_is_help=True,
    help="""Create, list and revoke keys of the HTTP API.

    \b
    Examples:
      crewflow key create --company c-1 --name backend   for one company
      crewflow key create --platform --name operations   for all companies
      crewflow key limit 3 --per-minute 600
      crewflow key list
      crewflow key revoke 3
    """,
)


KeyId = Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="The key's id, as `crewflow key list` shows it.")]


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who uses the key, such as backend.")],
    company: Annotated[str | None, typer.Option(help="The company whose data the key gives access to.")] = None,
    platform: Annotated[bool, typer.Option("--platform", help="Give access to all companies' data instead.")] = False,
    per_minute: Annotated[
        int | None,
        typer.Option(help="Requests per minute this key may make; by default CREWFLOW_REQUESTS_PER_MINUTE."),
    ] = None,
) -> None:
    """Create a key and print its token, once: only a hash of it is stored.

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
    """List all keys with their scope, revoked ones included."""
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
    print_columns(table)


@app.command("limit")
def set_limit(
    key_id: KeyId,
    per_minute: Annotated[
        int | None, typer.Option(help="Requests per minute; without it, the installation's limit applies again.")
    ] = None,
) -> None:
    """Set how many requests per minute a key may make to each worker; services follow within seconds.

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
def revoke(key_id: KeyId) -> None:
    """Revoke a key for good; requests that carry it get 401 from then on.

    Example: crewflow key revoke 3
    """
    with transaction() as session:
        row = keys.revoke(session, key_id)
    typer.echo(f"Key {row.id} ({row.name}) is revoked.")
