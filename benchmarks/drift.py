"""How often drift alarms are false, and how soon they are true, over simulated years of predictions.

    python -m benchmarks.drift --years 40 --json drift.json --plots docs/img

Every week of a year is compared with the 26 weeks before, in inputs, predictions and calibration, by the code that
production uses; alarms follow its rule: one while it lasts. Beside ours stands the usual rule, PSI above .2 in any
column. Takes a quarter of a minute for each year of each world on one core.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer
from scipy.stats import chi2

from benchmarks.drift_worlds import WORLDS, Rows, World, shifted, simulate
from benchmarks.options import json_option
from crewflow_assets.monitoring.alerts import QUIET_WEEKS
from crewflow_assets.monitoring.blocks import Blocks, described_blocks, residual_blocks
from crewflow_assets.monitoring.drift import Compared, compare
from crewflow_assets.monitoring.looks import ASPECTS, REFERENCE_WEEKS

YEAR = 52
SHIFT_AT = REFERENCE_WEEKS + 8
SHIFTS = (("inputs", 0.25), ("inputs", 0.5), ("predictions", 0.5), ("calibration", 0.05), ("calibration", 0.1))
FOLKLORE_PSI = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Year:
    """Which weeks of which aspects were found to differ, by ours and by the usual rule."""

    drifted: dict[str, list[int]]
    usual: dict[str, list[int]]
    compared: int


def look(rows: Rows, week: int, aspect: str) -> tuple[Compared, float]:
    """Compare a week with the 26 before; also return the largest PSI of a column."""
    part = rows.only((rows.weeks <= week) & (rows.weeks >= week - REFERENCE_WEEKS))
    if aspect == "calibration":
        part = part.only(~np.isnan(part.actual))
    before = part.weeks < week
    where = (part.companies.tolist(), part.weeks.tolist(), before)
    if aspect == "calibration":
        blocks = residual_blocks(part.said, part.actual, part.weights, *where)
        return compare(blocks, week, blocks.weeks < week, seed=week), 0.0
    blocks = described_blocks(part.inputs if aspect == "inputs" else part.answers, *where)
    return compare(blocks, week, blocks.weeks < week, seed=week), psi(blocks, week)


def psi(blocks: Blocks, week: int) -> float:
    """Return the largest population stability index of a column, rows counted alike, as the usual rule does."""
    shares = [
        np.average(blocks.means[part], axis=0, weights=blocks.rows[part]) + 1e-4
        for part in (blocks.weeks == week, blocks.weeks < week)
    ]
    each = (shares[0] - shares[1]) * np.log(shares[0] / shares[1])
    return max((float(each[begin:end].sum()) for _, begin, end in blocks.groups), default=0.0)


def year(world: World, seed: int, weeks: int = YEAR) -> Year:
    """Look at every week of a year that comes after its reference."""
    rows = simulate(world, REFERENCE_WEEKS + weeks, seed)
    drifted: dict[str, list[int]] = {aspect: [] for aspect in ASPECTS}
    usual: dict[str, list[int]] = {aspect: [] for aspect in ASPECTS}
    compared = 0
    for week in range(REFERENCE_WEEKS, REFERENCE_WEEKS + weeks):
        for aspect in ASPECTS:
            found, stability = look(rows, week, aspect)
            compared += found.p_value is not None
            if found.drifted:
                drifted[aspect].append(week)
            if stability > FOLKLORE_PSI:
                usual[aspect].append(week)
    return Year(drifted=drifted, usual=usual, compared=compared)


def alarms(weeks: list[int]) -> list[int]:
    """Return the weeks in which people are told: the first of each spell, by the rule of ``monitoring.alerts``."""
    told: list[int] = []
    last = -QUIET_WEEKS - 1
    for week in weeks:
        if week - last > QUIET_WEEKS:
            told.append(week)
        last = week
    return told


def rate(count: int, years: int) -> tuple[float, float, float]:
    """Return the rate a year with its exact 95 % interval (Garwood 1936)."""
    low = chi2.ppf(0.025, 2 * count) / 2 if count else 0.0
    return count / years, float(low) / years, float(chi2.ppf(0.975, 2 * count + 2) / 2) / years


def null_years(years: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the alarms a model and year of each world in which nothing drifts."""
    for world in WORLDS:
        began = perf_counter()
        found = [year(world, seed + number) for number in range(years)]
        for rule in ("drifted", "usual"):
            told: dict[str, Any] = {
                aspect: sum(len(alarms(getattr(one, rule)[aspect])) for one in found) for aspect in ASPECTS
            }
            value, low, high = rate(sum(told[aspect] for aspect in ASPECTS), years)
            yield {
                "world": world.name,
                "rule": "ours" if rule == "drifted" else f"PSI > {FOLKLORE_PSI}",
                "years": years,
                **told,
                "alarms_a_year": round(value, 3),
                "low": round(low, 3),
                "high": round(high, 3),
                "compared": sum(one.compared for one in found),
                "seconds": round(perf_counter() - began, 1),
            }


def shifts(worlds: int, seed: int, weeks: int = 12) -> Iterator[dict[str, Any]]:
    """Yield how soon stated shifts are told of, within 12 weeks."""
    for shift, size in SHIFTS:
        world = shifted(replace(WORLDS[0], name=shift), shift, size, SHIFT_AT)  # type: ignore[arg-type]
        delays = []
        for number in range(worlds):
            rows = simulate(world, SHIFT_AT + weeks, seed + 10_000 + number)
            delays.append(
                next(
                    (
                        week - SHIFT_AT + 1
                        for week in range(SHIFT_AT, SHIFT_AT + weeks)
                        if look(rows, week, shift)[0].drifted
                    ),
                    None,
                )
            )
        found = [delay for delay in delays if delay is not None]
        yield {
            "shift": shift,
            "size": size,
            "worlds": worlds,
            "told_in_the_first_week": round(sum(delay == 1 for delay in found) / worlds, 3),
            "told_within_4_weeks": round(sum(delay <= 4 for delay in found) / worlds, 3),
            "told_within_12_weeks": round(len(found) / worlds, 3),
            "median_weeks": float(np.median(found)) if found else None,
        }


def plot(records: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    """Draw alarms a year on the null by world and rule."""
    from crewflow_assets.evaluation.plots import bar_plot

    values = {
        f"{one['world']}: {one['rule']}": (one["alarms_a_year"], one["low"], one["high"]) for one in records["null"]
    }
    image = bar_plot(values, title="Nothing drifts", xlabel="alarms a model and year")
    (folder / "drift-null.png").write_bytes(image)


def main(
    years: Annotated[int, typer.Option(min=1, help="Null years of each world.")] = 40,
    worlds: Annotated[int, typer.Option(min=1, help="Worlds of each shift.")] = 20,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 7,
    json_file: Annotated[Path | None, json_option("Write the records here.")] = None,
    plots: Annotated[Path | None, typer.Option(file_okay=False, help="Write the plot into this directory.")] = None,
) -> None:
    """Count drift alarms in years in which nothing changes, and how soon shifts are told."""
    import pandas as pd

    records = {"worlds": [asdict(world) for world in WORLDS]}
    records["null"] = list(null_years(years, seed))
    print(pd.DataFrame(records["null"]).to_markdown(index=False))
    records["shifts"] = list(shifts(worlds, seed))
    print()
    print(pd.DataFrame(records["shifts"]).to_markdown(index=False))
    if json_file is not None:
        json_file.write_text(json.dumps(records, indent=1))
    if plots is not None:
        plot(records, plots)


if __name__ == "__main__":
    typer.run(main)
