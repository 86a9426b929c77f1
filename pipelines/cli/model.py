"""``crewflow model``: which versions there are, which one answers, and who or what decided that."""

from typing import Annotated

import typer

from pipelines.cli.columns import print_columns
from pipelines.cli.options import By, Why

app = typer.Typer(
    no_args_is_help=True,
    help="""Models and their versions: list them, approve or reject a candidate, roll back to an earlier champion.

    \b
    Examples:
      crewflow model list
      crewflow model rollback cost_code_mapping --by dana --why "too many corrections since Tuesday"
      crewflow model history cost_code_mapping
    """,
)

Model = Annotated[str, typer.Argument(help="The model, such as cost_code_mapping.")]
Version = Annotated[str, typer.Argument(help="The version's label, such as 1.4.")]


@app.command("list")
def list_models(
    model: Annotated[str | None, typer.Argument(help="One model alone; by default all.")] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Show all figures of each version, beside their baselines.")
    ] = False,
) -> None:
    """List every version with its figures, aliases and the decision about it, the last training and open alerts.

    \b
    Examples:
      crewflow model list
      crewflow model list sync_health --figures
    """
    from crewflow_assets import promotion, registry
    from crewflow_assets.models import MODEL_SPECS, spec_named
    from crewflow_assets.monitoring.alerts import open_alerts
    from crewflow_assets.store.database import reading
    from crewflow_assets.training import claims

    for spec in MODEL_SPECS if model is None else (spec_named(model),):
        promotion.reconcile(spec)
        with reading() as session:
            required, waiting = promotion.approval_required(session, spec), promotion.pending(session, spec)
            claim = claims.newest(session, spec.name)
            training = "none yet" if claim is None else f"{claim.why}: {claims.standing(claim)}"
            alerts = open_alerts(session, spec.name)
        typer.echo(f"{spec.name}{' (promotions need approval)' if required else ''}")
        typer.echo(f"  last training: {training}")
        for alert in alerts:
            typer.echo(f"  ALERT {alert.cause} since {alert.opened_at:%Y-%m-%d}: {alert.detail}")
        if waiting is not None:
            typer.echo(
                f"  {waiting.to_label} waits for approval: {waiting.why}\n"
                f"  crewflow model approve {spec.name} {waiting.to_label} --by YOU --why REASON"
            )
        table = [("version", "alias", "trained", "as", *spec.headline, "decision")]
        for version in registry.describe(spec):
            shown = (version.figures.get(name, "-").split(" (")[0] for name in spec.headline)  # without baselines
            role = version.tags[registry.ROLE]
            decision = version.tags.get(registry.DECISION, "-")
            alias = ", ".join(version.aliases) or "-"
            table.append((version.label, alias, f"{version.created_at:%Y-%m-%d %H:%M}", role, *shown, decision))
        if len(table) == 1:
            typer.echo("  no version yet; `crewflow demo`, or its training in Dagster, makes one\n")
            continue
        print_columns(table, indent="  ")
        if figures:
            for version in registry.describe(spec):
                for name, text in sorted(version.figures.items()):
                    typer.echo(f"  {version.label}  {name}: {text}")
        typer.echo("")


@app.command()
def approve(model: Model, version: Version, by: By, why: Why) -> None:
    """Promote the version that waits for approval to champion; the services follow within seconds.

    Example: crewflow model approve conflict_resolution 1.4 --by dana --why "figures hold on our own reviews"
    """
    from crewflow_assets import promotion
    from crewflow_assets.models import spec_named

    promotion.approve(spec_named(model), version, by=by, why=why)
    typer.echo(f"{model} {version} is champion.")


@app.command()
def reject(model: Model, version: Version, by: By, why: Why) -> None:
    """Reject the version that waits for approval; no training proposes it again.

    Example: crewflow model reject conflict_resolution 1.4 --by dana --why "worse for duplicates"
    """
    from crewflow_assets import promotion
    from crewflow_assets.models import spec_named

    promotion.reject(spec_named(model), version, by=by, why=why)
    typer.echo(f"{model} {version} is rejected; the champion stays.")


@app.command()
def rollback(
    model: Model,
    by: By,
    why: Why,
    to: Annotated[str | None, typer.Option(help="The version to go back to; by default the champion before.")] = None,
) -> None:
    """Roll back to an earlier champion; the services follow within seconds, without a restart.

    No training promotes the version that was rolled back. A newer one that passes its gates is promoted as usual,
    unless `crewflow model approval` requires a person's approval.

    \b
    Examples:
      crewflow model rollback cost_code_mapping --by dana --why "too many corrections since Tuesday"
      crewflow model rollback cost_code_mapping --to 1.2 --by dana --why "1.3 and 1.4 are worse for plumbers"
    """
    from crewflow_assets import promotion
    from crewflow_assets.models import spec_named

    moved = promotion.rollback(spec_named(model), by=by, why=why, to=to)
    typer.echo(f"{model} {moved.to_label} is champion in place of {moved.from_label}.")


@app.command()
def approval(
    model: Model,
    required: Annotated[bool, typer.Option("--required/--automatic", help="Whether a person has to approve.")],
    by: By,
    why: Why,
) -> None:
    """Require a person's approval for a model's promotions, or let its gates decide alone (the default).

    \b
    Examples:
      crewflow model approval conflict_resolution --required --by dana --why "audit in March"
      crewflow model approval conflict_resolution --automatic --by dana --why "the audit is over"
    """
    from crewflow_assets import promotion
    from crewflow_assets.models import spec_named

    changed = promotion.require_approval(spec_named(model), required, by=by, why=why)
    state = "need approval" if required else "are automatic"
    typer.echo(f"Promotions of {model} {state}{'' if changed else ' already'}.")


@app.command("history")
def history_of(model: Model) -> None:
    """List who or what moved the aliases of a model, when, from which version to which, and why; newest first.

    Example: crewflow model history cost_code_mapping
    """
    from crewflow_assets import promotion
    from crewflow_assets.models import spec_named
    from crewflow_assets.store.database import reading

    spec = spec_named(model)
    promotion.reconcile(spec)
    table = [("when", "who", "how", "alias", "from", "to", "state", "why")]
    with reading() as session:
        for row in promotion.history(session, spec):
            ended = f" ({row.state} by {row.ended_by}: {row.ended_why})" if row.ended_by else ""
            when, change = f"{row.decided_at:%Y-%m-%d %H:%M}", (row.from_label or "-", row.to_label or "-")
            table.append((when, row.decided_by, row.method, row.alias, *change, row.state, row.why + ended))
    if len(table) == 1:
        typer.echo(f"nothing was decided about {model} yet")
        return
    print_columns(table, indent="  ")
