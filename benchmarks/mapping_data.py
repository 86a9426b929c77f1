"""Real mappings from a directory of files: what is mapped, to what, by whom; and which labels a method may see.

A task is a pair of files ``<x>_to_<y>.csv`` and ``targets_<y>.csv``. Columns are found by any of several names; what
a file lacks is left empty. Nothing here knows which schemes or firms there are.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Bools, Ints, Objects
from crewflow_assets.cost_code_mapping.chart import Chart, Query, Source, Target, prepare
from crewflow_assets.cost_code_mapping.text import normalised

SECTIONS = 8  # the shortest beginning of the codes that cuts a firm into so many sections is their section
SPELT_OUT = 0.3  # from this share of codes that begin with their target's code, the codes are the labels
WARM_SHARE = 0.25
UNKNOWN_INDUSTRY = "general contractor"

FIRM = ("company", "firm", "uniclass_group", "fold", "group_id")
GROUP = ("source_group", "group")
TARGET_CODE = ("code", "account_code", "number", "target_code")
TARGET_NAME = ("name", "account_name", "title", "target_name")
TARGET_TYPE = ("type", "account_type")
TARGET_PARENT = ("parent_path", "parent", "parent_name")


NO_TASK = "{} holds no task: it needs <x>_to_<y>.csv with source_name, target_code and company"


class UnusableError(Exception):
    """A pair of files is no task; says what is missing."""


@dataclass(frozen=True, eq=False)
class Task:
    """Sources and the chart that they are mapped to; one entry of each array for each source."""

    name: str
    chart: Chart
    queries: tuple[Query, ...]
    labels: Ints
    """The place in the chart of the first accepted target."""
    accepted: tuple[frozenset[int], ...]
    firms: Objects
    sections: Objects
    unseen: Bools
    """Names that no other firm's list holds."""
    notes: tuple[str, ...]

    @property
    def folds(self) -> list[str]:
        """The firms or groups, each held out once."""
        return sorted(set(self.firms))

    def right(self, rows: Ints, order: Ints) -> Bools:
        """Say which of the ranked targets are accepted, shape of ``order`` (rows, ranks)."""
        accepted = [[place in self.accepted[row] for place in ranks] for row, ranks in zip(rows, order, strict=True)]
        return np.array(accepted, bool).reshape(order.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Rows of a task: whose labels may be seen, and which are asked."""

    fold: str
    others: Ints
    own: Ints
    asked: Ints

    @property
    def seen(self) -> Ints:
        """All rows whose labels may be seen."""
        return np.concatenate([self.others, self.own])


def splits(task: Task, fold: str, *, among: Bools | None = None, repeats: int = 0) -> Iterator[Split]:
    """Yield how a firm is held out: once cold, or ``repeats`` times with a random quarter of its codes labelled.

    Args:
        task: The task.
        fold: The firm that is asked.
        among: The rows that exist at all, where another firm is out of sight; all by default.
        repeats: 0 for cold.
    """
    exists = np.ones(len(task.labels), bool) if among is None else among
    mine = np.flatnonzero(exists & (task.firms == fold))
    others = np.flatnonzero(exists & (task.firms != fold))
    if not repeats:
        yield Split(fold, others, mine[:0], mine)
        return
    for repeat in range(repeats):
        drawn = np.random.default_rng([repeat, len(mine)]).permutation(mine)
        labelled = round(WARM_SHARE * len(mine))
        if 0 < labelled < len(mine):
            yield Split(fold, others, np.sort(drawn[:labelled]), np.sort(drawn[labelled:]))


def discover(directory: Path, *, only: str | None = None) -> tuple[list[Task], list[str]]:
    """Read every task of a directory.

    Args:
        directory: Holds the pairs of files.
        only: Read this task alone, by name.

    Returns:
        The tasks, and what was skipped with the reason.
    """
    tasks, skipped = [], []
    for file in sorted(directory.glob("*_to_*.csv")):
        if only is not None and file.stem != only:
            continue
        try:
            tasks.append(read_task(file))
        except UnusableError as error:
            skipped.append(f"{file.name}: {error}")
    return tasks, skipped


def read_task(file: Path) -> Task:
    """Read ``<x>_to_<y>.csv`` and the ``targets_<y>.csv`` beside it.

    Raises:
        UnusableError: a file cannot be read, the targets or a needed column are missing, or no row has a known
            target.
    """
    target_file = file.with_name(f"targets_{file.stem.split('_to_', 1)[1]}.csv")
    if not target_file.exists():
        candidates = [
            c for c in file.parent.glob("targets_*.csv") if file.stem.endswith(c.stem.removeprefix("targets"))
        ]
        target_file = candidates[0] if candidates else target_file
    if not target_file.exists():
        raise UnusableError(f"there is no {target_file.name} beside it")
    targets = _targets(_read(target_file))
    rows = _read(file)
    firm = _column(rows, FIRM)
    missing = [name for name in ("source_name", "target_code") if name not in rows]
    if firm is None:
        missing.append(" or ".join(FIRM[:3]))
    if missing:
        raise UnusableError(f"there is no column {', '.join(missing)}")
    place = {_key(target.code): i for i, target in enumerate(targets)}
    first = [place.get(_key(code), -1) for code in rows["target_code"]]
    kept = [i for i, (label, name) in enumerate(zip(first, rows["source_name"], strict=True)) if label >= 0 and name]
    if not kept:
        raise UnusableError(f"no target_code stands in {target_file.name}")
    notes = [] if len(kept) == len(rows) else [f"{len(rows) - len(kept)} rows without a known target left out"]
    return _task(file.stem, rows.iloc[kept].assign(_firm=rows[firm]), targets, [first[i] for i in kept], notes)


def _task(name: str, rows: pd.DataFrame, targets: list[Target], labels: list[int], notes: list[str]) -> Task:
    codes = list(rows["source_code"]) if "source_code" in rows else [""] * len(rows)
    groups, industries = _groups_and_industries(rows)
    firms = np.array(list(rows["_firm"]), object)
    named = [targets[label].code for label in labels]
    sections = sections_of(firms, codes if any(codes) else groups)
    if _spells(codes, named):
        notes.append("codes withheld from every method: their digits are the labels")
        codes = [""] * len(rows)
    if _spells(groups, named):
        notes.append("headings withheld from every method: their digits are the labels")
        groups = [""] * len(rows)
    sources = [
        Source("cost_code", code, source, described or None, group or None, None, industry)
        for code, source, described, group, industry in zip(
            codes, rows["source_name"], _texts(rows, "source_description"), groups, industries, strict=True
        )
    ]
    every = _texts(rows, "all_targets")
    return Task(
        name=name,
        chart=Chart(targets),
        queries=tuple(prepare(sources)),
        labels=np.array(labels, np.int64),
        accepted=tuple(
            frozenset([label]) | _accepted(text, targets) for label, text in zip(labels, every, strict=True)
        ),
        firms=firms,
        sections=sections,
        unseen=held_by_one([source.name for source in sources], firms),
        notes=tuple(notes),
    )


def held_by_one(names: Sequence[str], firms: Iterable[str]) -> Bools:
    """Say which names the list of one firm alone holds, as names are compared."""
    spoken = [normalised(name) for name in names]
    held_by = Counter(name for name, _ in set(zip(spoken, firms, strict=True)))
    return np.array([held_by[name] == 1 for name in spoken], bool)


def _read(file: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except pd.errors.EmptyDataError as error:
        raise UnusableError(f"{file.name} cannot be read: it is empty") from error
    except UnicodeDecodeError as error:
        raise UnusableError(f"{file.name} cannot be read: it is not UTF-8; save it as such") from error
    except pd.errors.ParserError as error:
        raise UnusableError(f"{file.name} cannot be read: it is no CSV file ({error})") from error
    frame.columns = pd.Index([str(name).strip().lower() for name in frame.columns])
    stripped: pd.DataFrame = frame.apply(lambda column: column.str.strip())
    return stripped


def _column(frame: pd.DataFrame, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in frame), None)


def _texts(frame: pd.DataFrame, name: str) -> list[str]:
    return list(frame[name]) if name in frame else [""] * len(frame)


def _targets(frame: pd.DataFrame) -> list[Target]:
    code, name = _column(frame, TARGET_CODE), _column(frame, TARGET_NAME)
    if name is None:
        raise UnusableError(f"its targets have no column {' or '.join(TARGET_NAME)}")
    kind, parent = _column(frame, TARGET_TYPE), _column(frame, TARGET_PARENT)
    found: dict[str, Target] = {}
    for row in frame.to_dict("records"):
        key = row[code] if code is not None and row[code] else row[name]
        above = row[parent].replace(" > ", ":") if parent is not None else ""
        found.setdefault(_key(key), Target(key, row[name], row[kind] or None if kind else None, above or None))
    if len(found) < 2:
        raise UnusableError("its targets are fewer than two")
    return list(found.values())


def _key(code: str) -> str:
    return code.strip().casefold()


def _accepted(text: str, targets: list[Target]) -> frozenset[int]:
    """Read "1.1 Roofs; 1.2 Walls": each part is a code, a code and a name, or a name."""
    found = set()
    for part in (part.strip().casefold() for part in re.split(r"[;|]", text)):
        fits = [
            (len(target.code), i)
            for i, target in enumerate(targets)
            if part and (part == _key(target.code) or part.startswith(_key(target.code) + " "))
        ]
        fits = fits or [(0, i) for i, target in enumerate(targets) if part == _key(target.name)]
        if fits:
            found.add(max(fits)[1])
    return frozenset(found)


def _groups_and_industries(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return headings and industries; a context that is one for a whole firm speaks of the firm ("name | trade")."""
    group = _column(rows, GROUP)
    contexts = _texts(rows, "source_context")
    of_firm = pd.Series(contexts, rows.index).groupby(rows["_firm"]).nunique().max() <= 1
    said = _texts(rows, "company_industry")
    industries = [text.rsplit("|", 1)[-1].strip() for text in contexts] if of_firm and not any(said) else said
    headings = _texts(rows, group) if group else [""] * len(rows)
    if not any(headings) and not of_firm:
        headings = contexts
    return headings, [industry or UNKNOWN_INDUSTRY for industry in industries]


def _alphanumeric(code: str) -> str:
    return re.sub(r"[\W_]", "", code).casefold()


def _spells(codes: Sequence[str], targets: Sequence[str]) -> bool:
    """Say whether codes begin with their targets' codes, so often that the number is where the label came from."""
    pairs = [(_alphanumeric(a), _alphanumeric(b)) for a, b in zip(codes, targets, strict=True)]
    begins = [bool(a and b) and a.startswith((b, b.rstrip("0") if len(b) > 2 else b)) for a, b in pairs]
    return float(np.mean(begins)) >= SPELT_OUT


def sections_of(firms: Objects, codes: Sequence[str]) -> Objects:
    """Return the beginning of each code, as long as it takes to cut its firm into SECTIONS."""
    plain = np.array([_alphanumeric(code) for code in codes], object)
    sections = np.empty(len(plain), object)
    for firm in set(firms):
        rows = np.flatnonzero(firms == firm)
        for length in range(1, 12):
            sections[rows] = [f"{firm}/{plain[row][:length]}" for row in rows]
            if len(set(sections[rows])) >= SECTIONS:
                break
    return sections
