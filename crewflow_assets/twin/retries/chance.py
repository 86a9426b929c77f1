"""Numbers keyed by (seed, integration, call, second): many at once, in any order, without a generator's price."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from crewflow_assets.arrays import Floats
from crewflow_assets.twin.randomness import Randomness

Keys = npt.NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = (np.uint64(bits) for bits in (30, 27, 31, 11))


def keys_of(randomness: Sequence[Randomness], entities: Sequence[str], event: str) -> Keys:
    """Return a key for each entity of its own world's randomness, shape (entities,)."""
    drawn = [random.uniform(entity, event) for random, entity in zip(randomness, entities, strict=True)]
    return (np.array(drawn) * 2.0**53).astype(np.uint64)


def mixed(keys: Keys, event: npt.NDArray[np.integer] | int) -> Keys:
    """Return the keys of an event of each entity: SplitMix64 (Steele, Lea and Flood 2014) of both."""
    number = np.asarray(event).astype(np.uint64)
    with np.errstate(over="ignore"):
        z = (keys ^ (number * _STEP)) + _STEP
        z = (z ^ (z >> _30)) * _FIRST
        z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


def uniform(keys: Keys, salt: int) -> Floats:
    """Return a number in [0, 1) for each key; numbers of different salts are independent."""
    return (mixed(keys, salt) >> _11).astype(np.float64) * 2.0**-53


def normal(keys: Keys, salt: int) -> Floats:
    """Return a standard normal number for each key."""
    from scipy.special import ndtri

    drawn: Floats = ndtri(np.clip(uniform(keys, salt), 1e-12, 1 - 1e-12))
    return drawn
