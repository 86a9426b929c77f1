"""What the serving benchmark measured, as figures, Markdown and plots."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_servers import BARE, DESIGN, DESIGN_BASE, DESIGN_ONE, MLFLOW, OURS, UNGATHERED, UNLOGGED

SINGLE, REPEATED, BATCH, REPEATED_BATCH, ALONE, ALONE_BATCH, LOGS, LOGS_REPEATED = (
    "single",
    "single, repeated texts",
    "batch",
    "batch, repeated texts",
    "single, one client alone",
    "batch, one client alone",
    "single, in pairs",
    "single, repeated texts, in pairs",
)
LEAST_FOR_INTERVAL = 6
"""Of fewer rounds no two bound the median with 95 % certainty."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One server under one load, round by round: answers a second, processor time, and every latency in seconds."""

    model: str
    server: str
    load: str
    rows: int
    """Inputs in a request."""
    rates: tuple[float, ...]
    worked: tuple[float, ...]
    """Seconds of processor time that a request cost the server and its workers."""
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Requests a second: the median of the rounds."""
        return float(np.median(self.rates))

    def percentile(self, share: float) -> float:
        """Return a percentile of the latency in milliseconds, over all rounds."""
        return 1000 * float(np.percentile(self.latencies, share))

    def as_json(self) -> dict[str, Any]:
        """Return the record of the JSON file."""
        return {
            "model": self.model,
            "server": self.server,
            "load": self.load,
            "rows": self.rows,
            "requests": len(self.latencies),
            "requests_per_second": round(self.rate, 2),
            "rows_per_second": round(self.rate * self.rows, 2),
            "rounds": [round(rate, 2) for rate in self.rates],
            "processor_ms": [round(1000 * one, 3) for one in self.worked],
            "p50_ms": round(self.percentile(50), 2),
            "p99_ms": round(self.percentile(99), 2),
        }


@dataclass(frozen=True, slots=True)
class Probed:
    """A single request with a limit: the first, which prepares, and the next ones, in seconds."""

    name: str
    limit_seconds: float
    first: float
    next: tuple[float, ...]

    @property
    def slowest(self) -> float:
        """The slowest of the next ones; of more than a hundred, the 99th percentile."""
        return max(self.next) if len(self.next) <= 100 else float(np.percentile(self.next, 99))

    @property
    def holds(self) -> bool:
        """Whether the slowest stayed within the limit."""
        return self.slowest < self.limit_seconds


@dataclass(frozen=True, slots=True)
class Found:
    """Everything about one model."""

    model: str
    measured: tuple[Measured, ...]
    parts: dict[str, float]
    """Milliseconds of a single answer at one client, the median of each part."""
    probes: tuple[Probed, ...]
    notes: tuple[str, ...] = field(default=())

    def of(self, server: str, load: str) -> Measured | None:
        """Return what was measured of a server under a load."""
        return next((m for m in self.measured if (m.server, m.load) == (server, load)), None)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours over another, round by round, beside what was promised."""

    name: str
    rounds: tuple[float, ...]
    at_least: float | None

    @property
    def value(self) -> float:
        """The median of the rounds."""
        return float(np.median(self.rounds))

    @property
    def bounds(self) -> tuple[float, float]:
        """The 95 % interval of the median by the sign test (Conover 1999, 3.2); of fewer than 6 rounds the range."""
        from scipy.stats import quantile_test

        if len(self.rounds) < LEAST_FOR_INTERVAL:
            return min(self.rounds), max(self.rounds)
        found = quantile_test(self.rounds, p=0.5).confidence_interval(confidence_level=0.95)
        return float(found.low), float(found.high)

    @property
    def verdict(self) -> str:
        """Whether the median is at least what was promised."""
        if self.at_least is None:
            return ""
        return "yes" if self.value >= self.at_least else "**no**"


