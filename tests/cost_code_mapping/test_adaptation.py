"""What is learned from other companies' pairs: learned, carried over, and kept exactly."""

import random
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from crewflow_assets.arrays import Singles
from crewflow_assets.cost_code_mapping.adaptation import Adaptation, Pairs, fit_adaptation
from crewflow_assets.cost_code_mapping.text import spoken, unordered
from crewflow_assets.encoder import encoder

TRADES = ("Electrical", "Plumbing", "Framing", "Roofing", "Concrete", "Drywall", "Painting", "Flooring")
TASKS = ("rough", "finish", "repair", "cleanup", "layout", "inspection")
ANIMALS = ("Lion account", "Otter account", "Eagle account", "Salmon account")
"""Where the trades go, two to each: nothing in the words says so."""


def company(number: int, *, codes: int = 24) -> Pairs:
    """Return a company that maps as all do, its own codes to its own order of the accounts."""
    chance = random.Random(number)
    targets = chance.sample(ANIMALS, len(ANIMALS))
    chosen = chance.sample(list(product(TRADES, TASKS)), codes)
    return Pairs(
        sources=tuple(f"{trade} {task}" for trade, task in chosen),
        targets=tuple(targets),
        right=np.array([targets.index(ANIMALS[TRADES.index(trade) % 4]) for trade, _ in chosen], np.int64),
    )


COMPANIES = [company(number) for number in range(10)]
UNSEEN = company(99, codes=48)


def right_share(adaptation: Adaptation, pairs: Pairs) -> float:
    sources, targets = (
        encoder().encode([read(name) for name in names])
        for read, names in ((unordered, pairs.sources), (spoken, pairs.targets))
    )
    scores = adaptation.sources(sources) @ adaptation.targets(targets).T
    return float((scores.argmax(axis=1) == pairs.right).mean())


@pytest.fixture(scope="module")
def fitted() -> Adaptation:
    return fit_adaptation(COMPANIES, seed=3)


def test_an_association_that_no_word_tells_is_learned_and_holds_for_an_unseen_company(fitted: Adaptation) -> None:
    as_it_is = Adaptation.none(encoder().width)
    assert right_share(as_it_is, UNSEEN) < 0.5  # a quarter is chance
    assert right_share(fitted, UNSEEN) > 0.95


def test_what_is_learned_reaches_names_that_nobody_wrote_before(fitted: Adaptation) -> None:
    chosen = list(product(TRADES, ("demolition", "warranty work", "punch list")))
    new = Pairs(
        tuple(f"{task}, {trade}" for trade, task in chosen),
        ANIMALS,
        np.array([TRADES.index(trade) % 4 for trade, _ in chosen], np.int64),
    )
    assert right_share(Adaptation.none(encoder().width), new) < 0.5
    assert right_share(fitted, new) > 0.85


def test_the_loss_falls_from_epoch_to_epoch() -> None:
    told: list[tuple[int, float]] = []
    fit_adaptation(COMPANIES, seed=3, epochs=6, progress=lambda epoch, loss: told.append((epoch, loss)))
    assert [epoch for epoch, _ in told] == [1, 2, 3, 4, 5, 6]
    assert told[0][1] < np.log(4)  # what chance would lose
    assert told[-1][1] < told[0][1] / 2


ALONE = Pairs(("Roof",), ("The only account",), np.zeros(1, np.int64))
SILENT = Pairs((), ANIMALS, np.zeros(0, np.int64))


@pytest.mark.parametrize("companies", [[], [ALONE], [SILENT, ALONE]], ids=["none", "one account", "no pairs"])
def test_where_nothing_can_be_learned_the_space_stays_as_it_is(companies: list[Pairs]) -> None:
    found = fit_adaptation(companies, seed=3)
    embeddings = encoder().encode(["Rough Electrical", "Paint"])
    np.testing.assert_allclose(found.sources(embeddings), embeddings, atol=1e-6)
    np.testing.assert_allclose(found.targets(embeddings), embeddings, atol=1e-6)


def test_companies_that_teach_nothing_change_nothing(fitted: Adaptation) -> None:
    assert weights(fit_adaptation([*COMPANIES[:3], ALONE, SILENT], seed=3, epochs=2)) == weights(
        fit_adaptation(COMPANIES[:3], seed=3, epochs=2)
    )


def weights(adaptation: Adaptation) -> list[bytes | float]:
    arrays: tuple[Singles, ...] = (
        adaptation.source_down,
        adaptation.source_up,
        adaptation.target_down,
        adaptation.target_up,
    )
    return [*(array.tobytes() for array in arrays), adaptation.scale]


def test_a_seed_gives_the_same_weights_for_ever_and_another_seed_others(fitted: Adaptation) -> None:
    import torch

    torch.manual_seed(99)  # whatever was drawn before
    assert weights(fit_adaptation(COMPANIES, seed=3)) == weights(fitted)
    assert weights(fit_adaptation(COMPANIES[:3], seed=4, epochs=1)) != weights(
        fit_adaptation(COMPANIES[:3], seed=3, epochs=1)
    )


def test_embeddings_stay_of_unit_length(fitted: Adaptation) -> None:
    embeddings = encoder().encode(["Rough Electrical", "Paint", "", "材料費"])
    for found in (fitted.sources(embeddings), fitted.targets(embeddings)):
        assert found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_saving_and_loading_gives_exactly_the_same_weights(tmp_path: Path, fitted: Adaptation) -> None:
    fitted.save(tmp_path)
    [file] = tmp_path.iterdir()
    assert file.suffix == ".safetensors"
    loaded = Adaptation.load(tmp_path)
    assert weights(loaded)[:-1] == weights(fitted)[:-1]
    assert loaded.scale == fitted.scale


def test_an_untouched_space_is_saved_and_loaded_too(tmp_path: Path) -> None:
    nothing = Adaptation.none(encoder().width)
    nothing.save(tmp_path)
    loaded = Adaptation.load(tmp_path)
    embeddings = encoder().encode(["Rough Electrical"])
    np.testing.assert_array_equal(loaded.sources(embeddings), nothing.sources(embeddings))
    assert loaded.scale == pytest.approx(nothing.scale, rel=1e-6)
