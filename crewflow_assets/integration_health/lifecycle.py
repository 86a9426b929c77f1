"""The health forecast as the platform sees it: features, fit, evaluation and answers behind one interface."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import pandas as pd

from crewflow_assets.integration_health.answering import answer
from crewflow_assets.integration_health.contract import HealthForecastRequest
from crewflow_assets.integration_health.evaluation import SIMPLE, evaluate
from crewflow_assets.integration_health.features import NOW
from crewflow_assets.integration_health.model import HealthPredictor, fit, fit_simple, pinball
from crewflow_assets.integration_health.table import day_numbers, feature_table, rows_of_table
from crewflow_assets.spec import Answer, Evaluation, ModelCode, Predictor


class IntegrationHealthForecast(ModelCode):
    """See ``ModelCode`` for what each method promises."""

    def build_features(self, cutoff: datetime) -> pd.DataFrame:
        """Describe each integration on each of the last days."""
        return feature_table(cutoff)

    def fit(self, features: pd.DataFrame, *, seed: int) -> HealthPredictor:
        """Fit on the training integrations, on days whose label was known before the test days."""
        train = training_rows(features)
        return fit(*rows_of_table(train), day_numbers(train), train["entity"].tolist(), seed=seed)

    def baselines(self, features: pd.DataFrame, *, seed: int) -> Mapping[str, HealthPredictor]:  # noqa: ARG002
        """Return the simple forecasts, each with the width that held on the training rows."""
        rows, label = rows_of_table(training_rows(features))
        given = fit_simple(rows, label, start=NOW)
        return {name: HealthPredictor(fit_simple(rows, label, start=start), given) for name, start in SIMPLE.items()}

    def evaluate(
        self, predictor: Predictor, baselines: Mapping[str, Predictor], features: pd.DataFrame
    ) -> Evaluation:
        """Measure on the test days, and apart on the integrations never trained on."""
        named = {name: cast(HealthPredictor, baseline) for name, baseline in baselines.items()}
        return evaluate(cast(HealthPredictor, predictor), named, features[features["in_test"]])

    def row_scores(self, predictor: Predictor, features: pd.DataFrame) -> pd.DataFrame:
        """Score each row of the test days by minus its quantile loss, clustered by integration."""
        test = features[features["in_test"]]
        rows, label = rows_of_table(test)
        said = cast(HealthPredictor, predictor).full.forecast(rows)
        return pd.DataFrame({"cluster": test["entity"], "score": -pinball(said, label)})

    def load(self, folder: Path) -> HealthPredictor:
        """Read a saved predictor."""
        return HealthPredictor.load(folder)

    def answer(self, predictor: Predictor, requests: Sequence[HealthForecastRequest]) -> list[Answer]:
        """Answer requests in order."""
        return answer(cast(HealthPredictor, predictor), requests)


def training_rows(features: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of integrations that are trained on, whose label was known before the test days."""
    return features[(features["fold"] == "train") & features["in_training"]]
