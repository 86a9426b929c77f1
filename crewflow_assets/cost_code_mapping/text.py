"""How names are read: trade abbreviations spelt out, cost types recognised, texts turned into vectors.

Cost-code lists are written by hand and in a hurry ("ELEC R/I LBR"), charts less so ("Electrical Labor");
both are brought to the same words before they are compared.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self

import numpy as np
from scipy import sparse

from crewflow_assets.arrays import Ints, Singles

CostType = Literal["labor", "material", "subcontract", "equipment", "overhead"]
COST_TYPES: tuple[CostType, ...] = ("labor", "material", "subcontract", "equipment", "overhead")

DIMENSIONS = 2**14
FEWEST_LETTERS, MOST_LETTERS = 2, 5
"""Of the character n-grams by which spelling is compared, blanks around words counted."""

ABBREVIATIONS = {
    "acct": "accounting", "adj": "adjustment", "admin": "administration", "alum": "aluminum", "asph": "asphalt",
    "bldg": "building", "bsmt": "basement", "carp": "carpentry", "clg": "ceiling", "clng": "ceiling",
    "cmu": "concrete block", "cond": "conduit", "conc": "concrete", "const": "construction", "cont": "contingency",
    "ctr": "counter", "demo": "demolition", "dir": "direct", "dist": "distribution", "dwl": "drywall",
    "elec": "electrical", "elect": "electrical", "engr": "engineering", "eqp": "equipment", "eqpt": "equipment",
    "equip": "equipment", "est": "estimating", "excav": "excavation", "exp": "expense", "ext": "exterior",
    "fab": "fabrication", "fdn": "foundation", "fin": "finish", "fixt": "fixtures", "flr": "floor",
    "fndn": "foundation", "frmg": "framing", "fp": "fire protection", "ftg": "footing", "furn": "furniture",
    "gc": "general conditions", "gen": "general", "gyp": "gypsum", "gwb": "gypsum board", "gyb": "gypsum board",
    "hdwe": "hardware", "hdwr": "hardware", "htg": "heating", "hvac": "heating ventilation air conditioning",
    "ins": "insurance", "insul": "insulation", "int": "interior", "irrig": "irrigation", "lab": "labor",
    "labour": "labor", "lbr": "labor", "ldscp": "landscape", "lndscp": "landscape", "mach": "machinery",
    "maint": "maintenance", "mas": "masonry", "mat": "material", "matl": "material", "mats": "material",
    "materials": "material", "mech": "mechanical", "mgmt": "management", "mgr": "manager", "misc": "miscellaneous",
    "mob": "mobilization", "mtl": "material", "mtls": "material", "off": "office", "oh": "overhead",
    "perm": "permit", "plbg": "plumbing", "plmb": "plumbing", "plumb": "plumbing", "pm": "project manager",
    "pnl": "panel", "pnt": "paint", "prelim": "preliminary", "prof": "professional", "proj": "project",
    "ptg": "painting", "reno": "renovation", "rep": "repair", "reqs": "requirements", "rfg": "roofing",
    "ri": "rough in", "sht": "sheet", "stl": "steel", "struct": "structural", "sub": "subcontract",
    "subcontractor": "subcontract", "subcontractors": "subcontract", "subcontracts": "subcontract",
    "subs": "subcontract", "supt": "superintendent", "supv": "supervision", "svc": "service", "sys": "system",
    "tele": "telephone", "temp": "temporary", "trans": "transport", "trav": "travel", "util": "utilities",
    "veh": "vehicle", "wd": "wood", "whse": "warehouse", "wtr": "water",
}  # fmt: skip

CUES: dict[CostType, frozenset[str]] = {
    "labor": frozenset("labor wages wage payroll crew supervision superintendent foreman hours burden".split()),
    "material": frozenset("material supply supplies stock consumables purchases lumber fixtures".split()),
    "subcontract": frozenset("subcontract subbed outside vendor contracted".split()),
    "equipment": frozenset("equipment rental rentals machinery tools crane lift fuel truck vehicle".split()),
    "overhead": frozenset("overhead office administration insurance permit permits bond fees general".split()),
}
SUFFIXES: dict[str, CostType] = {
    "l": "labor", "m": "material", "s": "subcontract", "e": "equipment", "o": "overhead",
}  # fmt: skip

_WORD = re.compile(r"[^\W\d_]+|\d+")  # letters of any script, or digits
_SLASHED = re.compile(r"\b([a-z])/([a-z])\b")
_SUFFIX = re.compile(r"(?:[-. _]|(?<=[0-9]))([a-z])$")


@lru_cache(maxsize=200_000)
def spelt_out(text: str) -> tuple[str, ...]:
    """Return the words of a text, in lower case, without accents, abbreviations spelt out."""
    apart = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in apart if not unicodedata.combining(c)).casefold()
    found: list[str] = []
    for word in _WORD.findall(_SLASHED.sub(r"\1\2", plain)):
        expanded = ABBREVIATIONS.get(word) or ABBREVIATIONS.get(word.rstrip("s")) or word
        found += expanded.split()
    return tuple(found)


@lru_cache(maxsize=200_000)
def words(text: str) -> tuple[str, ...]:
    """Return the same words without their plurals: what names are compared by."""
    return tuple(_singular(word) for word in spelt_out(text))


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def spoken(text: str) -> str:
    """Return an account's name as the encoder reads it: its words in their order, or the name itself without any."""
    return " ".join(spelt_out(text)) or text


def unordered(text: str) -> str:
    """Return a source's name as the encoder reads it: its words in alphabetical order: theirs cannot matter."""
    return " ".join(sorted(spelt_out(text) or text.split()))


