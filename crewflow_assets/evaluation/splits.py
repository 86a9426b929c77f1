"""Which entities are trained on and which are tested on: fixed by a hash, for ever.

A company that tests one version was never trained on by another, so champion and challenger can be compared.
"""

from hashlib import blake2b
from typing import Literal

Fold = Literal["train", "test"]

TRAIN = 0.75


def uniform(*key: str) -> float:
    """Return a number in [0, 1) that depends on the key alone."""
    digest = blake2b("\x1f".join(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def fold_of(entity: str) -> Fold:
    """Return the fold of a company or integration: three quarters train and calibrate, the rest test."""
    return "train" if uniform("fold", entity) < TRAIN else "test"
