"""Which entities are trained on, calibrated on and tested on: fixed by a hash, for ever.

A company that tests one version was never trained on by another, so champion and challenger can be compared.
"""

from hashlib import blake2b
from typing import Literal

Fold = Literal["train", "calibration", "test"]

TRAIN, CALIBRATION = 0.5, 0.25


def uniform(*key: str) -> float:
    """Return a number in [0, 1) that depends on the key alone."""
    digest = blake2b("\x1f".join(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def fold_of(entity: str) -> Fold:
    """Return the fold of a company or integration: half train, a quarter calibration, a quarter test."""
    place = uniform("fold", entity)
    if place < TRAIN:
        return "train"
    return "calibration" if place < TRAIN + CALIBRATION else "test"
