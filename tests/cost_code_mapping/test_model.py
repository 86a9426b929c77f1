"""The ranker: recovered from choices drawn from known weights, saved and loaded exactly, memory before model."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crewflow_assets.cost_code_mapping.features import COLUMN, FEATURES
from crewflow_assets.cost_code_mapping.model import MappingPredictor, Queries, fit, fit_conditional_logit
from tests.worlds import predictor

TRUE = {"name_similarity": 3.0, "cost_type_clash": -1.5, "nearest": 2.0, "log_share_group": 0.8}
WEIGHTS = np.array([TRUE.get(name, 0.0) for name in FEATURES])


def simulated(number: int, *, seed: int, fold: str = "train", weights: NDArray[np.float64] = WEIGHTS) -> pd.DataFrame:
    """Draw queries of 3 to 12 candidates and choose among them as a conditional logit of these weights does."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 13, number)
    starts = np.r_[0, np.cumsum(lengths)]
    x = rng.normal(size=(starts[-1], len(FEATURES)))
    x[:, COLUMN["memory"]] = 0
    utility = x @ weights + rng.gumbel(size=len(x))
    label = np.zeros(len(x), int)
    label[[a + np.argmax(utility[a:b]) for a, b in pairwise(starts)]] = 1
    query = np.repeat(np.arange(number), lengths)
    return pd.DataFrame(x, columns=list(FEATURES)).assign(
        query=[f"{fold}/{q}" for q in query],
        company_id=[f"{fold}-{q % 20}" for q in query],
        fold=fold,
        label=label,
        n_history=rng.integers(0, 50, number)[query],
        stood=(rng.random(number) < 0.9)[query],
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.concat(
        [simulated(1500, seed=1), simulated(1500, seed=2, fold="calibration"), simulated(1500, seed=3, fold="test")],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def fitted(table: pd.DataFrame) -> MappingPredictor:
    return fit(table)


def test_the_fit_recovers_the_weights_that_choices_were_drawn_from() -> None:
    found = fit_conditional_logit(Queries.of(simulated(6000, seed=4)))
    for name, true in TRUE.items():
        assert found[COLUMN[name]] == pytest.approx(true, rel=0.08), name
    nothing = [COLUMN[name] for name in FEATURES if name not in TRUE]
    assert np.abs(found[nothing]).max() < 0.12


def test_the_scale_of_a_feature_does_not_matter_to_what_is_predicted() -> None:
    small = simulated(800, seed=5)
    large = small.assign(nearest=small["nearest"] * 1000)
    one, other = (fit_conditional_logit(Queries.of(data)) for data in (small, large))
    assert other[COLUMN["nearest"]] * 1000 == pytest.approx(one[COLUMN["nearest"]], rel=1e-3)


def test_features_that_are_not_used_have_no_weight() -> None:
    found = fit_conditional_logit(Queries.of(simulated(500, seed=6)), ("name_similarity", "nearest"))
    used = [COLUMN["name_similarity"], COLUMN["nearest"]]
    assert (found[used] > 0.5).all()
    assert (np.delete(found, used) == 0).all()


def test_the_confidence_of_unseen_companies_means_what_it_says(table: pd.DataFrame, fitted: MappingPredictor) -> None:
    queries = Queries.of(table[table["fold"] == "test"])
    rankings = fitted.rank_all(queries)
    confidence = np.array([ranking.confidence for ranking in rankings])
    right = np.array([r.order[0] == label for r, label in zip(rankings, queries.labels, strict=True)])
    for low, high in ((0.0, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.0)):
        inside = (confidence >= low) & (confidence < high)
        error = 3.5 * np.sqrt(0.25 / inside.sum())
        assert right[inside].mean() == pytest.approx(confidence[inside].mean(), abs=error), (low, high)


def test_the_model_ranks_nearly_as_well_as_the_truth_could(table: pd.DataFrame, fitted: MappingPredictor) -> None:
    queries = Queries.of(table[table["fold"] == "test"])
    ideal = MappingPredictor(WEIGHTS, np.zeros(7), None, 1.0)
    ours, best = (
        np.mean([r.order[0] == label for r, label in zip(p.rank_all(queries), queries.labels, strict=True)])
        for p in (fitted, ideal)
    )
    assert best > 0.6
    assert ours > best - 0.02


def test_the_share_that_stood_is_measured_on_the_training_queries(
    table: pd.DataFrame, fitted: MappingPredictor
) -> None:
    chosen = table[(table["fold"] == "train") & (table["label"] == 1)]
    assert fitted.person_stands == pytest.approx(chosen["stood"].mean())


@pytest.mark.parametrize(("says", "low", "high"), [(1.0, 0.98, 1.0), (0.0, 0.0, 0.02)])
def test_a_ranker_that_is_always_right_or_wrong_never_claims_certainty(says: float, low: float, high: float) -> None:
    data = pd.concat([simulated(200, seed=7), simulated(200, seed=8, fold="calibration")], ignore_index=True)
    for fold, value in (("train", 1.0), ("calibration", 2 * says - 1)):
        rows = data["fold"] == fold
        data.loc[rows, "name_similarity"] = data.loc[rows, "label"] * value * 10
    found = fit(data, using=("name_similarity",))
    confidences = {ranking.confidence for ranking in found.rank_all(Queries.of(data[data["fold"] == "calibration"]))}
    assert all(low < confidence < high for confidence in confidences)
    assert (found.threshold is None) is (says == 0)


@pytest.mark.parametrize("missing", ["train", "calibration"])
def test_a_missing_fold_is_refused_by_name(missing: str, table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=f"no rows of the fold '{missing}'; import more companies"):
        fit(table[table["fold"] != missing])


def test_the_fit_has_no_chance_in_it(table: pd.DataFrame, fitted: MappingPredictor) -> None:
    again = fit(table)
    np.testing.assert_array_equal(again.weights, fitted.weights)
    np.testing.assert_array_equal(again.confidence_weights, fitted.confidence_weights)
    assert (again.threshold, again.person_stands) == (fitted.threshold, fitted.person_stands)


def test_saving_and_loading_gives_exactly_the_same_answers(
    tmp_path: Path, table: pd.DataFrame, fitted: MappingPredictor
) -> None:
    fitted.save(tmp_path)
    loaded = MappingPredictor.load(tmp_path)
    for one, other in zip(*(p.rank_all(Queries.of(table)) for p in (fitted, loaded)), strict=True):
        np.testing.assert_array_equal(one.order, other.order)
        assert one.confidence == other.confidence
    assert (loaded.threshold, loaded.person_stands) == (fitted.threshold, fitted.person_stands)


def test_a_saved_model_is_json_that_names_its_features(tmp_path: Path) -> None:
    predictor(threshold=None, nearest=2.0).save(tmp_path)
    [file] = tmp_path.iterdir()
    assert file.suffix == ".json"
    content = json.loads(file.read_text())
    assert content["weights"]["nearest"] == 2.0
    assert list(content["weights"]) == list(FEATURES)
    assert content["threshold"] is None


def test_a_feature_added_since_has_no_weight_in_an_older_model(tmp_path: Path) -> None:
    predictor(nearest=2.0, memory=3.0).save(tmp_path)
    [file] = tmp_path.iterdir()
    content = json.loads(file.read_text())
    del content["weights"]["memory"]
    file.write_text(json.dumps(content))
    loaded = MappingPredictor.load(tmp_path)
    assert loaded.weights[COLUMN["memory"]] == 0
    assert loaded.weights[COLUMN["nearest"]] == 2


def rows(size: int, **columns: list[float]) -> NDArray[np.float64]:
    found = np.zeros((size, len(FEATURES)))
    for name, values in columns.items():
        found[:, COLUMN[name]] = values
    return found


def test_what_the_company_always_did_with_the_name_comes_before_what_the_model_thinks() -> None:
    ranking = predictor(name_similarity=10.0).rank(rows(3, name_similarity=[0.2, 0.9, 0.5], memory=[1, 0, 0]), 4)
    assert ranking.order.tolist() == [0, 1, 2]
    assert int(np.argmax(ranking.probabilities)) == 1


def test_a_name_that_went_to_two_accounts_leaves_the_order_to_the_model() -> None:
    ranking = predictor(name_similarity=10.0).rank(rows(3, name_similarity=[0.2, 0.9, 0.5], memory=[0.5, 0, 0.5]), 4)
    assert ranking.order.tolist() == [1, 2, 0]


def test_ties_keep_the_order_of_the_chart() -> None:
    assert predictor().rank(rows(4), 0).order.tolist() == [0, 1, 2, 3]


def test_one_candidate_is_ranked_too() -> None:
    ranking = predictor(nearest=1.0).rank(rows(1), 0)
    assert ranking.probabilities.tolist() == [1.0]
    assert 0 < ranking.confidence < 1


@given(
    st.lists(st.lists(st.floats(-1e3, 1e3), min_size=len(FEATURES), max_size=len(FEATURES)), min_size=1, max_size=5),
    st.lists(st.floats(-50, 50), min_size=len(FEATURES), max_size=len(FEATURES)),
    st.lists(st.floats(-3, 3), min_size=7, max_size=7),
)
def test_probabilities_and_confidence_stay_probabilities_whatever_the_numbers(
    features: list[list[float]], weights: list[float], confidence: list[float]
) -> None:
    model = MappingPredictor(np.array(weights), np.array(confidence), None, 1.0)
    ranking = model.rank(np.array(features), 3)
    assert ranking.probabilities.sum() == pytest.approx(1)
    assert sorted(ranking.order.tolist()) == list(range(len(features)))
    assert 0 <= ranking.confidence <= 1


def test_queries_read_the_long_table() -> None:
    data = simulated(5, seed=9)
    queries = Queries.of(data)
    assert len(queries) == 5
    for number, (query, part) in enumerate(data.groupby("query", sort=False)):
        start, end = queries.starts[number : number + 2]
        assert end - start == len(part), query
        assert part["label"].to_numpy()[queries.labels[number]] == 1
        assert queries.history[number] == part["n_history"].iloc[0]
