"""What a soak found: one table, one plot."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.soak_load import Tally
from benchmarks.soak_memory import WARM_SECONDS, Growth, Sample, busiest_share, by_worker, growth, mean
from benchmarks.soak_trouble import Happened

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers of one soak; seconds since its beginning, memory in MiB of one worker."""

    minutes: float
    answered: int
    statuses: dict[int, int]
    checked: int
    wrong: list[str]
    faults: list[str]
    given_up: list[str]
    broken_connections: int
    acknowledged: dict[str, int]
    lost: dict[str, list[str]]
    happened: list[Happened]
    p50_ms: float
    p99_ms: float
    answered_by_second: list[int]
    memory: list[tuple[float, float]]
    memory_by_worker: dict[int, list[tuple[float, float]]]
    growth: Growth | None
    late_growth: Growth | None
    """The same of the second half alone, when what is kept up to a bound has reached it."""
    busiest_share: float | None

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong, undocumented or lost."""
        return not any((self.wrong, self.faults, self.given_up, *self.lost.values()))

    def as_json(self) -> dict[str, Any]:
        """Return all as JSON values."""
        return asdict(self)


def figures(
    tally: Tally,
    happened: Sequence[Happened],
    memory: Sequence[Sample],
    lost: dict[str, list[str]],
    began: float,
) -> Figures:
    """Put together what clients, trouble and memory showed; ``began`` is in seconds of ``perf_counter``."""
    import numpy as np

    took = np.array([seconds for _, seconds in tally.seconds])
    ended = np.array([at - began for at, _ in tally.seconds])
    return Figures(
        minutes=float(ended.max()) / 60,
        answered=len(took),
        statuses=dict(sorted(tally.statuses.items())),
        checked=tally.checked,
        wrong=tally.wrong,
        faults=tally.faults,
        given_up=tally.given_up,
        broken_connections=tally.broken_connections,
        acknowledged={
            "decisions": len(tally.decisions),
            "events": len(tally.events),
            "predictions": len(tally.predictions),
        },
        lost=lost,
        happened=list(happened),
        p50_ms=1000 * float(np.quantile(took, 0.5)),
        p99_ms=1000 * float(np.quantile(took, 0.99)),
        answered_by_second=np.bincount(ended.astype(int)).tolist(),
        memory=mean(memory),
        memory_by_worker=by_worker(memory),
        growth=growth(memory),
        late_growth=growth([sample for sample in memory if sample[0] > memory[-1][0] / 2]),
        busiest_share=busiest_share(memory),
    )


def table(found: Figures) -> str:
    """Render as Markdown."""
    kinds = Counter(_kind(one.what) for one in found.happened)
    statuses = ", ".join(f"{status}: {count:,}" for status, count in found.statuses.items())
    first, last = found.memory[len(found.memory) // 3][1], found.memory[-1][1]
    rows = [
        ("minutes", f"{found.minutes:.1f}"),
        ("what happened", ", ".join(f"{count} × {kind}" for kind, count in kinds.items())),
        ("requests answered, by status", statuses),
        ("p50, p99", f"{found.p50_ms:.0f} ms, {found.p99_ms:.0f} ms"),
        ("connections that broke as a worker was killed", str(found.broken_connections)),
        ("answers compared with the version's own predictor", f"{found.checked:,}"),
        ("**wrong answers**", str(len(found.wrong))),
        (
            "**undocumented answers** (5xx without an outage, 4xx, broken connections)",
            str(len(found.faults)),
        ),
        ("**requests given up**", str(len(found.given_up))),
        *(
            (f"**lost {kind}** of those acknowledged", f"{len(found.lost[kind])} of {count:,}")
            for kind, count in found.acknowledged.items()
        ),
        ("memory of a worker after a third, at the end", f"{first:.0f} MiB, {last:.0f} MiB"),
        (f"its growth once a worker has worked for {WARM_SECONDS:.0f} s", _growth(found.growth)),
        ("the same, in the second half", _growth(found.late_growth)),
        ("share of a minute's work that the busiest worker did", _share(found.busiest_share)),
    ]
    lines = ["| what | seen |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    for title, texts in (("Wrong", found.wrong), ("Undocumented", found.faults), ("Given up", found.given_up)):
        lines += [f"{title}: {text}" for text in texts[:SHOWN]]
    return "\n".join(lines)


def _growth(found: Growth | None) -> str:
    if found is None:
        return "too short a time to say"
    spread = f"[{found.low:+.0f}, {found.high:+.0f}]"
    return f"{found.per_hour:+.0f} {spread} MiB an hour, from {found.minutes} minutes of single workers"


def _share(found: float | None) -> str:
    return "too short a time to say" if found is None else f"{found:.0%}"


def _kind(what: str) -> str:
    for kind in ("promoted", "rolled back", "worker killed"):
        if kind in what:
            return kind
    return what


def plot(found: Figures, path: Path) -> None:
    """Draw requests a second and memory over time, with what happened."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
    above.plot(found.answered_by_second, linewidth=0.8)
    above.set_ylabel("answers a second")
    for held in found.memory_by_worker.values():
        below.plot([at for at, _ in held], [size for _, size in held])
    below.set_ylim(bottom=0)
    below.set_ylabel("memory of each worker, MiB")
    below.set_xlabel("seconds")
    colours = {"promoted": "tab:green", "rolled back": "tab:olive", "worker killed": "tab:red"}
    for one in found.happened:
        colour = colours.get(_kind(one.what), "tab:purple")
        for axes in (above, below):
            axes.axvline(one.at, color=colour, linewidth=0.8, linestyle="--")
        above.text(one.at, above.get_ylim()[1], one.what, rotation=90, fontsize=6, va="top", color=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
