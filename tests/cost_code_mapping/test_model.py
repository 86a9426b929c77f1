"""The model: recovered from choices drawn from known weights, saved and loaded exactly, memory before model."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.arrays import Bools, Floats
from crewflow_assets.cost_code_mapping.confidence import CONFIDENCE_INPUTS
from crewflow_assets.cost_code_mapping.features import COLUMN, FEATURES
from crewflow_assets.cost_code_mapping.learned import nothing_learned
from crewflow_assets.cost_code_mapping.model import ALL_FEATURES, FILE, MappingPredictor, fit
from crewflow_assets.cost_code_mapping.ranker import Queries
from crewflow_assets.encoder import checkpoint, encoder
from crewflow_assets.errors import OutdatedModelError
from tests.worlds import predictor

TRUE = {"name_similarity": 3.0, "cost_type_clash": -1.5, "nearest": 2.0, "log_share_group": 0.8}
WEIGHTS = np.array([TRUE.get(name, 0.0) for name in FEATURES])
WIDTH = len(ALL_FEATURES)
ANIMALS = ("lion", "otter", "eagle", "salmon", "beetle", "horse", "spider", "whale", "crow", "lizard", "goat", "hare")


def simulated(number: int, *, seed: int, companies: int = 20, fold: str = "train") -> pd.DataFrame:
    """Draw queries of 3 to 12 candidates and choose among them as a conditional logit of the true weights does.

    Their names say nothing of the choice.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 13, number)
    starts = np.r_[0, np.cumsum(lengths)]
    x = rng.normal(size=(starts[-1], len(FEATURES)))
    x[:, COLUMN["memory"]] = 0
    utility = x @ WEIGHTS + rng.gumbel(size=len(x))
    label = np.zeros(len(x), int)
    label[[a + np.argmax(utility[a:b]) for a, b in pairwise(starts)]] = 1
    query = np.repeat(np.arange(number), lengths)
    return pd.DataFrame(x, columns=list(FEATURES)).assign(
        query=[f"{fold}/{q}" for q in query],
        company_id=[f"{fold}-{q % companies}" for q in query],
        fold=fold,
        kind="cost_code",
        system="quickbooks",
        source_code=[f"code {q}" for q in query],
        source_name=[f"name {q % 60}" for q in query],
        candidate_name=[f"{ANIMALS[i]} account" for length in lengths for i in range(length)],
        candidate_text=[f"{ANIMALS[i]} account" for length in lengths for i in range(length)],
        label=label,
        n_history=rng.integers(0, 50, number)[query],
        stood=(rng.random(number) < 0.9)[query],
    )


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.concat(
        [simulated(3000, seed=1), simulated(1500, seed=3, fold="test")],
        ignore_index=True,
    )


@pytest.fixture(scope="module")
def fitted(table: pd.DataFrame) -> MappingPredictor:
    return fit(table, seed=1)


def right(model: MappingPredictor, table: pd.DataFrame) -> Bools:
    rankings, labels = model.rank_table(table), Queries.of(table).labels
    return np.array([r.order[0] == label for r, label in zip(rankings, labels, strict=True)])


def test_the_fit_recovers_the_weights_that_choices_were_drawn_from(fitted: MappingPredictor) -> None:
    for name, true in TRUE.items():
        assert fitted.weights[COLUMN[name]] == pytest.approx(true, rel=0.12), name
    nothing = [COLUMN[name] for name in FEATURES if name not in TRUE]
    assert np.abs(fitted.weights[nothing]).max() < 0.15


def test_a_table_made_before_a_feature_was_is_refused_by_name(table: pd.DataFrame, fitted: MappingPredictor) -> None:
    old = table.drop(columns=["share_stem"])
    for use in (lambda: fit(old, seed=1), lambda: fitted.rank_table(old)):
        with pytest.raises(ValueError, match="no column share_stem; make it anew"):
            use()


def test_only_the_features_that_are_asked_for_have_weight(table: pd.DataFrame) -> None:
    found = fit(table, seed=1, using=("name_similarity", "nearest"))
    used = [COLUMN["name_similarity"], COLUMN["nearest"]]
    assert (found.weights[used] > 0.5).all()
    assert (np.delete(found.weights, used) == 0).all()
    assert len(found.learned.pool) == 0
    embeddings = encoder().encode(["name 1"])
    np.testing.assert_allclose(found.learned.adaptation.sources(embeddings), embeddings, atol=1e-6)


