"""What each method concludes from simulated experiments, and the tables of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from benchmarks.experiments_world import DAYS, PART, Drawn, World, draw, treated_so_far
from crewflow_assets.arrays import Floats, Ints
from crewflow_assets.experiments.metrics import METRICS
from crewflow_assets.experiments.ratio import ALARM, sample_ratio
from crewflow_assets.experiments.sequences import FEWEST_COMPANIES, LEVEL, ArmMean, arm_mean, difference

BY_NAME = {metric.name: metric for metric in METRICS["cost_code_mapping"]}
METRIC_OF = {"share": BY_NAME["mapping_accuracy"], "time": BY_NAME["setup_time"]}
OURS, PEEKED, ONCE, ROWS = "ours, daily", "t-test, daily", "t-test, once", "t-test of decisions, once"
METHODS = (OURS, PEEKED, ONCE, ROWS)


@dataclass(frozen=True)
class Record:
    """What was concluded in experiments of one world: how often by each method, and when by ours."""

    world: World
    experiments: int
    found: dict[str, int]
    """Any difference."""
    better: dict[str, int]
    """The difference that is there, in its direction."""
    days: list[int]
    """Of those that ours found, the day, from 1."""

    def __add__(self, other: Self) -> "Record":
        return Record(
            self.world,
            self.experiments + other.experiments,
            {name: self.found[name] + other.found[name] for name in METHODS},
            {name: self.better[name] + other.better[name] for name in METHODS},
            self.days + other.days,
        )


def judge(world: World, drawn: Drawn) -> Record:
    """Let every method conclude from the drawn experiments."""
    from scipy import stats

    plain = _arms(drawn, least_spread=1e-9)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = plain[0].variance + plain[1].variance
        freedom = variance**2 / sum(arm.variance**2 / (arm.companies - 1) for arm in plain)
        apart = np.minimum(plain[0].companies, plain[1].companies) >= FEWEST_COMPANIES
        student = np.where(apart, (plain[1].value - plain[0].value) / np.sqrt(variance), 0.0)
    limit = stats.t.isf(LEVEL / 2, np.maximum(np.nan_to_num(freedom, nan=1.0), 1.0))
    rows = _row_statistic(drawn)
    signs = {
        OURS: ours(world, drawn, alpha=LEVEL),
        PEEKED: np.where(np.abs(student) > limit, np.sign(student), 0),
        ROWS: np.where(np.abs(rows) > stats.norm.isf(LEVEL / 2), np.sign(rows), 0)[:, None],
    }
    signs[ONCE] = signs[PEEKED][:, -1:]
    first = {name: _first(sign) for name, sign in signs.items()}
    direction = np.sign(world.effect)
    hits = first[OURS] == direction
    return Record(
        world,
        len(drawn.treated),
        {name: int((sign != 0).sum()) for name, sign in first.items()},
        {name: int((sign == direction).sum()) if direction else 0 for name, sign in first.items()},
        [int(day) + 1 for day in (signs[OURS] != 0).argmax(1)[hits]] if direction else [],
    )


def ours(world: World, drawn: Drawn, *, alpha: float) -> Ints:
    """Return what the platform reads at each look: 1 for more, -1 for less, 0 for nothing yet."""
    metric = METRIC_OF[world.metric]
    control, treatment = _arms(drawn, least_spread=metric.least_spread)
    last = np.arange(DAYS) == DAYS - 1
    found = difference(control, treatment, scale=metric.scale, alpha=alpha, last=last)
    return np.where(found.low > 0, 1, np.where(found.high < 0, -1, 0))


def sequence_example(*, seed: int) -> bytes:
    """Return the plot of one experiment with a difference of .10: our bounds beside those of a t-test a day."""
    from scipy import stats

    from crewflow_assets.evaluation.plots import difference_plot

    drawn = draw(World(metric="share", companies=200, effect=0.1), 1, seed=(seed, 5))
    metric = METRIC_OF["share"]
    control, treatment = _arms(drawn, least_spread=metric.least_spread)
    found = difference(control, treatment, scale=metric.scale, alpha=LEVEL, last=np.arange(DAYS) == DAYS - 1)
    spread = np.sqrt(control.variance + treatment.variance)
    single = stats.norm.isf(LEVEL / 2) * spread
    day = np.arange(1, DAYS + 1, dtype=float)
    value, low, high = (column[0] for column in (found.value, found.low, found.high))
    lines = {
        "holds at every look": (day, value, low, high),
        "holds at one look": (day, value, value - single[0], value + single[0]),
    }
    title = "One simulated experiment, 200 companies, true difference +0.10"
    return difference_plot(lines, title=title, xlabel="day", ylabel="share right, treatment minus control")


def _arms(drawn: Drawn, *, least_spread: float) -> list[ArmMean]:
    """Return control and treatment at each look, as the platform averages them."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = drawn.total / drawn.count
    treated = np.broadcast_to(drawn.treated[:, None, :], means.shape)
    present = drawn.count > 0
    return [arm_mean(means, present & side, least_spread=least_spread) for side in (~treated, treated)]