def ratios(found: Found) -> list[Ratio]:
    """Return the comparisons that were promised; each round is compared with itself, since it shares the noise."""
    asked = (
        ("requests/s, ours over the PRD's design", (OURS, SINGLE), (DESIGN, SINGLE), 2.5),
        ("the same, which answers one request at a time", (OURS, SINGLE), (DESIGN_ONE, SINGLE), 2.5),
        ("the same, with BERT of base size", (OURS, SINGLE), (DESIGN_BASE, SINGLE), 2.5),
        ("requests/s, ours over mlflow models serve", (OURS, SINGLE), (MLFLOW, SINGLE), 2.5),
        ("the same, repeated texts", (OURS, REPEATED), (MLFLOW, REPEATED), 2.5),
        ("requests/s, ours over the bare route", (OURS, SINGLE), (BARE, SINGLE), None),
        ("the same, repeated texts", (OURS, REPEATED), (BARE, REPEATED), None),
        ("rows/s, batch over single", (OURS, BATCH), (OURS, SINGLE), 10.0),
        ("rows/s, batch over single requests that are not gathered", (OURS, BATCH), (UNGATHERED, SINGLE), 10.0),
        ("rows/s, one client's batch over its rows one after the other", (OURS, ALONE_BATCH), (OURS, ALONE), 10.0),
        ("rows/s, batch over single, repeated texts", (OURS, REPEATED_BATCH), (OURS, REPEATED), 10.0),
        ("requests/s with logs over without (.90: they cost 10 %)", (OURS, LOGS), (UNLOGGED, LOGS), 0.9),
        ("the same, repeated texts", (OURS, LOGS_REPEATED), (UNLOGGED, LOGS_REPEATED), 0.9),
    )
    result = []
    for name, mine, theirs, at_least in asked:
        one, other = found.of(*mine), found.of(*theirs)
        if one is not None and other is not None:
            pairs = zip(one.rates, other.rates, strict=True)
            rounds = tuple(a * one.rows / (b * other.rows) for a, b in pairs)
            result.append(Ratio(name, rounds, at_least))
    with_logs, without = found.of(OURS, LOGS), found.of(UNLOGGED, LOGS)
    if with_logs is not None and without is not None:
        rounds = tuple(b / a for a, b in zip(with_logs.worked, without.worked, strict=True))
        result.append(Ratio("processor time of a request without logs over with", rounds, 0.9))
    return result


def markdown(found: Found) -> str:
    """Return the tables of one model."""
    lines = [
        f"## {found.model}",
        "",
        *found.notes,
        "",
        "| load | server | requests/s | rows/s | rounds from – to | p50 ms | p99 ms | processor ms a row |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for load in dict.fromkeys(m.load for m in found.measured):
        for m in (m for m in found.measured if m.load == load):
            name = f"**{m.server}**" if m.server == OURS else m.server
            spread = f"{min(m.rates):.1f} – {max(m.rates):.1f}"
            lines.append(
                f"| {load} | {name} | {m.rate:.1f} | {m.rate * m.rows:.0f} | {spread} | "
                f"{m.percentile(50):.1f} | {m.percentile(99):.1f} | {1000 * np.median(m.worked) / m.rows:.2f} |"
            )
    lines += ["", "| comparison | median | interval | promised | kept |", "|---|---|---|---|---|"]
    for ratio in ratios(found):
        promised = "–" if ratio.at_least is None else f"≥ {ratio.at_least:g}"
        spread = "{:.2f} – {:.2f}".format(*ratio.bounds)
        lines.append(f"| {ratio.name} | {ratio.value:.2f} | {spread} | {promised} | {ratio.verdict} |")
    if found.parts:
        lines += ["", "| part of a single answer, one client | ms (median) |", "|---|---|"]
        lines += [f"| {name} | {value:.2f} |" for name, value in found.parts.items()]
    if found.probes:
        lines += ["", "| one request | the first, s | the next: median, slowest (p99 of many), s | limit, s | kept |"]
        lines.append("|---|---|---|---|---|")
    for probe in found.probes:
        kept = "yes" if probe.holds else "**no**"
        slowest = f"{np.median(probe.next):.3f}, {probe.slowest:.3f}"
        lines.append(f"| {probe.name} | {probe.first:.2f} | {slowest} | {probe.limit_seconds:g} | {kept} |")
    return "\n".join(lines) + "\n"


def write_plots(found: Sequence[Found], folder: Path) -> None:
    """Write, for single requests and batches of each model, every server's rows a second with the range of rounds."""
    from crewflow_assets.evaluation.plots import bar_plot

    folder.mkdir(parents=True, exist_ok=True)
    for one in found:
        for load in (SINGLE, BATCH):
            bars = {
                m.server: (m.rate * m.rows, min(m.rates) * m.rows, max(m.rates) * m.rows)
                for m in one.measured
                if m.load == load
            }
            slug = load.replace(",", "").replace(" ", "-")
            name = f"serving-{one.model.replace('_', '-')}-{slug}.png"
            plot = bar_plot(bars, title=f"{one.model}: {load}", xlabel="rows a second: median and range")
            (folder / name).write_bytes(plot)
