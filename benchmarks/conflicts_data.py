"""Conflicts with people's decisions from a file, as the product's cases.

The home system stands for CrewFlow, the other one for the accounting system, and the home system's own past for the
company's: its choices are counted by attribute and other system, by attribute, and in all.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Ints, Objects, Singles
from crewflow_assets.conflict_resolution.case import LEVELS, Batch, Case, Third, Value
from crewflow_assets.conflict_resolution.features import CASE_FEATURES, FEATURES, case_features, choice_features

LABELS = {"use_A": 0, "use_B": 1, "manual": 2}
TEXTS = ("dataset", "record_id", "group_id", "conflict_type", "attribute", "home", "source_b", "label")
NUMBERS = ("diff", "hours_since_sync", "age_gap_hours", "rel_a", "rel_b", "n_other_agree_a", "n_other_agree_b")
CATEGORIES = ("conflict_type", "attribute", "home", "source_b")
LIKE = (("home", "attribute", "source_b"), ("home", "attribute"), ("home",))
"""What past choices are counted by, a level each."""
FEWEST_GROUPS = 10
DAY = r"^(\d{4}-\d{2}-\d{2})\b"
CLOCK = re.compile(r"^([01]?\d|2[0-3]):([0-5]\d)$")


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One data set: a row a conflict, in the file's order."""

    name: str
    frame: pd.DataFrame
    labels: Ints
    """0 home, 1 other, 2 neither (manual)."""
    clusters: Objects
    """What is never split: groups, or records where there are but few groups."""
    types: Objects
    evidence: Singles
    """What does not depend on past choices, shape (n, len(CASE_FEATURES))."""
    like: tuple[Ints, ...]
    """Which cell of each level a conflict's past choices are counted in."""

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, asked: Ints, known: Ints) -> Singles:
        """Return the product's feature rows of some conflicts, knowing the choices made in others.

        Args:
            asked: Places of the conflicts.
            known: Places of those whose labels count as the past; none may share a cluster with ``asked``.

        Returns:
            Shape (len(asked), len(FEATURES)).
        """
        counts = np.zeros((len(asked), len(LEVELS), 3))
        for level, cell in enumerate(self.like):
            table = np.zeros((cell.max() + 1, 3))
            np.add.at(table, (cell[known], self.labels[known]), 1)
            counts[:, level] = table[cell[asked]]
        rows = np.empty((len(asked), len(FEATURES)), np.float32)
        rows[:, : len(CASE_FEATURES)] = self.evidence[asked]
        rows[:, len(CASE_FEATURES) :] = choice_features(counts)
        return rows


def read_datasets(folder: Path, *, only: str | None = None, groups: int | None = None) -> Iterator[Dataset]:
    """Read every data set of ``conflicts.parquet``, or of all Parquet files where there is none of that name.

    Args:
        folder: Where the file lies.
        only: The one data set to read.
        groups: At most so many groups of each, drawn with one seed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a label unknown, or ``only`` names no data set.
    """
    files = (
        [folder / "conflicts.parquet"]
        if (folder / "conflicts.parquet").exists()
        else sorted(folder.glob("*.parquet"))
    )
    if not files:
        raise FileNotFoundError(f"{folder} holds no conflicts.parquet; name the folder that does with --data")
    frame = pd.concat([_read(file) for file in files], ignore_index=True)
    names = [name for name in dict.fromkeys(frame["dataset"]) if only in (None, name)]
    if not names:
        raise ValueError(f"no data set {only!r}; there are {', '.join(dict.fromkeys(frame['dataset']))}")
    for name in names:
        part = frame[frame["dataset"] == name]
        if groups is not None:
            present = part["group_id"].unique()
            drawn = np.random.default_rng(0).permutation(len(present))[:groups]
            part = part[part["group_id"].isin(present[drawn])]
        yield dataset_of(str(name), part.reset_index(drop=True))


def _read(file: Path) -> pd.DataFrame:
    frame = pd.read_parquet(file)
    missing = [c for c in (*TEXTS, *NUMBERS, "value_a", "value_b") if c not in frame]
    if missing:
        raise ValueError(f"{file.name} lacks the column {missing[0]!r}; it needs {', '.join((*TEXTS, *NUMBERS))}")
    unknown = frame.loc[~frame["label"].isin(LABELS), "label"]
    if len(unknown):
        row, label = unknown.index[0], unknown.iloc[0]
        raise ValueError(f"{file.name} row {row}: label {label!r}; it must be one of {', '.join(LABELS)}")
    return frame.astype(dict.fromkeys(NUMBERS, float))


def dataset_of(name: str, frame: pd.DataFrame) -> Dataset:
    """Build one data set from its rows."""
    cells = [frame.groupby(list(keys), dropna=False, sort=False).ngroup() for keys in LIKE]
    evidence = [case_features(case) for case in cases(frame)]
    return Dataset(
        name=name,
        frame=frame,
        labels=np.asarray(frame["label"].map(LABELS), np.int64),
        clusters=_clusters(frame),
        types=np.asarray(frame["conflict_type"].astype(str), object),
        evidence=np.stack(evidence),
        like=tuple(np.asarray(cell, np.int64) for cell in cells),
    )


