"""The retry strategy as the platform sees it: features, fit, evaluation and answers behind one interface."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import cast

import pandas as pd

from crewflow_assets.retry_strategy.answering import answer
from crewflow_assets.retry_strategy.contract import RetryRequest
from crewflow_assets.retry_strategy.evaluation import BASELINES, evaluate
from crewflow_assets.retry_strategy.model import RetryPredictor, examples_of, fit, fit_table
from crewflow_assets.retry_strategy.table import feature_table
from crewflow_assets.spec import Answer, Evaluation, ModelCode, Predictor


class RetryStrategy(ModelCode):
    """See ``ModelCode`` for what each method promises."""

    def build_features(self, cutoff: datetime) -> pd.DataFrame:
        """Describe the retries of the last months."""
        return feature_table(cutoff)

    def fit(self, features: pd.DataFrame, *, seed: int) -> RetryPredictor:
        """Fit both ways on the training integrations, before the test time, and keep the better."""
        return fit(training_rows(features), seed=seed)

    def baselines(self, features: pd.DataFrame, *, seed: int) -> Mapping[str, RetryPredictor]:
        """Count shares by class, attempts and delay on the same rows."""
        rows = training_rows(features)
        return {name: fit_table(rows, by, seed=seed) for name, by in BASELINES.items()}

    def evaluate(
        self, predictor: Predictor, baselines: Mapping[str, Predictor], features: pd.DataFrame
    ) -> Evaluation:
        """Measure on integrations never trained on, in the test time."""
        named = {name: cast(RetryPredictor, baseline) for name, baseline in baselines.items()}
        return evaluate(cast(RetryPredictor, predictor), named, features[held_out_rows(features)])

    def row_scores(self, predictor: Predictor, features: pd.DataFrame) -> pd.DataFrame:
        """Score each test row by minus its squared error, clustered by integration."""
        rows = features[held_out_rows(features)]
        examples = examples_of(rows)
        said = cast(RetryPredictor, predictor).probability(examples.context, examples.seconds)
        return pd.DataFrame({"cluster": rows["entity"], "score": -((said - examples.ok) ** 2)})

    def load(self, folder: Path) -> RetryPredictor:
        """Read a saved predictor."""
        return RetryPredictor.load(folder)

    def answer(self, predictor: Predictor, requests: Sequence[RetryRequest]) -> list[Answer]:
        """Answer requests in order."""
        return answer(cast(RetryPredictor, predictor), requests)


def training_rows(features: pd.DataFrame) -> pd.DataFrame:
    """Return the rows before the test time, of integrations that are trained on."""
    return features[(features["fold"] == "train") & ~features["in_test"]]


def held_out_rows(features: pd.DataFrame) -> "pd.Series[bool]":
    """Say which rows test: the test time, of integrations that are never trained on."""
    return features["in_test"] & (features["fold"] == "test")
