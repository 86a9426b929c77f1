"""Whether the probability of success after a delay means what it says, on integrations that no fit has seen."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from crewflow_assets.arrays import Floats
from crewflow_assets.backtest.retries import LearnedRetries, feature_rows
from crewflow_assets.evaluation.calibration import expected_calibration_error
from crewflow_assets.evaluation.intervals import Interval, cluster_bootstrap, cluster_mean
from crewflow_assets.evaluation.plots import reliability_plot
from crewflow_assets.retry_strategy.model import RetryPredictor, examples_of
from crewflow_assets.retry_strategy.plan import Values
from crewflow_assets.twin.retries.play import play
from crewflow_assets.twin.retries.policies import EXPLORED_HOURS, Explorer
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.history import names_of

ANY_DELAY, CHOSEN = "any delay, as explored", "the delay that ours chose"


@dataclass(frozen=True, slots=True)
class Calibration:
    """How true the probabilities of some retries are."""

    rows: int
    base_rate: float
    ece: Interval
    brier: Interval
    base_brier: float
    said: Floats = field(repr=False)
    ok: Floats = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures without the rows."""
        return {name: value for name, value in asdict(self).items() if name not in ("said", "ok")}


def calibration(world: RetryWorld, predictor: RetryPredictor) -> Mapping[str, Calibration]:
    """Return how true the probabilities are after any delay, and after those that ours chooses.

    Intervals are over draws: an outage is one throw of the dice for hundreds of calls.
    """
    rows = feature_rows(world, play(world, Explorer(world), horizon_hours=EXPLORED_HOURS).log)
    examples = examples_of(rows)
    draw_of = dict(zip(names_of(world.recorded.world)[0], world.fleet.draw.tolist(), strict=True))
    said = predictor.probability(examples.context, examples.seconds)
    found = {ANY_DELAY: _measured(said, rows["label"], rows["integration_id"].map(draw_of))}
    ours = LearnedRetries(world, predictor, Values(exploration=0.0), resends=False)
    log = play(world, ours).log
    told = {
        (call, made): said
        for one in ours.told
        for call, made, said in zip(one.call.tolist(), one.attempts.tolist(), one.probability.tolist(), strict=True)
    }
    said = np.array(
        [told[call, attempt - 1] for call, attempt in zip(log.call.tolist(), log.attempt.tolist(), strict=True)]
    )
    found[CHOSEN] = _measured(said, log.ok, world.fleet.draw[world.calls.who[log.call]])
    return found


def reliability_image(found: Mapping[str, Calibration]) -> bytes:
    """Plot the share of successes against the probability, after any delay."""
    one = found[ANY_DELAY]
    return reliability_plot(
        one.said, one.ok, title="P(success | delay) on unseen integrations", xlabel="probability", ylabel="succeeded"
    )


def _measured(said: Floats, ok: Any, draw: Any) -> Calibration:
    happened = np.asarray(ok, np.float64)
    base, cluster = float(happened.mean()), np.asarray(draw).astype(str).astype(object)
    return Calibration(
        rows=len(happened),
        base_rate=base,
        ece=cluster_bootstrap(lambda rows: expected_calibration_error(said[rows], happened[rows]), cluster),
        brier=cluster_mean((said - happened) ** 2, cluster),
        base_brier=base * (1 - base),
        said=said,
        ok=happened,
    )