def normalised(text: str) -> str:
    """Return the words in alphabetical order: equal for names that differ in case, punctuation or word order."""
    return " ".join(sorted(words(text)))


@lru_cache(maxsize=1)
def _cues() -> dict[CostType, frozenset[str]]:
    """Return the cues as ``words`` reads them."""
    return {kind: frozenset(word for cue in cues for word in words(cue)) for kind, cues in CUES.items()}


@lru_cache(maxsize=200_000)
def cost_type(name: str, code: str = "") -> CostType | None:
    """Return the cost type that a name, or else the code's suffix letter ("16-100.L"), speaks of; None if unclear."""
    present = set(words(name))
    found = [kind for kind in COST_TYPES if present & _cues()[kind]]
    if found:
        return found[0]
    suffix = _SUFFIX.search(code.lower())
    return SUFFIXES.get(suffix.group(1)) if suffix else None


@dataclass(frozen=True, slots=True)
class Grams:
    """A text's character n-grams as a vector of unit length: places among DIMENSIONS, each once, and weights."""

    places: Ints
    weights: Singles


@lru_cache(maxsize=200_000)
def _grams_of_word(word: str) -> dict[int, int]:
    """Return the hashed 2- to 5-grams of a word between blanks, and how often each occurs."""
    from sklearn.utils import murmurhash3_32  # seconds to import; only where texts are compared

    blanked = f" {word.lower()} "  # folding case makes capitals of Cherokee letters
    counts: dict[int, int] = {}
    for length in range(FEWEST_LETTERS, min(MOST_LETTERS, len(blanked)) + 1):
        for start in range(len(blanked) - length + 1):
            place = abs(murmurhash3_32(blanked[start : start + length].encode(), seed=0)) % DIMENSIONS
            counts[place] = counts.get(place, 0) + 1
    return counts


def grams(text: str) -> Grams:
    """Return the character n-grams within a text's words; those of scikit-learn's ``HashingVectorizer``.

    Its analyser is ``char_wb``, so a text's counts are the sum of its words', which are kept.
    """
    total: dict[int, int] = {}
    for word in sorted(words(text)):
        for place, count in _grams_of_word(word).items():
            total[place] = total.get(place, 0) + count
    counts = np.fromiter(total.values(), np.float64, len(total))
    length = math.sqrt(counts @ counts) or 1.0
    return Grams(np.fromiter(total, np.int64, len(total)), (counts / length).astype(np.float32))


def stacked(rows: Sequence[Grams]) -> sparse.csr_matrix:
    """Return the vectors as the rows of a sparse matrix, shape (rows, DIMENSIONS)."""
    if not rows:
        return sparse.csr_matrix((0, DIMENSIONS), dtype=np.float32)
    ends = np.cumsum([0, *(len(row.places) for row in rows)])
    weights, places = (np.concatenate(parts) for parts in zip(*((r.weights, r.places) for r in rows), strict=True))
    return sparse.csr_matrix((weights, places, ends), shape=(len(rows), DIMENSIONS))


def dense(rows: Sequence[Grams]) -> Singles:
    """Return the vectors as columns, shape (DIMENSIONS, len(rows)): so a sparse matrix is multiplied soonest."""
    found = np.zeros((DIMENSIONS, len(rows)), np.float32)
    for column, row in enumerate(rows):
        found[row.places, column] = row.weights
    return found


def vectors(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return one unit-length row of character 2- to 5-gram counts for each text, shape (texts, DIMENSIONS)."""
    return stacked([grams(text) for text in texts])


@dataclass(frozen=True, slots=True)
class Weighted:
    """Texts whose n-grams count by how rare they are among these texts (TF-IDF): smoothed log, unit length."""

    rarity: Singles
    rows: sparse.csr_matrix

    @classmethod
    def of(cls, counts: sparse.csr_matrix) -> Self:
        """Weight the rows of ``vectors``."""
        having = np.bincount(counts.indices, minlength=DIMENSIONS)
        rarity = (np.log((1 + counts.shape[0]) / (1 + having)) + 1).astype(np.float32)
        rows = counts.multiply(rarity).tocsr()
        lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        return cls(rarity, sparse.diags(1 / np.maximum(lengths, 1e-9)).dot(rows).astype(np.float32))

    def like(self, asked: Sequence[Grams]) -> Singles:
        """Return the cosines of other texts with these, shape (asked, texts)."""
        weighted = []
        for text in asked:
            weights = text.weights * self.rarity[text.places]
            weighted.append(Grams(text.places, weights / (math.sqrt(weights @ weights) or 1.0)))
        cosines: Singles = (self.rows @ dense(weighted)).T
        return cosines


def code_prefix(code: str) -> str:
    """Return what a code has in common with its neighbours: its letters, or its leading digits."""
    letters = re.match(r"[A-Za-z]{2,}", code)
    if letters:
        return letters.group(0).lower()
    parts = re.split(r"[-. _/]", code.strip())
    if len(parts) > 1:
        return parts[0].lower()
    digits = re.match(r"[0-9]+", code)
    return digits.group(0)[: max(1, len(digits.group(0)) - 2)] if digits else code[:2].lower()


def code_stem(code: str) -> str:
    """Return what a code has in common with its nearest neighbours: all before its last part, or last character.

    The last part is cut off where there are three or more ("16-100.L", "03 30 00"), else the last character.
    """
    plain = code.strip().lower()
    cuts = [cut.start() for cut in re.finditer(r"[-. _/]+", plain)]
    return plain[: cuts[-1]] if len(cuts) > 1 else plain[:-1]