def _first(signs: Ints) -> Floats:
    """Return the sign of the first look that shows a difference; 0 where none does."""
    place = (signs != 0).argmax(axis=1)
    return np.asarray(np.take_along_axis(signs, place[:, None], axis=1)[:, 0], dtype=float)


def _row_statistic(drawn: Drawn) -> Floats:
    """Return z on the last day as if every decision were a unit of its own."""
    parts = []
    for side in (~drawn.treated, drawn.treated):
        count = np.where(side, drawn.count[:, -1], 0).sum(1)
        mean = np.where(side, drawn.total[:, -1], 0).sum(1) / count
        parts.append((mean, (np.where(side, drawn.squares[:, -1], 0).sum(1) / count - mean**2) / count))
    (control, its), (treatment, other) = parts
    return np.asarray((treatment - control) / np.sqrt(its + other))


def share(hits: int, of: int) -> str:
    """Return a share in per cent with its exact 95 % interval (Clopper & Pearson 1934)."""
    from scipy import stats

    low, high = stats.binomtest(hits, of).proportion_ci(method="exact")
    return f"{100 * hits / of:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def error_table(records: Sequence[Record]) -> str:
    """Return type-I errors as a Markdown table."""
    import pandas as pd

    rows = [
        {
            "metric": one.world.label,
            "companies": one.world.companies,
            "treated": f"{one.world.treated:.0%}",
            "experiments": one.experiments,
        }
        | {name: share(one.found[name], one.experiments) for name in METHODS}
        for one in records
    ]
    return str(pd.DataFrame(rows).to_markdown(index=False))


def rule_table(experiments: int, *, seed: int) -> str:
    """Return how often the whole rule concludes anything, winner or harm, from a share and a time that are both null.

    The two are drawn independently of each other, which is nearly the worst case for a level that they share.
    """
    import pandas as pd

    rows = []
    for companies in (24, 60, 200):
        worlds = [World(metric=metric, companies=companies) for metric in ("share", "time")]
        found = np.zeros(experiments, bool)
        for place, world in enumerate(worlds):
            for begin in range(0, experiments, PART):
                end = min(begin + PART, experiments)
                drawn = draw(world, end - begin, seed=(seed, 77, companies, place, begin))
                found[begin:end] |= (ours(world, drawn, alpha=LEVEL / len(worlds)) != 0).any(axis=1)
        said = share(int(found.sum()), experiments)
        rows.append({"companies": companies, "experiments": experiments, "winner or harm": said})
    return str(pd.DataFrame(rows).to_markdown(index=False))


def power_table(records: Sequence[Record]) -> str:
    """Return power as a Markdown table; the once-only test has no cost of looking, and no early end."""
    import pandas as pd

    rows = [
        {
            "metric": one.world.label,
            "effect": f"{one.world.effect:+.2f}"
            if one.world.metric == "share"
            else f"{np.expm1(one.world.effect):+.0%}",
            "companies": one.world.companies,
            OURS: share(one.better[OURS], one.experiments),
            "median day found": f"{np.median(one.days):.0f}" if one.days else "-",
            ONCE: share(one.better[ONCE], one.experiments),
        }
        for one in records
    ]
    return str(pd.DataFrame(rows).to_markdown(index=False))


def ratio_table(experiments: int, *, seed: int) -> str:
    """Return how often both ratio tests alarm while 200 companies join, a look after each tenth of a month's."""
    import pandas as pd

    rows = [
        _ratio_row(planned, actual, experiments, seed) for planned, actual in ((0.5, 0.5), (0.2, 0.2), (0.5, 0.4))
    ]
    return str(pd.DataFrame(rows).to_markdown(index=False))


def _ratio_row(planned: float, actual: float, experiments: int, seed: int) -> dict[str, str | int]:
    from scipy import stats

    companies = 200
    treated = treated_so_far(companies, actual, experiments, seed=(seed, 99))
    looks = np.linspace(companies // DAYS, companies, DAYS).astype(int)
    limit = stats.chi2.isf(ALARM, 1)
    ours = chi = 0
    known: dict[tuple[int, int], bool] = {}
    for row in treated:
        counts = [(int(row[look - 1]), int(look)) for look in looks]
        for pair in counts:
            if pair not in known:
                known[pair] = not sample_ratio([pair[1] - pair[0], pair[0]], [1 - planned, planned]).ok
        ours += any(known[pair] for pair in counts)
        chi += any((hit - look * planned) ** 2 / (look * planned * (1 - planned)) > limit for hit, look in counts)
    return {
        "planned": f"{planned:.0%}",
        "actual": f"{actual:.0%}",
        "companies": companies,
        "experiments": experiments,
        "ours, daily": share(ours, experiments),
        f"chi-square at {ALARM:g}, daily": share(chi, experiments),
    }
