"""What other companies did with like names, by the account's name: aggregates, never one company's choice.

A pair (a source's name, an account's name) enters only if at least ``least`` companies decided so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from scipy import sparse

from crewflow_assets.arrays import Ints, Singles
from crewflow_assets.cost_code_mapping.text import normalised, unordered
from crewflow_assets.encoder import by_number, encoder

FEWEST_COMPANIES = 5
SHARPNESS = 14.0  # weight of a like name: exp(-14 (1 - cosine)), about 1/1000 at cosine .5
FLOOR = 1e-3
FILE = "pool.safetensors"
FEATURES = ("pool_share", "pool_lift")


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The pairs: an embedding for each source name, and which of ``targets`` it went to."""

    embeddings: Singles
    places: Ints
    targets: dict[str, int]
    """Normalised account names and their places."""

    @classmethod
    def of(cls, decisions: Iterable[tuple[str, str, str]], *, least: int = FEWEST_COMPANIES) -> Self:
        """Gather (company, source name, account name); pairs of fewer companies are forgotten."""
        companies: dict[tuple[str, str], set[str]] = {}
        spelt: dict[str, str] = {}
        for company, source, target in decisions:
            key = normalised(source)
            spelt.setdefault(key, source)
            companies.setdefault((key, normalised(target)), set()).add(company)
        kept = sorted(pair for pair, members in companies.items() if len(members) >= least)
        targets = {name: place for place, name in enumerate(sorted({target for _, target in kept}))}
        return cls(
            embeddings=encoder().encode([unordered(spelt[source]) for source, _ in kept]),
            places=np.array([targets[target] for _, target in kept], np.int64),
            targets=targets,
        )

    def __len__(self) -> int:
        return len(self.places)

    def votes(self, sources: Singles) -> Singles:
        """Return the weight of like names that went to each of ``targets``, shape (sources, targets)."""
        weights = np.exp(SHARPNESS * (sources @ _by_number(self).T - 1))
        votes: Singles = (_gathering(self) @ weights.T).T
        return votes

    def save(self, folder: Path) -> None:
        """Write the pool; the names are metadata of the file."""
        import json

        from safetensors.numpy import save_file

        names = json.dumps(list(self.targets))
        save_file({"embeddings": self.embeddings, "places": self.places}, folder / FILE, metadata={"targets": names})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        import json

        from safetensors import safe_open

        with safe_open(folder / FILE, framework="numpy") as file:
            names = json.loads(file.metadata()["targets"])
            return cls(
                file.get_tensor("embeddings"), file.get_tensor("places"), {name: i for i, name in enumerate(names)}
            )


@lru_cache(maxsize=16)
def _by_number(pool: Pool) -> Singles:
    return by_number(pool.embeddings)


@lru_cache(maxsize=16)
def _gathering(pool: Pool) -> sparse.csr_matrix:
    """Return the matrix that adds up a pool's weights by target, shape (targets, pairs)."""
    shape = (max(1, len(pool.targets)), len(pool))
    return sparse.csr_matrix((np.ones(len(pool), np.float32), (pool.places, np.arange(len(pool)))), shape=shape)


def pool_features(votes: Singles) -> Singles:
    """Return share and log lift of the votes of a query's candidates, shape (..., candidates, 2); 0 without votes.

    The candidates are the last axis of ``votes``.
    """
    total = votes.sum(axis=-1, keepdims=True)
    lift = np.log((votes + FLOOR) / (total + FLOOR * votes.shape[-1]) * votes.shape[-1])
    return np.stack([votes / np.maximum(total, 1e-9), lift], axis=-1).astype(np.float32)
