"""``crewflow up``: everything together, until Ctrl-C."""

import typer

STOP_SECONDS = 20  # how long each may take to finish what it is doing


def up() -> None:
    """Run Dagster (webserver and daemon), MLflow, the gateway and the outbox worker; Ctrl-C stops all.

    \b
    Examples:
      crewflow up
      CREWFLOW_DAGSTER_PORT=3001 crewflow up
    """
    from honcho import manager as honcho_manager  # only this command runs processes

    from crewflow_assets.store import schema
    from pipelines.cli.processes import ROOT, all_processes, environment

    schema.upgrade()
    processes = all_processes()
    typer.echo("Starting; Ctrl-C stops all.")
    for process in processes:
        typer.echo(f"  {process.name:<8} {process.shown}")
    honcho_manager.KILL_WAIT = STOP_SECONDS
    manager = honcho_manager.Manager()
    shared = environment()
    for process in processes:
        manager.add_process(process.name, command(process.command), quiet=False, env=shared, cwd=str(ROOT))
    manager.loop()
    raise typer.Exit(manager.returncode)


def command(words: tuple[str, ...]) -> str:
    """Return the words as the shell line that the process manager takes; exec passes signals on."""
    from shlex import join

    return f"exec {join(words)}"
