"""One experiment on a running installation, from its start to its winner's first answer.

`python -m benchmarks.experiments_live --home DIR`, where DIR is an installation that `crewflow demo` filled.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.experiments_live_people import Person, order_of
from benchmarks.experiments_live_stage import (
    Customer,
    Versions,
    copied_home,
    crewflow,
    installation,
    run_looks,
    write_customers,
)
from benchmarks.options import json_option
from benchmarks.postgres import free_port
from benchmarks.soak_home import settings_of
from crewflow_assets.cost_code_mapping.evaluation import BASELINES
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.experiments import ledger, looks
from crewflow_assets.experiments.plots import sequence_plot
from crewflow_assets.store import keys
from crewflow_assets.store.database import reading, transaction

NAME = "mapping-model-v2"
NEIGHBOUR = "nearest labelled neighbour"
METRICS = ("mapping_accuracy", "user_acceptance_rate", "setup_time")
BY = "dana"
CLIENTS = 4
PLOT = "experiments-seen-through.png"

console = Console(stderr=True)
app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Effort:
    """How often is looked at most, and how many codes each company decides before each look."""

    rounds: int
    per_round: int


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found of the first metric; minutes since the start."""

    minutes: float
    companies: tuple[int, int]
    decisions: int
    control: float | None
    treatment: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenThrough:
    """The figures of one experiment; seconds until the gateway followed its start and its winner."""

    versions: Versions
    companies: int
    decisions: int
    minutes: float
    looks: list[Look]
    taken_up_seconds: float
    winner: str | None
    followed_seconds: float | None
    trainings: list[str]


def see_through(
    versions: Versions,
    customers: Sequence[Customer],
    person: Person,
    dagster: str,
    effort: Effort,
    progress: Progress,
) -> SeenThrough:
    """Start the experiment, let people decide and Dagster look in turn until a winner is proposed, and approve it."""
    orders = {customer.company_id: order_of(customer) for customer in customers}
    most = sum(min(len(order), effort.rounds * effort.per_round) for order in orders.values())
    bar = progress.add_task("decisions", total=most)
    metrics = [word for metric in METRICS for word in ("--metric", metric)]
    arms = ("--variant", f"control={versions.control}:50", "--variant", f"treatment={versions.treatment}:50")
    crewflow(
        "experiment", "start", NAME, "--model", COST_CODE_MAPPING.name, *arms, *metrics, "--days", "30", "--by", BY
    )
    began = perf_counter()
    taken_up = person.seconds_until(customers[0], orders[customers[0].company_id][0], ("control", "treatment"))
    decisions = 0
    for begin in range(0, effort.rounds * effort.per_round, effort.per_round):
        with ThreadPoolExecutor(CLIENTS) as pool:
            work = [
                pool.submit(person.decide, customer, orders[customer.company_id][begin : begin + effort.per_round])
                for customer in customers
            ]
            for one in work:
                decisions += one.result()
                progress.update(bar, completed=decisions)
        progress.update(bar, description=f"{decisions} decisions; looking")
        run_looks(dagster)
        progress.update(bar, description="decisions")
        with reading() as session:
            row = ledger.find(session, NAME)
            if row.winner is not None or row.state == ledger.ENDED:
                break
    progress.update(bar, total=decisions, completed=decisions)
    with reading() as session:
        row = ledger.find(session, NAME)
        assignment = ledger.assignment_of(row)
    followed = None
    if row.winner is not None:
        crewflow("experiment", "approve", NAME, "--by", BY, "--why", "shown to be better")
        other = next(one for one in customers if assignment.arm(one.company_id).name != row.winner)
        label = next(arm.version for arm in assignment.arms if arm.name == row.winner)
        followed = person.seconds_until(other, orders[other.company_id][-1], ("champion",), label)
    return SeenThrough(
        versions=versions,
        companies=len(customers),
        decisions=decisions,
        minutes=(perf_counter() - began) / 60,
        looks=looks_taken(),
        taken_up_seconds=taken_up,
        winner=row.winner,
        followed_seconds=followed,
        trainings=trainings(),
    )


def looks_taken() -> list[Look]:
    """Return every look at the experiment, the oldest first."""
    found = []
    with reading() as session:
        row = ledger.find(session, NAME)
        for at, results in looks.looks_of(session, row):
            first = results.of("treatment")[0]
            counts = {arm.variant: arm.with_outcome for arm in results.arms}
            found.append(
                Look(
                    minutes=(at - row.started_at).total_seconds() / 60,
                    companies=(counts["control"], counts["treatment"]),
                    decisions=first.outcomes,
                    control=first.control,
                    treatment=first.treatment,
                    difference=first.difference,
                    low=first.low,
                    high=first.high,
                    verdict=looks.decide(results, over=False, harm_overruled=False).kind,
                )
            )
    return found