def _clusters(frame: pd.DataFrame) -> Objects:
    """Return the groups, or the records where groups are too few; a record never lies in two."""
    by = "group_id" if frame["group_id"].nunique() >= FEWEST_GROUPS else "record_id"
    first = frame.groupby("record_id", dropna=False)[by].transform("first")
    return np.asarray(first.astype(str), object)


def plain_rows(frame: pd.DataFrame) -> Singles:
    """Return the file's own columns, categories by number: what plain XGBoost is given."""
    columns = [frame[name].to_numpy(float) for name in NUMBERS] + [frame["diff"].abs().to_numpy(float)]
    columns += [pd.factorize(frame[name], sort=True)[0].astype(float) for name in CATEGORIES]
    return np.column_stack(columns).astype(np.float32)


def cases(frame: pd.DataFrame) -> Iterator[Case]:
    """Build the product's cases of one data set, in its order."""
    home, other = ([parsed(value) for value in frame[column]] for column in ("value_a", "value_b"))
    columns = {name: _optional(frame[name]) for name in NUMBERS}
    third, batches = _third(frame, home, other, columns), _batches(frame)
    for row, (ours, theirs) in enumerate(zip(home, other, strict=True)):
        of_row = {name: column[row] for name, column in columns.items()}
        yield Case(
            conflict_type=str(frame["conflict_type"].iat[row]),
            crewflow_value=ours,
            external_value=theirs,
            difference=of_row["diff"],
            hours_since_sync=of_row["hours_since_sync"],
            edit_gap_hours=of_row["age_gap_hours"],
            crewflow_reliability=of_row["rel_a"],
            external_reliability=of_row["rel_b"],
            third=third[row],
            agreeing_crewflow=of_row["n_other_agree_a"],
            agreeing_external=of_row["n_other_agree_b"],
            batch=batches[row],
        )


def parsed(value: object) -> Value | None:
    """Return a value as a number (clock times as hours) or a text; None if there is none."""
    if not isinstance(value, str):
        return None
    clock = CLOCK.match(value)
    if clock:
        return int(clock[1]) + int(clock[2]) / 60
    try:
        found = float(value)
    except ValueError:
        return value
    return found if np.isfinite(found) else value


def _optional(column: pd.Series) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in column]


def _third(
    frame: pd.DataFrame, ours: list[Value | None], theirs: list[Value | None], columns: dict[str, list[float | None]]
) -> list[tuple[Third, ...]]:
    """Return what the other systems hold of the same record, as far as its other conflicts tell."""
    homes, others = frame["home"].tolist(), frame["source_b"].tolist()
    held: dict[str, dict[tuple[str, Value], Third]] = {}
    records = frame["record_id"].astype(str).tolist()
    for row, record in enumerate(records):
        sides = ((homes[row], ours[row], columns["rel_a"]), (others[row], theirs[row], columns["rel_b"]))
        for source, value, reliability in sides:
            if value is not None:
                held.setdefault(record, {})[source, value] = Third(source, value, reliability[row])
    found = []
    for row, record in enumerate(records):
        own = ((homes[row], ours[row]), (others[row], theirs[row]))
        found.append(tuple(third for key, third in held.get(record, {}).items() if key not in own))
    return found


def _batches(frame: pd.DataFrame) -> list[Batch]:
    """Return the other conflicts of the same group and day, which come undecided as the one that is asked.

    The day is that with which a record's name begins; most have none, and their groups are of one moment.
    """
    day = frame["record_id"].astype(str).str.extract(DAY, expand=False).fillna("")
    keys = frame[["home", "source_b", "attribute", "record_id"]].assign(
        moment=frame["group_id"].astype(str) + "\0" + day
    )
    absolute = frame["diff"].abs()
    difference = absolute.fillna(0.0)
    backing = pd.Series(np.sign(frame["n_other_agree_a"].fillna(0) - frame["n_other_agree_b"].fillna(0)))

    def others(column: pd.Series, *names: str) -> list[float]:
        together = column.groupby([keys[name] for name in names], dropna=False).transform("sum")
        return [float(value) for value in together - column]

    one = pd.Series(np.ones(len(frame)))
    columns = zip(
        others(one, "moment"),
        others(one, "record_id"),
        others(one, "moment", "attribute"),
        others(one, "moment", "home", "source_b"),
        others(backing, "moment", "home", "source_b"),
        others(backing, "moment", "source_b"),
        others(difference, "moment"),
        others(absolute.notna().astype(float), "moment"),
        strict=True,
    )
    return [
        Batch(
            size=int(size),
            same_record=int(record),
            same_attribute=int(attribute),
            pair=int(pair),
            pair_backing=backed,
            external_backing=external,
            mean_difference=total / known if known else None,
        )
        for size, record, attribute, pair, backed, external, total, known in columns
    ]
