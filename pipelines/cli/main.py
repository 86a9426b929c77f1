"""The ``crewflow`` command. Each command's module is small, and loads what it needs when it runs."""

import inspect
import logging
import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from crewflow_assets.settings import PREFIX, Settings, unknown_settings
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

    from crewflow_assets.errors import CrewflowError, InvalidInputError

    if isinstance(error, InvalidInputError):
        unsaid = (problem.msg for problem in error.problems if problem.msg not in str(error))
        return ": ".join([str(error), *list(unsaid)[:1]])
    if isinstance(error, CrewflowError):
        return str(error)
    if isinstance(error, ValidationError):
        return "; ".join(_named(error.title, one) for one in error.errors(include_url=False))
    if isinstance(error, OperationalError | ProgrammingError):
        reason = str(error.orig).splitlines()[0]
        return f"the database cannot be used: {reason}; check CREWFLOW_DATABASE_URL, then run: crewflow db upgrade"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; choose another place, or fix this one"
    return None


def _named(title: str, problem: Any) -> str:
    """Return a field, its value unless the text says it, and what is wrong; a setting as its variable."""
    field = ".".join(map(str, problem["loc"]))
    name = f"{PREFIX}{field.upper()}" if title == Settings.__name__ else field
    own = problem["type"] == "value_error"
    value = "" if own or problem["type"] == "missing" else f"{str(problem['input'])[:60]!r}: "
    return f"{name}: {value}{problem['msg'].removeprefix('Value error, ')}"


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
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more details.")] = False,
) -> None:
    """Set up logging for every command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(message)s")
    for unknown in unknown_settings():
        typer.secho(unknown, fg=typer.colors.YELLOW, err=True)


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


def flowing(text: str) -> str:
    """Return a help text whose prose has one line a paragraph, for the terminal to break; examples are indented."""
    parts = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(part if "\n  " in part else part.replace("\n", " ") for part in parts)


for each in (app, *(group.typer_instance for group in app.registered_groups)):
    assert each is not None, "every group is added with its commands"
    for command in each.registered_commands:
        assert command.callback is not None, "every command is a function"
        command.help = flowing(command.callback.__doc__ or "")

if __name__ == "__main__":
    app()
