"""What is pooled: only what enough companies did alike, found again by names that are alike."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.arrays import Singles
from crewflow_assets.cost_code_mapping.chart import Source, prepare
from crewflow_assets.cost_code_mapping.pool import FEWEST_COMPANIES, Pool, pool_features
from crewflow_assets.cost_code_mapping.text import normalised

Decision = tuple[str, str, str]


def encoded(names: list[str]) -> Singles:
    """Return the embeddings with which a pool is asked."""
    return np.stack([q.embedding for q in prepare([Source("cost_code", "", n, None, None, None, "") for n in names])])


def alike(number: int, source: str, target: str, *, start: int = 0) -> list[Decision]:
    """Let a number of companies decide alike."""
    return [(f"c-{start + i}", source, target) for i in range(number)]


def test_a_pair_of_four_companies_is_forgotten_and_one_of_five_is_kept() -> None:
    assert FEWEST_COMPANIES == 5
    pool = Pool.of([*alike(4, "Crane rental", "Equipment"), *alike(5, "Drywall labor", "Labor")])
    assert len(pool) == 1
    assert pool.targets == {"labor": 0}


def test_one_company_that_says_it_often_is_one_company() -> None:
    assert len(Pool.of([("c-1", "Crane rental", "Equipment")] * 50)) == 0
    assert len(Pool.of([*alike(4, "Crane rental", "Equipment"), *alike(4, "Crane rental", "Equipment")])) == 0


def test_companies_count_for_a_pair_however_they_spell_it() -> None:
    spellings = ("Drywall labor", "DRYWALL LBR", "Labour - drywall", "drywall labor.", "Lab Drywall")
    accounts = ("Labor", "LABOR", "Labour", "Lbr", "labor")
    pool = Pool.of((f"c-{i}", s, t) for i, (s, t) in enumerate(zip(spellings, accounts, strict=True)))
    assert len(pool) == 1
    assert list(pool.targets) == ["labor"]


def test_what_companies_disagree_on_is_kept_for_each_account_that_enough_chose() -> None:
    pool = Pool.of(
        [
            *alike(6, "Dump fees", "Disposal"),
            *alike(5, "Dump fees", "Permits", start=6),
            *alike(4, "Dump fees", "Other", start=11),
        ]
    )
    assert list(pool.targets) == ["disposal", "permit"]
    votes = pool.votes(encoded(["Dump fees"]))[0]
    assert votes == pytest.approx([1, 1], abs=1e-4)


def test_the_order_of_the_decisions_does_not_matter_but_for_the_spelling() -> None:
    decisions = [*alike(5, "Dump fees", "Disposal"), *alike(5, "Paint", "Finishes"), *alike(5, "Stain", "Finishes")]
    one, other = Pool.of(decisions), Pool.of(decisions[::-1])
    assert one.targets == other.targets
    np.testing.assert_array_equal(one.places, other.places)
    np.testing.assert_allclose(one.embeddings, other.embeddings, atol=1e-6)


def test_names_that_are_alike_vote_by_how_alike_they_are() -> None:
    pool = Pool.of([*alike(5, "Interior painting", "Finishes"), *alike(5, "Crane rental", "Equipment")])
    equipment, finishes = (pool.targets[normalised(name)] for name in ("Equipment", "Finishes"))
    same, near, far = pool.votes(encoded(["Interior painting", "Exterior painting", "Payroll taxes"]))
    assert same[finishes] == pytest.approx(1, abs=1e-4)
    assert same[finishes] > near[finishes] > far[finishes]
    assert near[finishes] > 20 * near[equipment]


def test_two_names_that_went_to_one_account_vote_together() -> None:
    pool = Pool.of([*alike(5, "Paint", "Finishes"), *alike(5, "Stain", "Finishes")])
    alone = Pool.of(alike(5, "Paint", "Finishes"))
    asked = encoded(["Varnish"])
    assert pool.votes(asked)[0, 0] > alone.votes(asked)[0, 0]


def test_an_empty_pool_has_no_votes(tmp_path: Path) -> None:
    pool = Pool.of([])
    pool.save(tmp_path)
    for empty in (pool, Pool.load(tmp_path)):
        assert len(empty) == 0
        assert empty.targets == {}
        assert (empty.votes(encoded(["Paint", "Roof"])) == 0).all()


def test_saving_and_loading_gives_exactly_the_same_votes(tmp_path: Path) -> None:
    pool = Pool.of([*alike(5, "Béton armé", "Matériaux “béton”"), *alike(5, "Crane rental", "Equipment")])
    pool.save(tmp_path)
    [file] = tmp_path.iterdir()
    assert file.suffix == ".safetensors"
    loaded = Pool.load(tmp_path)
    assert loaded.targets == pool.targets
    asked = encoded(["Concrete", "Crane", "Paint"])
    np.testing.assert_array_equal(loaded.votes(asked), pool.votes(asked))


def test_what_is_saved_names_no_company_and_no_forgotten_pair(tmp_path: Path) -> None:
    Pool.of([*alike(4, "Secret project", "Hidden"), *alike(5, "Crane rental", "Equipment")]).save(tmp_path)
    content = next(tmp_path.iterdir()).read_bytes().lower()
    assert b"equipment" in content
    for kept_back in (b"c-1", b"secret", b"hidden", b"crane"):
        assert kept_back not in content


@pytest.mark.parametrize("candidates", [1, 2, 40])
def test_without_votes_the_features_are_zero(candidates: int) -> None:
    found = pool_features(np.zeros(candidates, np.float32))
    assert found.shape == (candidates, 2)
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_the_features_are_the_share_of_the_votes_and_its_lift_over_an_equal_share() -> None:
    share, lift = pool_features(np.array([3, 1, 0, 0], np.float32)).T
    assert share == pytest.approx([0.75, 0.25, 0, 0])
    assert lift[:2] == pytest.approx(np.log([3, 1]), abs=0.01)
    assert lift[2] == lift[3] < -5


@given(st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=30))
def test_whatever_the_votes_features_are_finite_and_shares_add_up_to_one_at_most(votes: list[float]) -> None:
    found = pool_features(np.array(votes, np.float32))
    assert np.isfinite(found).all()
    assert found[:, 0].min() >= 0
    assert found[:, 0].sum() <= 1.001
