"""The forecast: boosted quantile trees on how far off a simple forecast is, widened until the interval holds.

The trees minimise the quantile loss at 10, 50 and 90 % (Koenker & Bassett 1978), and the interval between the outer
two is widened, or narrowed, by conformal prediction (Romano, Patterson & Candès 2019, "Conformalized quantile
regression"; by a factor, as Kivaranovic et al. 2020 scale it), on later days of integrations that the trees behind it
have not seen. That its cases are not exchangeable with what comes is why the coverage is measured each time.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from crewflow_assets.arrays import Floats, Ints, Singles
from crewflow_assets.errors import refuse_gone
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.integration_health.features import COLUMN, FEATURES, GIVEN, HORIZON_DAYS, MEAN, NOW
from crewflow_assets.spec import Predictor

if TYPE_CHECKING:
    import xgboost

Rows = Singles

QUANTILES = (0.1, 0.5, 0.9)
COVERAGE = 0.8
CALIBRATION_SHARE = 0.35
"""The last part of the training days: the number of rounds and the width of the interval come from it."""
FEWEST_ROWS = 100
MOST_ROUNDS, PATIENCE = 300, 20
SMALLEST_WIDTH = 1.0
"""Points that an interval has before it is widened: trees may say that nothing can change."""
PARAMETERS: dict[str, Any] = {
    "objective": "reg:quantileerror",
    "quantile_alpha": list(QUANTILES),
    "eval_metric": "quantile",
    "tree_method": "hist",
    "eta": 0.05,
    "max_depth": 4,
    "min_child_weight": 20,
    "subsample": 0.7,
    "colsample_bytree": 0.5,
    "nthread": 1,
}


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Scores in seven days, shape (n,) each: the middle, and where they come to lie in 80 of 100 cases."""

    low: Floats
    middle: Floats
    high: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Forecaster:
    """A simple forecast, trees that mend it, and the factor by which their interval is widened.

    Attributes:
        start: The feature that is the simple forecast.
        features: What the trees see.
        booster: The trees; without, the simple forecast stands as it is.
        widening: The half width of the interval, as a multiple of what the trees say; in points without trees.
    """

    start: str
    features: tuple[str, ...]
    booster: "xgboost.Booster | None"
    widening: float

    def forecast(self, rows: Rows) -> Forecast:
        """Return the forecasts for rows of all features."""
        raw = _raw(self.booster, rows, self.start, self.features)
        half = self.widening * _half_width(raw)
        centre = (raw[:, 0] + raw[:, 2]) / 2
        middle = np.clip(raw[:, 1], 0, 100)
        return Forecast(
            np.minimum(np.clip(centre - half, 0, 100), middle),
            middle,
            np.maximum(np.clip(centre + half, 0, 100), middle),
        )

    def save(self, folder: Path, name: str) -> None:
        """Write the trees as UBJ and the rest as JSON."""
        if self.booster is not None:
            self.booster.save_model(folder / f"{name}.ubj")
        content = {"start": self.start, "features": self.features, "widening": self.widening}
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1))

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Read what ``save`` wrote.

        Raises:
            OutdatedModelError: it was fitted on a feature that there is no longer; train anew.
        """
        import xgboost

        content = json.loads((folder / f"{name}.json").read_text())
        refuse_gone((content["start"], *content["features"]), COLUMN)
        booster = None
        if (folder / f"{name}.ubj").exists():
            booster = xgboost.Booster(params={"nthread": 1})
            booster.load_model(folder / f"{name}.ubj")
        return cls(content["start"], tuple(content["features"]), booster, content["widening"])


@dataclass(frozen=True, slots=True, eq=False)
class HealthPredictor(Predictor):
    """The fitted model: ``full`` on the days before, ``given`` on the metrics that a request carries."""

    full: Forecaster
    given: Forecaster

    def save(self, folder: Path) -> None:
        """Write both."""
        self.full.save(folder, "full")
        self.given.save(folder, "given")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(Forecaster.load(folder, "full"), Forecaster.load(folder, "given"))


def fit(rows: Rows, label: Floats, day: Ints, entity: Sequence[str], *, seed: int) -> HealthPredictor:
    """Fit both on training rows.

    Args:
        rows: Shape (n, len(FEATURES)).
        label: The scores in seven days.
        day: The last day known, as a number.
        entity: Whose.
        seed: Of the subsamples.

    Raises:
        ValueError: fewer than 100 rows in the earlier or the later part.
    """
    learnt = tuple(name for name in FEATURES if name != NOW)
    return HealthPredictor(
        fit_trees(rows, label, day, entity, start=MEAN, features=learnt, seed=seed),
        fit_trees(rows, label, day, entity, start=NOW, features=GIVEN, seed=seed),
    )


def fit_trees(
    rows: Rows,
    label: Floats,
    day: Ints,
    entity: Sequence[str],
    *,
    start: str,
    features: tuple[str, ...],
    seed: int,
) -> Forecaster:
    """Fit on the earlier days of either half of the integrations, widen on the later ones of the other, fit on all.

    Earlier days end a week before the later begin, so that no label reaches into them. See ``fit`` for the arguments.
    """
    import xgboost

    later = day > np.quantile(day, 1 - CALIBRATION_SHARE)
    earlier = day <= day[later].min(initial=day.max()) - 1 - HORIZON_DAYS
    for name, part in (("earlier", earlier), ("later", later)):
        if part.sum() < FEWEST_ROWS:
            raise ValueError(
                f"the {name} part of the training days has {int(part.sum())} rows; {FEWEST_ROWS} are needed: "
                "import more history"
            )
    columns, off = [COLUMN[name] for name in features], label - rows[:, COLUMN[start]]
    settings = {**PARAMETERS, "seed": seed}
    halves = np.array([uniform("half", each) < 0.5 for each in entity])
    raw, rounds = np.zeros((len(rows), len(QUANTILES))), []
    for half in (False, True):
        known, asked = earlier & (halves == half), later & (halves != half)
        if min(known.sum(), asked.sum()) < FEWEST_ROWS // 10:  # hardly an integration: let the halves be one
            known, asked = earlier, later
        trial = xgboost.train(
            settings,
            xgboost.QuantileDMatrix(rows[np.ix_(known, columns)], off[known]),
            MOST_ROUNDS,
            evals=[(xgboost.DMatrix(rows[np.ix_(asked, columns)], off[asked]), "later")],
            early_stopping_rounds=PATIENCE,
            verbose_eval=False,
        )
        rounds.append(trial.best_iteration + 1)
        raw[asked] = _raw(trial[: rounds[-1]], rows[asked], start, features)
    booster = xgboost.train(settings, xgboost.QuantileDMatrix(rows[:, columns], off), round(float(np.mean(rounds))))
    return Forecaster(start, features, booster, widening_of(raw[later], label[later]))


def fit_simple(rows: Rows, label: Floats, *, start: str) -> Forecaster:
    """Return a simple forecast as it stands, with one width for all: it held in 80 of 100 training rows."""
    raw = _raw(None, rows, start, ())
    return Forecaster(start, (), None, widening_of(raw, label))


def widening_of(raw: Floats, label: Floats) -> float:
    """Return the factor on half widths at which 80 of 100 labels lie within, as split conformal prediction does."""
    off = np.abs(label - (raw[:, 0] + raw[:, 2]) / 2) / _half_width(raw)
    rank = min(np.ceil(COVERAGE * (len(off) + 1)) / len(off), 1.0)
    return float(np.quantile(off, rank, method="inverted_cdf"))


def pinball(forecast: Forecast, label: Floats) -> Floats:
    """Return the mean quantile loss of each row: proper for middle and interval together, lower is better."""
    parts = [
        np.maximum(level * (label - said), (level - 1) * (label - said))
        for level, said in zip(QUANTILES, (forecast.low, forecast.middle, forecast.high), strict=True)
    ]
    return np.asarray(np.mean(parts, axis=0))


def _raw(booster: "xgboost.Booster | None", rows: Rows, start: str, features: Sequence[str]) -> Floats:
    """Return low, middle and high before widening, in order, shape (n, 3)."""
    begun = rows[:, COLUMN[start], None].astype(float)
    if booster is None:
        return np.repeat(begun, len(QUANTILES), axis=1)
    own = np.ascontiguousarray(rows[:, [COLUMN[name] for name in features]])
    return np.asarray(np.sort(begun + booster.inplace_predict(own).reshape(len(rows), -1), axis=1))


def _half_width(raw: Floats) -> Floats:
    return np.asarray(np.maximum(raw[:, 2] - raw[:, 0], SMALLEST_WIDTH) / 2)
