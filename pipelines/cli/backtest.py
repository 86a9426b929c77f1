"""``crewflow backtest``: what retries, prevention and conflict resolution are worth together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import in_a_folder

if TYPE_CHECKING:  # commands load what they need when they run
    from rich.console import Console
    from rich.progress import TaskID

    from crewflow_assets.backtest.models import Models


def backtest(
    draws: Annotated[
        int, typer.Option(min=2, help="Simulated worlds, each with parameters drawn from their ranges.")
    ] = 50,
    integrations: Annotated[int, typer.Option(min=1, help="Integrations in each world.")] = 10,
    days: Annotated[int, typer.Option(min=1, help="Days that count in each world, after a week of warm-up.")] = 5,
    companies: Annotated[int, typer.Option(min=1, help="Companies with timecards in each world.")] = 4,
    company: Annotated[
        str | None, typer.Option(help="Summarise this company's recorded history instead of simulating worlds.")
    ] = None,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit the models on simulated worlds first, instead of using the champions.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Also write the report to this Markdown file.", dir_okay=False, callback=in_a_folder),
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Write the plot into this folder.", file_okay=False)] = None,
) -> None:
    """Evaluate the models together: the PRD's table 4, before and after, beside a ceiling.

    Twelve combinations of {fixed, AWS-style, learned} retries, {no prevention, sync-health actions} and {manual,
    learned} conflict resolution act in the same simulated worlds: outages, ended grants, refused records and
    conflicts are identical in each. In the report, "before" is the PRD's starting point, "after" is all three models
    together, and the ceiling is a policy that knows the hidden state; "reached?" is decided by the interval over
    worlds. What still fails is broken down by cause.

    With --company nothing is simulated: the company's own log is replayed as far as possible, and the report says
    what the log cannot tell.

    \b
    Examples:
      crewflow backtest                        the champions; some minutes
      crewflow backtest --draws 10 --days 2    a quick look, with wide intervals
      crewflow backtest --fit --output report.md
      crewflow backtest --company c-1
    """
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    models = _models(fit, console)
    report = (
        _replayed(models, company) if company else _run(models, console, draws, integrations, days, companies, plots)
    )
    console.print(Markdown(report))
    if output is not None:
        output.write_text(report + "\n")


def _models(fit: bool, console: "Console") -> "Models":
    from crewflow_assets.backtest.models import champions, fitted

    if not fit:
        return champions()
    with _Bars(console) as bars:
        return fitted(bars.show)


def _run(
    models: "Models",
    console: "Console",
    draws: int,
    integrations: int,
    days: int,
    companies: int,
    plots: Path | None,
) -> str:
    from crewflow_assets.backtest.conflicts import Size as ConflictSize
    from crewflow_assets.backtest.run import run
    from crewflow_assets.backtest.syncs import Size as SyncSize
    from crewflow_assets.backtest.table import markdown, plot

    with _Bars(console) as bars:
        found = run(
            models, SyncSize(draws, integrations, days=days), ConflictSize(draws, companies), progress=bars.show
        )
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        (plots / "backtest.png").write_bytes(plot(found))
    return markdown(found)


def _replayed(models: "Models", company: str) -> str:
    from crewflow_assets.backtest.company import replay
    from crewflow_assets.store.database import reading

    with reading() as session:
        found = replay(session, models, company)
    facts = "\n".join(f"| {name} | {value} |" for name, value in found.facts)
    unknown = "\n".join(f"- {sentence}" for sentence in found.unknown)
    versions = ", ".join(f"{name}: {version}" for name, version in models.versions.items())
    return (
        f"Recorded history of {found.company_id}; {versions}.\n\n| what | found |\n|---|---|\n{facts}\n\n"
        f"What the log cannot tell:\n\n{unknown}"
    )


class _Bars:
    """One progress bar for each thing that is under way."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import Progress

        self._progress = Progress(console=console, transient=True)
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """Move the bar of something."""
        if what not in self._bars:
            self._bars[what] = self._progress.add_task(what, total=total)
        self._progress.update(self._bars[what], completed=done)
