"""The ``crewflow`` command. Each command's module is small, and loads what it needs when it runs."""

import logging
import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pipelines.cli import (
    backtest,
    build,
    cards,
    db,
    deliver,
    demo,
    drill,
    experiment,
    importing,
    integration,
    key,
    model,
    suggest,
    up,
)

# Nothing here reports to anyone; the libraries read these before they are imported.
for name, value in {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_HUB_OFFLINE": "1",
}.items():
    os.environ.setdefault(name, value)


class Group(TyperGroup):
    """The commands; what is wrong with a request is said in a sentence, not in a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            said = explain(error)
            if said is None:
                raise
            typer.secho(said, fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from None


def explain(error: Exception) -> str | None:
    """Return what a person should read of an error, or None for one that is a bug."""
    from pydantic import ValidationError  # the command line starts faster without these
    from sqlalchemy.exc import OperationalError, ProgrammingError

    from crewflow_assets.errors import CrewflowError

    if isinstance(error, CrewflowError):
        return str(error)
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
    if isinstance(error, OperationalError | ProgrammingError):
        return f"the database cannot be used ({error.orig}); is it there, and up to date? Run: crewflow db upgrade"
    return None


app = typer.Typer(
    name="crewflow",
    cls=Group,
    help="The machine-learning platform behind CrewFlow's accounting integrations.",
    epilog="Start with `crewflow demo`. Settings are CREWFLOW_* variables; docs/operations.md lists them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback()
def main(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more about what is done.")] = False,
) -> None:
    """Set up logging for every command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(message)s")


app.command("demo")(demo.demo)
app.command("up")(up.up)
app.add_typer(db.app, name="db")
app.command("import")(importing.import_command)
app.command("suggest")(suggest.suggest)
app.command("deliver")(deliver.deliver)
app.add_typer(experiment.app, name="experiment")
app.add_typer(integration.app, name="integration")
app.command("drill")(drill.drill)
app.command("backtest")(backtest.backtest)
app.command("cards")(cards.cards)
app.add_typer(model.app, name="model")
app.add_typer(key.app, name="key")
app.command("build")(build.build)

if __name__ == "__main__":
    app()