def test_the_confidence_of_unseen_companies_means_what_it_says(table: pd.DataFrame, fitted: MappingPredictor) -> None:
    test = table[table["fold"] == "test"]
    confidence = np.array([ranking.confidence for ranking in fitted.rank_table(test)])
    first_right = right(fitted, test)
    for low, high in ((0.0, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.0)):
        inside = (confidence >= low) & (confidence < high)
        error = 3.5 * np.sqrt(0.25 / inside.sum())
        assert first_right[inside].mean() == pytest.approx(confidence[inside].mean(), abs=error), (low, high)


def test_the_model_ranks_nearly_as_well_as_the_truth_could(table: pd.DataFrame, fitted: MappingPredictor) -> None:
    test = table[table["fold"] == "test"]
    ours, best = (right(model, test).mean() for model in (fitted, predictor(**TRUE)))
    assert best > 0.6
    assert ours > best - 0.02


def test_the_share_that_stood_is_measured_on_the_training_queries(
    table: pd.DataFrame, fitted: MappingPredictor
) -> None:
    chosen = table[(table["fold"] == "train") & (table["label"] == 1)]
    assert fitted.person_stands == pytest.approx(chosen["stood"].mean())


@pytest.mark.parametrize(("says", "low", "high"), [(1.0, 0.98, 1.0), (0.0, 0.0, 0.02)])
def test_a_ranker_that_is_always_right_or_wrong_never_claims_certainty(says: float, low: float, high: float) -> None:
    data = simulated(200, seed=7)
    if says:
        data["name_similarity"] = data["label"] * 10.0
    else:  # memory comes before the model, and is wrong each time
        wrong = data[data["label"] == 0].drop_duplicates("query").index
        data.loc[wrong, "memory"] = 1.0
    found = fit(data, seed=1, using=("name_similarity",))
    confidences = {ranking.confidence for ranking in found.rank_table(data)}
    assert all(low < confidence < high for confidence in confidences)
    assert (found.threshold is None) is (says == 0)


def test_the_shortest_chart_that_the_confidence_stands_on_is_that_of_thirty_queries_at_least() -> None:
    data = simulated(400, seed=7)
    lengths = np.sort(data.groupby("query").size().to_numpy())
    assert fit(data, seed=1, using=("name_similarity",)).fewest_candidates == lengths[29] == 3
    few = data[(data.groupby("query")["label"].transform("size") > 5) | data["query"].isin(["train/0", "train/1"])]
    few = few[~few["query"].isin(["train/0", "train/1"]) | (few["label"] == 1)]  # two queries of one candidate
    assert few.groupby("query").size().min() == 1
    assert fit(few, seed=1, using=("name_similarity",)).fewest_candidates == 6


def test_a_version_of_before_the_shortest_chart_was_recorded_is_asked_as_before(tmp_path: Path) -> None:
    replace(predictor(nearest=1.0), fewest_candidates=9).save(tmp_path)
    assert MappingPredictor.load(tmp_path).fewest_candidates == 9
    content = json.loads((tmp_path / FILE).read_text())
    del content["fewest_candidates"]
    (tmp_path / FILE).write_text(json.dumps(content))
    assert MappingPredictor.load(tmp_path).fewest_candidates == 2


def test_without_training_companies_there_is_nothing_to_fit(table: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="no rows of the fold 'train'; import more companies"):
        fit(table[table["fold"] != "train"], seed=1)


def same(one: MappingPredictor, other: MappingPredictor) -> None:
    np.testing.assert_array_equal(one.weights, other.weights)
    np.testing.assert_array_equal(one.confidence_weights, other.confidence_weights)
    assert (one.threshold, one.person_stands) == (other.threshold, other.person_stands)
    embeddings = encoder().encode(["name 1", "account 2"])
    for adapted in ("sources", "targets"):
        np.testing.assert_array_equal(
            getattr(one.learned.adaptation, adapted)(embeddings),
            getattr(other.learned.adaptation, adapted)(embeddings),
        )
    assert one.learned.adaptation.scale == other.learned.adaptation.scale
    assert one.learned.pool.targets == other.learned.pool.targets
    np.testing.assert_array_equal(one.learned.pool.votes(embeddings), other.learned.pool.votes(embeddings))


def test_the_test_companies_have_no_part_in_the_fit_and_the_seed_alone_decides() -> None:
    train, test = simulated(100, seed=1, companies=8), simulated(100, seed=3, companies=8, fold="test")
    one, other = fit(train, seed=1), fit(train, seed=2)
    same(fit(pd.concat([train, test], ignore_index=True), seed=1), one)
    assert not np.array_equal(one.learned.adaptation.source_down, other.learned.adaptation.source_down)


