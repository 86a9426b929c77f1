"""What is learned from other companies: where all do alike it is known for the next one, elsewhere it is not."""

import gc
from dataclasses import fields
from weakref import ref

import numpy as np
import pandas as pd
import pytest

from crewflow_assets.arrays import AnyFloats
from crewflow_assets.cost_code_mapping.adaptation import Adaptation
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare
from crewflow_assets.cost_code_mapping.features import FEATURES
from crewflow_assets.cost_code_mapping.learned import KEPT_MODELS, Learned
from crewflow_assets.cost_code_mapping.model import ALL_FEATURES, MappingPredictor, fit
from crewflow_assets.cost_code_mapping.pool import Pool
from crewflow_assets.encoder import encoder
from tests.cost_code_mapping.test_model import ANIMALS, right


def taught(companies: int, *, fold: str = "train", own: bool, codes: int = 24) -> pd.DataFrame:
    """Return decisions where trades go to animals: the same ones everywhere, or each company to its own.

    Nothing but what was learned from other companies can tell.
    """
    trades = ("Electrical", "Plumbing", "Framing", "Roofing", "Concrete", "Drywall")
    parts = []
    for company in range(companies):
        rng = np.random.default_rng([company, fold == "test", own])
        order = rng.permutation(len(trades)) if own else np.arange(len(trades))
        for number in range(codes):
            trade = int(rng.integers(len(trades)))
            parts.append(
                pd.DataFrame(
                    {
                        "query": f"{fold}/{company}/{number}",
                        "company_id": f"{fold}-{company}",
                        "source_code": f"{number}",
                        "source_name": f"{trades[trade]} work {number % 3}",
                        "candidate_name": [f"{animal} account" for animal in ANIMALS[: len(trades)]],
                        "label": (np.arange(len(trades)) == order[trade]).astype(int),
                    }
                )
            )
    found = pd.concat(parts, ignore_index=True)
    zeros = pd.DataFrame(0.0, index=found.index, columns=list(FEATURES))
    return pd.concat([found, zeros], axis=1).assign(
        fold=fold, kind="cost_code", system="sage", candidate_text=found["candidate_name"], n_history=0, stood=True
    )


@pytest.fixture(scope="module")
def model() -> MappingPredictor:
    """Fitted where all companies do alike."""
    return fit(taught(16, own=False), seed=1)


def test_what_all_companies_do_is_learned_for_the_next_company(model: MappingPredictor) -> None:
    unseen = taught(6, own=False, fold="test")
    assert right(model, unseen).mean() > 0.95
    assert model.weights[ALL_FEATURES.index("adapted")] > 0
    assert len(model.learned.pool) >= 6
    assert np.mean([ranking.confidence for ranking in model.rank_table(unseen)]) > 0.9
    assert model.threshold is not None


def test_what_each_company_does_its_own_way_is_not_taken_for_knowledge() -> None:
    """A company's own pairs are no evidence for it: with them the ranker would seem right, and be sure of itself."""
    model = fit(taught(32, own=True, codes=12), seed=1)
    unseen = taught(12, own=True, fold="test")
    assert right(model, unseen).mean() < 0.35  # a sixth is chance
    assert np.mean([ranking.confidence for ranking in model.rank_table(unseen)]) < 0.4
    assert model.threshold is None


def test_learned_features_of_a_table_are_those_of_its_queries(model: MappingPredictor) -> None:
    unseen = taught(2, own=False, fold="test")
    of_table = model.learned.of_table(unseen)
    for query, part in unseen.reset_index(drop=True).groupby("query", sort=False):
        chart = Chart([Target(name, name, None, None) for name in part["candidate_name"]])
        [asked] = prepare([Source("cost_code", "1", part["source_name"].iloc[0], None, None, None, "roofing")])
        np.testing.assert_allclose(
            of_table[part.index], model.learned.of_query(asked, chart), rtol=1e-5, atol=1e-5, err_msg=str(query)
        )


ANIMAL_ACCOUNTS = [Target(animal, f"{animal} account", None, None) for animal in ANIMALS]


class Adapting(Adaptation):
    """Adapts nothing, and counts how often it was asked for a chart's accounts."""

    charts = 0

    def targets(self, embeddings: AnyFloats) -> AnyFloats:
        Adapting.charts += 1
        return Adaptation.targets(self, embeddings)


def asked_twice(chart: Chart) -> ref[Adapting]:
    """Ask a new model about a chart, twice, and return whether it is still in memory."""
    none = Adaptation.none(encoder().width)
    adaptation = Adapting(**{field.name: getattr(none, field.name) for field in fields(none)})
    [query] = prepare([Source("cost_code", "1", "Roofing work", None, None, None, "roofing")])
    learned = Learned(adaptation, Pool.of([]))
    for _ in range(2):
        learned.of_query(query, chart)
    return ref(adaptation)


def test_what_is_derived_of_a_chart_is_made_once_and_goes_with_the_chart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Adapting, "charts", 0)
    chart = Chart(ANIMAL_ACCOUNTS)
    for _ in range(2):
        asked_twice(chart)
    assert Adapting.charts == 2
    gone = ref(chart)
    del chart
    gc.collect()
    assert gone() is None


def test_of_a_chart_that_stays_the_models_that_asked_last_are_kept() -> None:
    chart = Chart(ANIMAL_ACCOUNTS)
    models = [asked_twice(chart) for _ in range(3 * KEPT_MODELS)]
    gc.collect()
    assert [one() is not None for one in models] == [False] * 2 * KEPT_MODELS + [True] * KEPT_MODELS
