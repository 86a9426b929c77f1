"""Sync health as the platform sees it: features, fit, evaluation and answers behind one interface."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import pandas as pd

from crewflow_assets.spec import Answer, Evaluation, ModelCode, Predictor
from crewflow_assets.sync_health.answering import answer
from crewflow_assets.sync_health.baselines import BASELINES
from crewflow_assets.sync_health.contract import SyncHealthRequest
from crewflow_assets.sync_health.evaluation import evaluate, rows_of
from crewflow_assets.sync_health.model import SyncHealthPredictor, fit
from crewflow_assets.sync_health.table import feature_table, rows_of_table


class SyncHealth(ModelCode):
    """See ``ModelCode`` for what each method promises."""

    def build_features(self, cutoff: datetime) -> pd.DataFrame:
        """Describe the attempts of the last months."""
        return feature_table(cutoff)

    def fit(self, features: pd.DataFrame, *, seed: int) -> SyncHealthPredictor:
        """Fit the model and its calibration on the training integrations, before the test time."""
        return fit(*rows_of_table(training_rows(features)), seed=seed)

    def baselines(self, features: pd.DataFrame, *, seed: int) -> Mapping[str, SyncHealthPredictor]:
        """Fit trees on one fact alone, the logistic regression, and the PRD's model."""
        rows = rows_of_table(training_rows(features))
        return {name: fit(*rows, seed=seed, full=using, **more) for name, (using, more) in BASELINES.items()}

    def evaluate(
        self, predictor: Predictor, baselines: Mapping[str, Predictor], features: pd.DataFrame
    ) -> Evaluation:
        """Measure on the test time, and apart on the integrations never trained on."""
        named = {name: cast(SyncHealthPredictor, baseline) for name, baseline in baselines.items()}
        return evaluate(cast(SyncHealthPredictor, predictor), named, training_rows(features), test_rows(features))

    def row_scores(self, predictor: Predictor, features: pd.DataFrame) -> pd.DataFrame:
        """Score each live row of the test time by minus its squared error, clustered by integration."""
        test = test_rows(features)
        rows, failed, _ = rows_of_table(test)
        live = rows_of("live", rows)
        said = cast(SyncHealthPredictor, predictor).full.probability(rows)
        return pd.DataFrame({"cluster": test["entity"], "score": -((said - failed) ** 2)})[live]

    def load(self, folder: Path) -> SyncHealthPredictor:
        """Read a saved predictor."""
        return SyncHealthPredictor.load(folder)

    def answer(self, predictor: Predictor, requests: Sequence[SyncHealthRequest]) -> list[Answer]:
        """Answer requests in order, all with one query."""
        return answer(cast(SyncHealthPredictor, predictor), requests)


def training_rows(features: pd.DataFrame) -> pd.DataFrame:
    """Return the rows before the test time, of integrations that are trained on."""
    return features[(features["fold"] == "train") & ~features["in_test"]]


def test_rows(features: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the test time, whichever the integration."""
    return features[features["in_test"]]