def trainings() -> list[str]:
    """Return what asked for a training of the mapping since the experiment began, and what became of it."""
    from sqlalchemy import select

    from crewflow_assets.store.training_tables import TrainingClaim

    with reading() as session:
        since = ledger.find(session, NAME).started_at
        mine = (TrainingClaim.model == COST_CODE_MAPPING.name, TrainingClaim.requested_at >= since)
        claims = session.scalars(select(TrainingClaim).where(*mine).order_by(TrainingClaim.requested_at)).all()
        return [f"{claim.reason}: {claim.why} ({claim.state})" for claim in claims]


def table(found: SeenThrough) -> str:
    """Render as Markdown."""
    lines = [
        "| look | companies, control and treatment | decisions | control, treatment | difference, at any look 95 % "
        "| verdict |",
        "|---|---|---|---|---|---|",
    ]
    for one in found.looks:
        apart = "too few companies"
        if one.difference is not None:
            apart = f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
        sides = ", ".join("–" if share is None else f"{share:.3f}" for share in (one.control, one.treatment))
        lines.append(
            f"| {one.minutes:.0f} min | {one.companies[0]}, {one.companies[1]} | {one.decisions:,} | {sides} | "
            f"{apart} | {one.verdict} |"
        )
    lines += [
        "",
        f"{found.companies} companies, {found.decisions:,} decisions in {found.minutes:.0f} minutes. The gateway "
        f"took the experiment up {found.taken_up_seconds:.1f} s after its start.",
    ]
    if found.followed_seconds is None:
        lines.append("No winner was proposed.")
    else:
        lines.append(
            f"Proposed and approved: {found.winner}. A company of the other arm was answered by it as champion "
            f"{found.followed_seconds:.1f} s later."
        )
    return "\n".join([*lines, *(f"Meanwhile a training was asked for, {one}." for one in found.trainings)])


def plot() -> bytes:
    """Return the plot of the first metric's difference at each look, as PNG."""
    with reading() as session:
        row = ledger.find(session, NAME)
        png = sequence_plot(looks.looks_of(session, row), METRICS[0], began=row.started_at, title=METRICS[0])
    if png is None:
        raise RuntimeError("no look had enough companies in each arm")
    return png


@app.command()
def main(
    home: Annotated[Path, typer.Option(help="The installation, filled by `crewflow demo`; it is left alone.")],
    control: Annotated[
        str, typer.Option(help=f"The baseline that answers at first: {', '.join(BASELINES)}.")
    ] = NEIGHBOUR,
    companies: Annotated[int, typer.Option(min=20, help="Further simulated companies that decide.")] = 110,
    per_round: Annotated[int, typer.Option(min=1, help="Decisions of each company between two looks.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Looks at most.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the further companies.")] = 31,
    json_file: Annotated[Path | None, json_option("Write the figures here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write the plot into this directory.")] = None,
) -> None:
    """See one experiment through on a copy of an installation, with everything that `crewflow up` runs.

    The control is a baseline, the treatment the installation's mapping model. People of companies that begin without
    any mapping decide over HTTP; Dagster looks after each round, until a winner is
    proposed, which is approved, or until nothing is left to decide.
    """
    import httpx

    if control not in BASELINES:
        raise typer.BadParameter(f"{control!r} is none of {', '.join(BASELINES)}", param_hint="--control")
    with TemporaryDirectory(prefix="crewflow-experiment-") as folder, Progress(console=console) as progress:
        versions = copied_home(home.resolve(), Path(folder), control)
        with settings_of(Path(folder)):
            customers = write_customers(companies, seed)
            with transaction() as session:
                token, _ = keys.create(session, "experiment", None)
            ports = (free_port(), free_port(), free_port())
            with installation(Path(folder), ports) as gateway:
                bearer = {"Authorization": f"Bearer {token}"}
                with httpx.Client(base_url=gateway, headers=bearer, timeout=60) as http:
                    found = see_through(
                        versions,
                        customers,
                        Person(http),
                        f"http://127.0.0.1:{ports[1]}",
                        Effort(rounds, per_round),
                        progress,
                    )
            print(table(found))
            if plots is not None:
                plots.mkdir(parents=True, exist_ok=True)
                (plots / PLOT).write_bytes(plot())
    if json_file is not None:
        json_file.write_text(json.dumps(asdict(found), indent=1))


if __name__ == "__main__":
    app()
