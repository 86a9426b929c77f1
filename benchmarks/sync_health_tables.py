"""The tables of the sync health benchmark, as Markdown."""

from collections.abc import Mapping
from math import isnan

from crewflow_assets.sync_health.evaluation import Judged, figures, interval, pr_auc

Results = Mapping[str, Mapping[str, Judged]]
"""What each method said of each row set."""


def print_results(results: Results, *, title: str) -> None:
    """Print figures by row set and method, PR-AUC with its interval by what fails together."""
    print(f"\n## {title}")
    for part, methods in results.items():
        first = figures(next(iter(methods.values())))
        print(f"\n### {part} rows (n={first['n']}, {first['base_rate']:.4f} failed)\n")
        print("| method | accuracy | PR-AUC | 95 % interval | Brier | ECE | recall at p=.7 | at p=.5 |")
        print("|---|---|---|---|---|---|---|---|")
        for name, judged in methods.items():
            found = figures(judged)
            area = interval(lambda j: pr_auc(j.probability, j.failed), judged)
            shown = f"**{name}**" if name.startswith("ours") else name
            print(
                f"| {shown} | {_cell(found['accuracy'])} | {_cell(area.value)} | {_cell(area.low)} to "
                f"{_cell(area.high)} | {_cell(found['brier'], 5)} | {_cell(found['ece'], 4)} | "
                f"{_cell(found['recall_at_p70'])} | {_cell(found['recall_at_p50'])} |"
            )


def print_alarms(found: Mapping[str, Mapping[str, float]]) -> None:
    """Print what an alarm above 0.7 would come to, by method."""
    print("\n### Alarms above 0.7, all rows\n")
    print("| method | a day | right | previous attempt had succeeded | of these right | lead, minutes (median) |")
    print("|---|---|---|---|---|---|")
    for name, one in found.items():
        print(
            f"| {name} | {_cell(one['per_day'], 1)} | {_cell(one['precision'])} | {_cell(one['after_success'], 4)} | "
            f"{_cell(one['after_success_right'])} | {_cell(one['lead_minutes'], 0)} |"
        )


def _cell(value: float, digits: int = 3) -> str:
    return "–" if isnan(value) else f"{value:.{digits}f}"
