import numpy as np

from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.retries.chance import keys_of, mixed, normal, uniform

KEYS = keys_of([Randomness(3)] * 2000, [f"i-{n}" for n in range(2000)], "retries")


def test_numbers_repeat_and_do_not_depend_on_who_else_is_asked() -> None:
    assert (uniform(mixed(KEYS, 7), 1) == uniform(mixed(KEYS, 7), 1)).all()
    assert (uniform(mixed(KEYS[5:6], 7), 1) == uniform(mixed(KEYS, 7), 1)[5]).all()


def test_numbers_of_other_seeds_events_and_salts_are_others() -> None:
    other = keys_of([Randomness(4)] * 2000, [f"i-{n}" for n in range(2000)], "retries")
    first = uniform(KEYS, 1)
    for another in (uniform(other, 1), uniform(mixed(KEYS, 1), 1), uniform(KEYS, 2)):
        assert abs(np.corrcoef(first, another)[0, 1]) < 0.1
        assert not (first == another).any()


def test_neighbouring_seconds_are_independent_and_evenly_spread() -> None:
    seconds = np.arange(20_000)
    drawn = uniform(mixed(np.repeat(KEYS[:1], len(seconds)), seconds), 1)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03
    assert np.abs(np.histogram(drawn, 10, (0, 1))[0] / len(drawn) - 0.1).max() < 0.01
    bell = normal(KEYS, 5)
    assert abs(bell.mean()) < 0.08
    assert abs(bell.std() - 1) < 0.06
