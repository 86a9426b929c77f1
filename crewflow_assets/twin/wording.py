"""How a company writes: what it shortens, which words it prefers, upper or lower case, and slips of the keys."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from crewflow_assets.twin.randomness import chance, pick, pick_weighted
from crewflow_assets.twin.vocabulary import COST_TYPES, CostType, word_list

Casing = Literal["written", "upper", "lower", "sentence"]
Tag = Literal["dash", "prefix", "paren", "after", "before"]

FAITHFUL = 0.88
"""Share of the places in which a company follows its own habit: an assumption."""

_PARTS = re.compile(r"[A-Za-z'-]+|[^A-Za-z'-]+")


@dataclass(frozen=True, slots=True)
class Habits:
    """One company's hand. Keys of ``short`` and ``instead`` are lower-case words."""

    casing: Casing
    short: Mapping[str, str]
    instead: Mapping[str, str]
    tag: Tag
    tag_words: Mapping[CostType, str]
    typo_rate: float

    def write(self, rng: np.random.Generator, phrase: str) -> str:
        """Return the phrase as this company would put it into a list."""
        parts = [self._word(rng, part) for part in _PARTS.findall(phrase)]
        text = self._cased(" ".join("".join(parts).split()))
        return _mistype(rng, text) if chance(rng, self.typo_rate) else text

    def tagged(self, phrase: str, cost_type: CostType) -> str:
        """Return the phrase with the company's word for the cost type."""
        word = self.tag_words[cost_type]
        return {
            "dash": f"{phrase} - {word}",
            "prefix": f"{word} - {phrase}",
            "paren": f"{phrase} ({word})",
            "after": f"{phrase} {word}",
            "before": f"{word} {phrase}",
        }[self.tag]

    def _word(self, rng: np.random.Generator, word: str) -> str:
        plain = word.lower()
        other = self.instead.get(plain) or self.short.get(plain)
        if other is None or not chance(rng, FAITHFUL):
            return word
        return other[0].upper() + other[1:] if word[0].isupper() else other

    def _cased(self, text: str) -> str:
        match self.casing:
            case "upper":
                return text.upper()
            case "lower":
                return text.lower()
            case "sentence":
                first, *rest = text.split(" ")
                return " ".join([first, *(word if word.isupper() else word.lower() for word in rest)])
            case "written":
                return text


def draw_habits(rng: np.random.Generator, typo_rate: float) -> Habits:
    """Return a company's habits: about a third shortens hardly a word, a third some, a third most."""
    words = word_list("wording")
    level = pick_weighted(rng, {0.04: 0.35, 0.35: 0.35, 0.8: 0.3})
    casings: dict[Casing, float] = {"written": 0.62, "upper": 0.2, "sentence": 0.1, "lower": 0.08}
    tags: dict[Tag, float] = {"dash": 0.4, "after": 0.3, "before": 0.1, "prefix": 0.1, "paren": 0.1}
    return Habits(
        casing=pick_weighted(rng, casings),
        short={word: pick(rng, forms) for word, forms in words["abbreviations"].items() if chance(rng, level)},
        instead={word: pick(rng, forms) for word, forms in words["synonyms"].items() if chance(rng, 0.12)},
        tag=pick_weighted(rng, tags),
        tag_words={kind: pick(rng, words["cost_types"][kind]["words"]) for kind in COST_TYPES},
        typo_rate=typo_rate,
    )


def _mistype(rng: np.random.Generator, text: str) -> str:
    """Return the text with one slip of the keys: about 80 % of misspellings are of one letter (Damerau 1964)."""
    places = [match.span() for match in re.finditer(r"[A-Za-z]{5,}", text)]
    if not places:
        return text
    start, end = pick(rng, places)
    at = start + 1 + int(rng.random() * (end - start - 2))
    match int(rng.random() * 3):
        case 0:
            return text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        case 1:
            return text[:at] + text[at + 1 :]
        case _:
            return text[:at] + text[at] + text[at:]
