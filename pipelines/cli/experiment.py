"""``crewflow experiment``: comparing versions of a model by company, from start to promotion."""

from contextlib import suppress
from typing import Annotated, Any

import typer

from crewflow_assets.store.database import reading, transaction
from pipelines.cli.columns import print_columns
from pipelines.cli.options import By, Why

app = typer.Typer(
    no_args_is_help=True,
    help="""Compare versions of a model: companies are assigned to arms; daily looks stop harm and propose a winner.

    \b
    Examples:
      crewflow experiment start mapping-model-v2 --model cost_code_mapping --variant control=1.0:50
          --variant treatment=1.1:50 --metric mapping_accuracy --metric setup_time --days 30 --by dana
      crewflow experiment status mapping-model-v2
      crewflow experiment stop mapping-model-v2 --by dana --why "customers complain"
      crewflow experiment approve mapping-model-v2 --by dana --why "shown to be better"
    """,
)

Name = Annotated[str, typer.Argument(help="The experiment's name.")]


@app.command()
def start(
    name: Name,
    model: Annotated[str, typer.Option(help="The model, such as cost_code_mapping.")],
    variant: Annotated[
        list[str], typer.Option(help="NAME=VERSION:PERCENT, once for each arm; one is named control.")
    ],
    metric: Annotated[
        list[str],
        typer.Option(help="What is compared: the first metric decides the winner, all are watched for harm."),
    ],
    by: By,
    days: Annotated[int, typer.Option(help="How many days it runs at most.")] = 30,
) -> None:
    """Start an experiment now; the gateway applies it within seconds.

    \b
    Example:
      crewflow experiment start mapping-model-v2 --model cost_code_mapping --variant control=1.0:50
          --variant treatment=1.1:50 --metric mapping_accuracy --days 30 --by dana
    """
    from crewflow_assets import registry
    from crewflow_assets.experiments import ledger
    from crewflow_assets.experiments.config import ExperimentConfig
    from crewflow_assets.models import spec_named

    config = ExperimentConfig.model_validate(
        {
            "name": name,
            "model": model,
            "variants": _variants(variant),
            "metrics": metric,
            "duration_days": days,
        }
    )
    versions = {version.label: version.aliases for version in registry.describe(spec_named(model))}
    champion = next((label for label, aliases in versions.items() if registry.CHAMPION in aliases), None)
    with transaction() as session:
        row = ledger.start(session, config, versions=versions, champion=champion, by=by)
    typer.echo(f"{row.name} runs until {row.ends_at:%Y-%m-%d %H:%M} UTC; the first look is taken next night")


@app.command("list")
def list_experiments() -> None:
    """List all experiments, the running ones first.

    Example: crewflow experiment list
    """
    from crewflow_assets.experiments import ledger
    from crewflow_assets.experiments.views import views

    with reading() as session:
        found = views(session, ledger.every(session))
    if not found:
        typer.echo("no experiment yet; `crewflow experiment start --help` shows how to begin one")
        return
    rows = [
        (
            one["name"],
            one["model"],
            one["state"] if one["state"] == "running" else f"ended ({one['ended_reason']})",
            one["started_at"][:10],
            (one["ended_at"] or one["ends_at"])[:10],
            one["verdict"] or "-",
            one["winner"] or "-",
        )
        for one in found
    ]
    print_columns([("name", "model", "state", "from", "to", "last look", "winner"), *rows])


@app.command()
def status(name: Name) -> None:
    """Show an experiment and what its last look found.

    Example: crewflow experiment status mapping-model-v2
    """
    from crewflow_assets.experiments import ledger
    from crewflow_assets.experiments.views import view

    with reading() as session:
        _show(view(session, ledger.find(session, name)))


@app.command()
def look(name: Name) -> None:
    """Look at the data now and act on it, as happens every night; frequent looks do not invalidate the result.

    Example: crewflow experiment look mapping-model-v2
    """
    from crewflow_assets.experiments import ledger, looks
    from crewflow_assets.experiments.views import view

    looks.look(name)
    with reading() as session:
        _show(view(session, ledger.find(session, name)))


