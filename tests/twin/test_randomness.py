import numpy as np
import pytest

from crewflow_assets.twin.randomness import Randomness, chance, pick_weighted, some


def test_a_generator_depends_on_all_of_its_key_and_on_nothing_else() -> None:
    drawn = Randomness(7).generator("c-1", "chart").random(4).tolist()
    assert Randomness(7).generator("c-1", "chart").random(4).tolist() == drawn
    for other in (
        Randomness(8).generator("c-1", "chart"),
        Randomness(7).generator("c-2", "chart"),
        Randomness(7).generator("c-1", "codes"),
    ):
        assert other.random(4).tolist() != drawn


@pytest.mark.parametrize(("one", "two"), [(("ab", "c"), ("a", "bc")), (("a\x1fb", "c"), ("a", "b\x1fc"))])
def test_keys_that_read_alike_when_joined_are_told_apart(one: tuple[str, str], two: tuple[str, str]) -> None:
    assert Randomness(1).uniform(*one) != Randomness(1).uniform(*two)


def test_numbers_by_key_are_uniform() -> None:
    numbers = np.array([Randomness(3).uniform("entity", str(i)) for i in range(4000)])
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    chi_squared = float(((counts - 400) ** 2 / 400).sum())
    assert chi_squared < 27.9  # 99.9 % of chi-squared with 9 degrees of freedom


def test_weights_are_kept_to() -> None:
    rng = np.random.default_rng(1)
    drawn = [pick_weighted(rng, {"a": 1.0, "b": 3.0, "c": 0.0}) for _ in range(4000)]
    assert drawn.count("c") == 0
    assert drawn.count("b") / len(drawn) == pytest.approx(0.75, abs=0.03)


def test_some_returns_different_options_and_no_more_than_there_are() -> None:
    rng = np.random.default_rng(1)
    assert sorted(some(rng, ["x", "y", "z"], 9)) == ["x", "y", "z"]
    assert not chance(rng, 0.0)
    assert chance(rng, 1.0)
