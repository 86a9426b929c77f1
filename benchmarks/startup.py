"""How long the code location takes to load, beside importing Dagster alone: `python -m benchmarks.startup`."""

import statistics
import subprocess
import sys
from time import perf_counter
from typing import Annotated

import typer

STATEMENTS = {
    "python": "pass",
    "import dagster": "import dagster",
    "code location": "from pipelines.definitions import defs; defs.resolve_all_asset_keys()",
    "crewflow --help": "import sys; sys.argv = ['crewflow', '--help']; import pipelines.cli.main",
}
LIMIT_SECONDS = 3.0


def measure(statement: str, runs: int) -> list[float]:
    """Return the seconds that fresh interpreters took; the first, which warms the disk, is left out."""
    seconds = []
    for _ in range(runs + 1):
        began = perf_counter()
        subprocess.run([sys.executable, "-W", "ignore", "-c", statement], check=True)
        seconds.append(perf_counter() - began)
    return seconds[1:]


def main(runs: Annotated[int, typer.Option(min=1, help="Fresh interpreters for each line.")] = 5) -> None:
    """Time fresh interpreters and say whether the code location loads within its 3 s."""
    medians = {}
    print(f"{'what':<18}{'median s':>10}{'worst s':>10}{'x dagster':>11}")
    for name, statement in STATEMENTS.items():
        seconds = measure(statement, runs)
        medians[name] = statistics.median(seconds)
        ratio = f"{medians[name] / medians['import dagster']:.2f}" if "import dagster" in medians else ""
        print(f"{name:<18}{medians[name]:>10.2f}{max(seconds):>10.2f}{ratio:>11}")
    held = medians["code location"] < LIMIT_SECONDS
    print(f"The code location loads in {'under' if held else 'OVER'} {LIMIT_SECONDS:g} s.")
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    typer.run(main)