def test_saving_and_loading_gives_exactly_the_same_answers(
    tmp_path: Path, table: pd.DataFrame, fitted: MappingPredictor
) -> None:
    fitted.save(tmp_path)
    loaded = MappingPredictor.load(tmp_path)
    same(loaded, fitted)
    test = table[table["fold"] == "test"]
    for one, other in zip(*(model.rank_table(test) for model in (fitted, loaded)), strict=True):
        np.testing.assert_array_equal(one.order, other.order)
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        assert one.confidence == other.confidence


def test_a_saved_model_is_json_that_names_its_features_and_safetensors(tmp_path: Path) -> None:
    predictor(threshold=None, nearest=2.0, adapted=0.5).save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "adaptation.safetensors",
        "mapping.json",
        "pool.safetensors",
    ]
    for file in tmp_path.iterdir():
        assert not file.read_bytes().startswith(b"\x80"), "a pickle"
    content = json.loads((tmp_path / "mapping.json").read_text())
    assert (content["weights"]["nearest"], content["weights"]["adapted"]) == (2.0, 0.5)
    assert list(content["weights"]) == list(ALL_FEATURES)
    assert list(content["confidence"]) == ["bias", *CONFIDENCE_INPUTS]
    assert content["threshold"] is None


def test_a_feature_added_since_has_no_weight_in_an_older_model(tmp_path: Path) -> None:
    predictor(nearest=2.0, memory=3.0, certainty=1.5).save(tmp_path)
    file = tmp_path / "mapping.json"
    content = json.loads(file.read_text())
    del content["weights"]["memory"]
    del content["confidence"]["entropy"]
    file.write_text(json.dumps(content))
    loaded = MappingPredictor.load(tmp_path)
    assert loaded.weights[COLUMN["memory"]] == 0
    assert loaded.weights[COLUMN["nearest"]] == 2
    assert loaded.confidence_weights[:2].tolist() == [1.5, 0]


def rows(size: int, **columns: list[float]) -> Floats:
    found = np.zeros((size, len(ALL_FEATURES)))
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
    last_place = rows(3, name_similarity=[0.5, 0.5 + 2e-7, 0.9])  # by how much company in a batch moves a number
    assert predictor(name_similarity=10.0).rank(last_place, 0).order.tolist() == [2, 0, 1]


def test_one_candidate_is_ranked_too() -> None:
    ranking = predictor(nearest=1.0).rank(rows(1), 0)
    assert ranking.probabilities.tolist() == [1.0]
    assert 0 < ranking.confidence < 1


@given(
    st.lists(st.lists(st.floats(-1e3, 1e3), min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=5),
    st.lists(st.floats(-50, 50), min_size=WIDTH, max_size=WIDTH),
    st.lists(st.floats(-3, 3), min_size=1 + len(CONFIDENCE_INPUTS), max_size=1 + len(CONFIDENCE_INPUTS)),
)
def test_probabilities_and_confidence_stay_probabilities_whatever_the_numbers(
    features: list[list[float]], weights: list[float], confidence: list[float]
) -> None:
    model = MappingPredictor(np.array(weights), np.array(confidence), None, 1.0, nothing_learned())
    ranking = model.rank(np.array(features), 3)
    assert ranking.probabilities.sum() == pytest.approx(1)
    assert sorted(ranking.order.tolist()) == list(range(len(features)))
    assert 0 <= ranking.confidence <= 1


def test_a_model_is_not_loaded_onto_another_encoder(tmp_path: Path) -> None:
    predictor(nearest=1.0).save(tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    assert content["encoder"] == {"id": encoder().id, "width": encoder().width, "checkpoint": Path(checkpoint()).name}
    MappingPredictor.load(tmp_path)
    content["encoder"] |= {"id": "0" * 12, "width": 768, "checkpoint": "bert-base-uncased"}
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(
        OutdatedModelError, match=r"bert-base-uncased .*768 wide.* set CREWFLOW_ENCODER .* or train"
    ) as error:
        MappingPredictor.load(tmp_path)
    assert encoder().id in str(error.value)


def test_a_model_of_the_same_checkpoint_computed_otherwise_is_only_to_be_trained_anew(tmp_path: Path) -> None:
    predictor(nearest=1.0).save(tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    content["encoder"]["id"] = "0" * 12  # as before its arithmetic changed
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(OutdatedModelError, match=r"train the model anew: run cost_code_mapping_training") as error:
        MappingPredictor.load(tmp_path)
    assert "CREWFLOW_ENCODER" not in str(error.value)


def test_a_model_of_features_that_mean_something_else_is_not_loaded(tmp_path: Path) -> None:
    predictor(nearest=1.0).save(tmp_path)
    content = json.loads((tmp_path / FILE).read_text())
    del content["features"]  # as before it was recorded
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(OutdatedModelError, match=r"revision 1 of its features.*train the model anew"):
        MappingPredictor.load(tmp_path)
