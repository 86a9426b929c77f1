"""``crewflow db``: the operational database's schema."""

import typer

app = typer.Typer(help="The operational database: bring its schema up to date.", no_args_is_help=True)


@app.callback()
def main() -> None:
    """Keep ``upgrade`` a command of its own beside those to come."""


@app.command(epilog="Example:  CREWFLOW_DATABASE_URL=postgresql://localhost/crewflow crewflow db upgrade")
def upgrade() -> None:
    """Create the tables, or apply the migrations that are missing; harmless when there are none."""
    from sqlalchemy import make_url  # the command line starts faster without SQLAlchemy

    from crewflow_assets.settings import get_settings
    from crewflow_assets.store import schema

    before, after = schema.upgrade()
    shown = make_url(get_settings().sqlalchemy_url).render_as_string(hide_password=True)
    typer.echo(f"{shown}: {'created at' if before is None else 'was'} {before or after}, is {after}")
