"""The models that a backtest judges: the installation's champions, or fits on worlds that are not asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from crewflow_assets.models import spec_named

if TYPE_CHECKING:
    from crewflow_assets.conflict_resolution.model import ConflictPredictor
    from crewflow_assets.retry_strategy.model import RetryPredictor
    from crewflow_assets.spec import Predictor
    from crewflow_assets.sync_health.model import SyncHealthPredictor

NAMES = ("sync_health", "retry_strategy", "conflict_resolution")
FITTED = "fitted on simulated worlds"
TRAINING_DRAWS, TRAINING_INTEGRATIONS, TRAINING_DAYS = 12, 16, 18
RETRY_DAYS = 8
CONFLICT_DRAWS, CONFLICT_COMPANIES, CONFLICT_DAYS = 14, 6, 90
CONFLICT_SEED = 501
"""The first of the worlds of timecards that the conflict model learns from; those asked have others."""


@dataclass(frozen=True, slots=True, eq=False)
class Models:
    """The three models that act, with the version of each as a report names it."""

    sync: "SyncHealthPredictor"
    retry: "RetryPredictor"
    conflict: "ConflictPredictor"
    versions: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(NAMES, FITTED))


def champions() -> Models:
    """Load the champions.

    Raises:
        NotReadyError: one of the models has no champion yet.
    """
    from crewflow_assets import registry

    loaded = {name: registry.load(spec_named(name), registry.CHAMPION) for name in NAMES}
    predictors: dict[str, Predictor] = {name: one.predictor for name, one in loaded.items()}
    return Models(
        cast("SyncHealthPredictor", predictors["sync_health"]),
        cast("RetryPredictor", predictors["retry_strategy"]),
        cast("ConflictPredictor", predictors["conflict_resolution"]),
        {name: f"champion {one.label}" for name, one in loaded.items()},
    )


def fitted(progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None) -> Models:
    """Fit all three on simulated worlds of other seeds, whose parameters are drawn from the same ranges.

    Args:
        progress: Told what is under way, how much of it is done, and of how much.
    """
    import pandas as pd

    from crewflow_assets.backtest.conflict_worlds import histories, table_of
    from crewflow_assets.backtest.retry_worlds import Size, fit_on_twin
    from crewflow_assets.backtest.scoring import fit_on_twin as fit_health
    from crewflow_assets.backtest.syncs import START
    from crewflow_assets.conflict_resolution.evaluation import rows_of
    from crewflow_assets.conflict_resolution.model import fit as fit_conflicts
    from crewflow_assets.twin.notes import draw_parameters
    from crewflow_assets.twin.timecards.parameters import TimecardParameters

    sync = fit_health(
        TRAINING_DRAWS,
        TRAINING_INTEGRATIONS,
        TRAINING_DAYS,
        START,
        lambda done, total: progress("training worlds of syncs", done, total),
    )
    progress("training worlds of retries", 0, 1)
    retry, _ = fit_on_twin(Size(TRAINING_DRAWS, TRAINING_INTEGRATIONS, RETRY_DAYS))
    progress("training worlds of retries", 1, 1)
    tables = []
    for place in range(CONFLICT_DRAWS):
        seed = CONFLICT_SEED + place
        found = histories(
            draw_parameters(TimecardParameters, seed),
            companies=CONFLICT_COMPANIES,
            days=CONFLICT_DAYS,
            seed=seed,
            prefix=f"k{place}",
        )
        tables.append(table_of(list(found)))
        progress("training worlds of conflicts", place + 1, CONFLICT_DRAWS)
    return Models(sync, retry, fit_conflicts(*rows_of(pd.concat(tables, ignore_index=True)), seed=0))
