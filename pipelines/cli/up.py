"""``crewflow up``: everything together, until Ctrl-C."""

import typer


def up() -> None:
    """Run Dagster (webserver and daemon), MLflow, the gateway and the outbox worker; Ctrl-C stops all.

    Examples:

      crewflow up

      CREWFLOW_DAGSTER_PORT=3001 crewflow up
    """
    from honcho.manager import Manager  # only this command runs processes

    from crewflow_assets.store import schema
    from pipelines.cli.processes import ROOT, all_processes, environment

    schema.upgrade()
    processes = all_processes()
    typer.echo("Starting; Ctrl-C stops all.")
    for process in processes:
        typer.echo(f"  {process.name:<8} {process.shown}")
    manager = Manager()
    shared = environment()
    for process in processes:
        manager.add_process(process.name, command(process.command), quiet=False, env=shared, cwd=str(ROOT))
    manager.loop()
    raise typer.Exit(manager.returncode)


def command(words: tuple[str, ...]) -> str:
    """Return the words as the shell line that the process manager takes; exec passes signals on."""
    from shlex import join

    return f"exec {join(words)}"
