"""Parameters of a simulated world, each with its range and its source: cited, or marked as an assumption."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar

import numpy as np

from crewflow_assets.twin.randomness import Randomness

P = TypeVar("P")


def assumed(default: float, low: float, high: float, why: str) -> float:
    """Return a dataclass field for a value that nobody published, with the range that is held possible."""
    return cited(default, low, high, f"assumption: {why}")


def cited(default: float, low: float, high: float, source: str) -> float:
    """Return a dataclass field for a value with a published source."""
    value: float = field(default=default, metadata={"low": low, "high": high, "source": source})
    return value


@dataclass(frozen=True, slots=True)
class ParameterNote:
    """A parameter's default, its range, and where they come from."""

    name: str
    default: float
    low: float
    high: float
    source: str


def notes_of(kind: type[Any]) -> Iterator[ParameterNote]:
    """Yield what stands behind each parameter of a set, in the order of declaration."""
    for entry in fields(kind):
        assert entry.default is not MISSING
        yield ParameterNote(
            entry.name, entry.default, entry.metadata["low"], entry.metadata["high"], entry.metadata["source"]
        )


def draw_parameters(kind: type[P], seed: int) -> P:
    """Return a set with each parameter drawn uniformly from its range, by the seed and its own name."""
    randomness = Randomness(seed)
    return kind(
        **{
            note.name: float(np.interp(randomness.uniform("parameters", note.name), (0, 1), (note.low, note.high)))
            for note in notes_of(kind)
        }
    )
