"""Randomness keyed by (seed, entity, event).

Every draw belongs to something that happens to someone. Because its generator depends on nothing else, a world
repeats by its seed, an entity is the same however many others there are, and a world stepped with a policy and
without one meets the same luck, so that differences between the two are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Randomness:
    """The randomness of one world."""

    seed: int

    def generator(self, entity: str, event: str) -> np.random.Generator:
        """Return the generator of an event of an entity, always from its beginning."""
        return np.random.Generator(np.random.Philox(key=int.from_bytes(self._digest(entity, event), "little")))

    def uniform(self, entity: str, event: str) -> float:
        """Return one number in [0, 1), without the price of a generator."""
        return (int.from_bytes(self._digest(entity, event)[:8], "little") >> 11) * 2.0**-53

    def _digest(self, entity: str, event: str) -> bytes:
        key = "\x1f".join(f"{len(part)}:{part}" for part in (str(self.seed), entity, event))
        return blake2b(key.encode(), digest_size=16).digest()


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Return True with the probability given."""
    return rng.random() < probability


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """Return one of the options, each as likely."""
    return options[int(rng.random() * len(options))]


def pick_weighted(rng: np.random.Generator, weights: Mapping[T, float]) -> T:
    """Return one of the keys, as likely as its share of the weights; the weights need not sum to 1."""
    mark = rng.random() * sum(weights.values())
    for option, weight in weights.items():
        mark -= weight
        if mark < 0:
            return option
    return next(reversed(list(weights)))


def some(rng: np.random.Generator, options: Sequence[T], number: int) -> list[T]:
    """Return up to ``number`` different options, in the order of the draw."""
    return [options[i] for i in rng.permutation(len(options))[:number]]


def lognormal(rng: np.random.Generator, median: float, sigma: float) -> float:
    """Return a log-normal number with the median given; ``sigma`` is the deviation of its logarithm."""
    return median * float(np.exp(sigma * rng.standard_normal()))
