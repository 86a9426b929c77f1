"""Conflict resolution as the platform sees it: features, fit, evaluation and answers behind one interface."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from crewflow_assets.conflict_resolution.answering import answer
from crewflow_assets.conflict_resolution.context import decided_cases
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS, ConflictRequest
from crewflow_assets.conflict_resolution.evaluation import BASELINES, evaluate, rows_of, score
from crewflow_assets.conflict_resolution.features import FEATURES, matrix_of
from crewflow_assets.conflict_resolution.history import Decided
from crewflow_assets.conflict_resolution.model import ConflictPredictor, fit
from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.spec import Answer, Evaluation, ModelCode, Predictor


class ConflictResolution(ModelCode):
    """See ``ModelCode`` for what each method promises."""

    def build_features(self, cutoff: datetime) -> pd.DataFrame:
        """Describe every conflict that a person decided, as it stood when it was reported."""
        return feature_table(decided_cases(cutoff))

    def fit(self, features: pd.DataFrame, *, seed: int) -> ConflictPredictor:
        """Fit trees, calibration and thresholds on the training companies."""
        return fit(*rows_of(_training_rows(features)), seed=seed)

    def baselines(self, features: pd.DataFrame, *, seed: int) -> Mapping[str, ConflictPredictor]:
        """Fit the baselines on the same rows."""
        rows = rows_of(_training_rows(features))
        return {
            name: fit(*rows, seed=seed, features=using, parameters=parameters)
            for name, (using, parameters) in BASELINES.items()
        }

    def evaluate(
        self, predictor: Predictor, baselines: Mapping[str, Predictor], features: pd.DataFrame
    ) -> Evaluation:
        """Measure on the test companies."""
        named = {name: cast(ConflictPredictor, baseline) for name, baseline in baselines.items()}
        return evaluate(cast(ConflictPredictor, predictor), named, features)

    def row_scores(self, predictor: Predictor, features: pd.DataFrame) -> pd.DataFrame:
        """Score 1 where the recommendation is what people decided, clustered by company."""
        scored = score(cast(ConflictPredictor, predictor), features[features["fold"] == "test"])
        return pd.DataFrame({"cluster": scored.companies, "score": scored.right})

    def load(self, folder: Path) -> ConflictPredictor:
        """Read a saved predictor."""
        return ConflictPredictor.load(folder)

    def answer(self, predictor: Predictor, requests: Sequence[ConflictRequest]) -> list[Answer]:
        """Answer requests in order."""
        return answer(cast(ConflictPredictor, predictor), requests)


def feature_table(decided: Iterable[Decided]) -> pd.DataFrame:
    """Return one row a decided conflict: conflict_id, company_id, opened_at, type, fold, label, and the features.

    ``label`` is the place of the decision in ``RESOLUTIONS``; ``blind`` marks decisions made without a suggestion.
    """
    found = sorted(decided, key=lambda one: (one.company_id, one.opened_at, one.conflict_id))
    keys = pd.DataFrame(
        {
            "conflict_id": [one.conflict_id for one in found],
            "company_id": [one.company_id for one in found],
            "opened_at": pd.to_datetime([one.opened_at for one in found], utc=True),
            "type": [one.case.conflict_type for one in found],
            "fold": [fold_of(one.company_id) for one in found],
            "blind": [one.blind for one in found],
            "label": np.array([RESOLUTIONS.index(one.resolution) for one in found], np.int64),
        }
    )
    rows = pd.DataFrame(matrix_of(one.case for one in found), columns=list(FEATURES))
    return pd.concat([keys, rows], axis=1)


def _training_rows(features: pd.DataFrame) -> pd.DataFrame:
    return features[features["fold"] == "train"]