@app.command()
def stop(name: Name, by: By, why: Why) -> None:
    """End a running experiment; the champion answers every company again within seconds.

    Example: crewflow experiment stop mapping-model-v2 --by dana --why "customers complain"
    """
    from crewflow_assets.experiments import ledger

    with transaction() as session:
        ledger.stop(session, name, by=by, why=why)
    typer.echo(f"{name} has ended; the champion answers again")


@app.command()
def resume(name: Name, by: By, why: Why) -> None:
    """Resume an experiment that stopped itself for harm; it will not stop itself for harm again.

    Example: crewflow experiment resume mapping-model-v2 --by dana --why "the slower mapping is wanted"
    """
    from crewflow_assets.experiments import ledger

    with transaction() as session:
        row = ledger.resume(session, name, by=by, why=why)
    typer.echo(f"{name} runs again until {row.ends_at:%Y-%m-%d %H:%M} UTC, and no longer stops itself for harm")


@app.command()
def approve(name: Name, by: By, why: Why) -> None:
    """Make the proposed winner's version champion and end the experiment; `crewflow model rollback` reverses it.

    Example: crewflow experiment approve mapping-model-v2 --by dana --why "shown to be better"
    """
    from crewflow_assets.experiments import ledger

    row, arm = ledger.approve(name, by=by, why=why)
    typer.echo(f"{row.model} {arm.version}, the arm {arm.name!r} of {name}, is champion")


def _variants(texts: list[str]) -> dict[str, dict[str, str | float]]:
    found: dict[str, dict[str, str | float]] = {}
    for name, arm in map(_variant, texts):
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice; name each arm once", param_hint="--variant")
        found[name] = arm
    return found


def _variant(text: str) -> tuple[str, dict[str, str | float]]:
    name, equals, rest = text.partition("=")
    version, colon, percent = rest.partition(":")
    if not (equals and colon and name and version and percent):
        raise typer.BadParameter(
            f"{text!r} is not NAME=VERSION:PERCENT, such as control=1.0:50", param_hint="--variant"
        )
    share: str | float = percent
    with suppress(ValueError):  # the experiment's own check names what is wrong
        share = float(percent)
    return name, {"model_version": version, "percentage": share}


def _show(one: dict[str, Any]) -> None:
    ended = (
        f", ended on {one['ended_at'][:16]} by {one['ended_by']} ({one['ended_reason']})" if one["ended_at"] else ""
    )
    typer.echo(f"{one['name']}: {one['model']}, {one['started_at'][:16]} to {one['ends_at'][:16]}{ended}")
    arms = [
        (
            arm["name"],
            arm["model_version"],
            f"{arm['percentage']:g} %",
            _count(arm["companies"]),
            _count(arm["companies_with_outcome"]),
        )
        for arm in one["variants"]
    ]
    print_columns([("variant", "version", "share", "companies", "with outcome"), *arms])
    if one["looked_at"] is None:
        typer.echo(
            f"no look was taken yet; the first one comes next night, or with: crewflow experiment look {one['name']}"
        )
        return
    if not one["sample_ratio_ok"]:
        typer.secho("companies by arm are not as planned: the results below mean nothing", fg=typer.colors.RED)
    heading = ("metric", "variant", "control", "treatment", "difference", "at any look 95 %", "reading", "companies")
    print_columns([heading, *map(_result, one["results"])])
    typer.echo(f"{one['looked_at'][:16]}: {one['verdict']}: {one['why']}")
    if one["winner"] and not one["approved_by"]:
        approve = f"crewflow experiment approve {one['name']} --by YOU --why REASON"
        typer.echo(f"proposed: {one['winner']}; promote it with: {approve}")


def _count(number: int | None) -> str:
    return "-" if number is None else str(number)


def _result(one: dict[str, Any]) -> tuple[str, ...]:
    relative = one["unit"] == "minutes"
    difference, low, high = (_signed(one[key], relative) for key in ("difference", "low", "high"))
    return (
        one["metric"],
        one["variant"],
        _plain(one["control"]),
        _plain(one["treatment"]),
        difference,
        f"[{low}, {high}]",
        one["reading"],
        str(one["companies"]),
    )


def _signed(value: float | None, relative: bool) -> str:
    if value is None:
        return "-"
    return f"{value:+.1%}" if relative else f"{value:+.3f}"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
