"""The features of a conflict: one pure function of its ``Case`` for training, serving and benchmarks.

What is not known is NaN.
"""

from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from math import isclose, isnan, nan

import numpy as np

from crewflow_assets.arrays import AnyFloats, Singles
from crewflow_assets.conflict_resolution.case import CONFLICT_TYPES, EDITORS, LEVELS, Batch, Case, Value

SHRINK = 5.0
"""Choices that a wider level counts for in a nearer one's shares."""
NEAR = 0.25
"""A third record agrees with a side from which it is less than this share of the difference away."""
SAME = 1e-6
FARTHEST = 1e6
"""Numbers nearer than ``SAME`` have no place between them, and none is farther out than ``FARTHEST``."""
QUARTER = 0.25
LUNCHES = (0.5, 1.0)
LONGEST_TEXT = 200

PRD = (*("abs_difference", "hours_since_sync", "conflict_type", "worker_reliability", "project_phase", "weekday"),)
"""The six features that the PRD names (2.3)."""
CASE_FEATURES = (
    *PRD,
    *("difference", "relative_difference", "rounding", "lunch", "doubled", "one_side_empty"),
    *("crewflow_in_quarters", "external_in_quarters"),
    *("similarity", "longer_external", "one_contains_other", "more_digits_external"),
    *("edit_gap_hours", "edit_gap_by_sync", "crewflow_edited_hours_ago", "external_edited_hours_ago"),
    *("crewflow_editor", "external_editor", "last_editor"),
    *("crewflow_reliability", "external_reliability", "reliability_gap"),
    *("agreeing_crewflow", "agreeing_external", "agreeing_balance", "agreeing_share", "agreeing_log_odds"),
    *("third_records", "third_neither", "third_weight_crewflow", "third_weight_external", "third_weight_balance"),
    *("third_best_crewflow", "third_best_external", "third_best_neither"),
    *("third_median_place", "third_nearer", "third_spread", "past_days_crewflow", "past_days_external"),
    *("batch_size", "batch_same_record", "batch_same_attribute", "batch_pair", "batch_pair_backing"),
    *("batch_pair_share", "batch_external_backing", "batch_mean_difference"),
)
CHOICE_FEATURES = tuple(
    f"{name}_{level}" for level in LEVELS for name in ("chose_crewflow", "chose_external", "chose_manual", "choices")
)
FEATURES = CASE_FEATURES + CHOICE_FEATURES
COLUMN = {name: place for place, name in enumerate(FEATURES)}


def features_of(case: Case) -> Singles:
    """Return the feature row of a conflict, shape (len(FEATURES),)."""
    return np.asarray(matrix_of([case])[0])


def matrix_of(cases: Iterable[Case]) -> Singles:
    """Return the rows of several, shape (n, len(FEATURES))."""
    cases = list(cases)
    if not cases:
        return np.empty((0, len(FEATURES)), np.float32)
    choices = choice_features(np.array([case.choices for case in cases]))
    return np.hstack([np.stack([case_features(case) for case in cases]), choices])


def case_features(case: Case) -> Singles:
    """Return what does not depend on past choices, shape (len(CASE_FEATURES),)."""
    found: dict[str, float] = {
        "hours_since_sync": _or_nan(case.hours_since_sync),
        "conflict_type": _place(case.conflict_type, CONFLICT_TYPES),
        "worker_reliability": _or_nan(case.worker_reliability),
        "project_phase": _or_nan(case.project_phase),
        "weekday": _or_nan(case.weekday),
        "one_side_empty": float(case.external_value is None) - float(case.crewflow_value is None),
    }
    found |= _of_values(case) | _of_edits(case) | _of_agreement(case) | _of_third(case) | _of_batch(case.batch)
    return np.array([found.get(name, nan) for name in CASE_FEATURES], np.float32)


def choice_features(choices: AnyFloats) -> Singles:
    """Return the features of past choices.

    Args:
        choices: Counts of CrewFlow, external and manual by level, shape (n, len(LEVELS), 3).

    Returns:
        Shape (n, len(CHOICE_FEATURES)): by level the three shares, each shrunk to the next wider level's with
        the weight of ``SHRINK`` choices, and the logarithm of the count.
    """
    share = np.full((len(choices), 3), 1 / 3)
    found = []
    for level in reversed(range(len(LEVELS))):
        counts = choices[:, level]
        total = counts.sum(axis=1, keepdims=True)
        share = (counts + SHRINK * share) / (total + SHRINK)
        found.append(np.hstack([share, np.log1p(total)]))
    return np.hstack(found[::-1]).astype(np.float32)


def number(value: Value | None) -> float | None:
    """Return a value's number; texts have none."""
    return value if isinstance(value, float | int) else None


def last_edited(case: Case) -> float:
    """Return 1 if CrewFlow was edited last, -1 if the other side was, 0 for both at once, NaN if unknown."""
    gap = _edit_gap(case)
    return nan if isnan(gap) else float(np.sign(gap))


@lru_cache(maxsize=4096)  # asked several times about each conflict
def rounding(ours: float, theirs: float) -> float:
    """Return 1 if the external value is CrewFlow's in quarter hours, -1 the other way round, else 0."""
    if not 0 < abs(theirs - ours) < QUARTER or _in_quarters(ours) == _in_quarters(theirs):
        return 0.0
    return 1.0 if _in_quarters(theirs) else -1.0


@lru_cache(maxsize=4096)
def lunch(ours: float, theirs: float) -> float:
    """Return 1 if the external value lacks half an hour or one, -1 if CrewFlow's does, else 0."""
    if not any(isclose(abs(ours - theirs), length, abs_tol=0.01) for length in LUNCHES):
        return 0.0
    return 1.0 if theirs < ours else -1.0


def sides_of(case: Case) -> list[float]:
    """Return for each third record which side it agrees with: 1 CrewFlow, -1 external, 0 neither."""
    return [_side(third.value, case.crewflow_value, case.external_value) for third in case.third]


def _side(value: Value, ours: Value | None, theirs: Value | None) -> float:
    x, a, b = number(value), number(ours), number(theirs)
    if x is None or a is None or b is None:
        return float(value == ours) - float(value == theirs)
    near = NEAR * abs(b - a)
    to_ours, to_theirs = abs(x - a), abs(x - b)
    if to_ours < to_theirs and to_ours <= near:
        return 1.0
    return -1.0 if to_theirs < to_ours and to_theirs <= near else 0.0


def _of_values(case: Case) -> dict[str, float]:
    ours, theirs = number(case.crewflow_value), number(case.external_value)
    found: dict[str, float] = {}
    difference = _or_nan(case.difference)
    if ours is not None and theirs is not None:
        difference = theirs - ours if isnan(difference) else difference
        larger = max(abs(ours), abs(theirs))
        found = {
            "relative_difference": abs(theirs - ours) / larger if larger else 0.0,
            "rounding": rounding(ours, theirs),
            "lunch": lunch(ours, theirs),
            "doubled": float(isclose(theirs, 2 * ours)) - float(isclose(ours, 2 * theirs)),
            "crewflow_in_quarters": float(_in_quarters(ours)),
            "external_in_quarters": float(_in_quarters(theirs)),
        }
    elif isinstance(case.crewflow_value, str) and isinstance(case.external_value, str):
        found = _of_texts(case.crewflow_value, case.external_value)
        difference = 1 - found["similarity"] if isnan(difference) else difference
    return found | {"difference": difference, "abs_difference": abs(difference)}


def _of_texts(ours: str, theirs: str) -> dict[str, float]:
    a, b = ours[:LONGEST_TEXT].casefold(), theirs[:LONGEST_TEXT].casefold()
    return {
        "similarity": SequenceMatcher(None, a, b, autojunk=False).ratio(),
        "longer_external": float(len(b) - len(a)),
        "one_contains_other": float(a in b) - float(b in a),
        "more_digits_external": float(sum(map(str.isdigit, b)) - sum(map(str.isdigit, a))),
    }


def _of_edits(case: Case) -> dict[str, float]:
    gap, last = _edit_gap(case), last_edited(case)
    ours, theirs = _place(case.crewflow_editor, EDITORS), _place(case.external_editor, EDITORS)
    sync = _or_nan(case.hours_since_sync)
    return {
        "edit_gap_hours": gap,
        "edit_gap_by_sync": abs(gap) / sync if sync > 0 else nan,
        "crewflow_edited_hours_ago": _or_nan(case.crewflow_edited_hours_ago),
        "external_edited_hours_ago": _or_nan(case.external_edited_hours_ago),
        "crewflow_editor": ours,
        "external_editor": theirs,
        "last_editor": nan if isnan(last) or last == 0 else ours if last > 0 else theirs,
        "crewflow_reliability": _or_nan(case.crewflow_reliability),
        "external_reliability": _or_nan(case.external_reliability),
        "reliability_gap": log_odds(case.crewflow_reliability) - log_odds(case.external_reliability),
    }


def _of_agreement(case: Case) -> dict[str, float]:
    ours, theirs = agreeing(case)
    prior = log_odds(case.crewflow_reliability)
    return {
        "agreeing_crewflow": ours,
        "agreeing_external": theirs,
        "agreeing_balance": ours - theirs,
        "agreeing_share": (ours + 1) / (ours + theirs + 2),
        "agreeing_log_odds": (0.0 if isnan(prior) else prior) + float(np.log((ours + 0.5) / (theirs + 0.5))),
    }


def agreeing(case: Case) -> tuple[float, float]:
    """Return how many third records hold CrewFlow's value, and how many the other side's; NaN if unknown."""
    if case.agreeing_crewflow is not None and case.agreeing_external is not None:
        return case.agreeing_crewflow, case.agreeing_external
    if not case.third:
        return nan, nan
    sides = sides_of(case)
    return float(sides.count(1.0)), float(sides.count(-1.0))


def _of_third(case: Case) -> dict[str, float]:
    found = {"third_records": float(len(case.third))}
    if not case.third:
        return found
    sides = np.array(sides_of(case))
    weights = np.array([log_odds(third.reliability) for third in case.third])
    weights[np.isnan(weights)] = 0.0
    previous = np.array([third.source == "previous_day" for third in case.third])
    for name, side in (("crewflow", 1.0), ("external", -1.0), ("neither", 0.0)):
        found[f"third_best_{name}"] = float(weights[sides == side].max()) if (sides == side).any() else nan
        found[f"third_weight_{name}"] = float(weights[sides == side].sum())
    found["third_neither"] = float((sides == 0).sum())
    found["past_days_crewflow"] = float((sides[previous] == 1).sum())
    found["past_days_external"] = float((sides[previous] == -1).sum())
    return found | _of_third_numbers(case, weights)


def _of_third_numbers(case: Case, weights: AnyFloats) -> dict[str, float]:
    ours, theirs = number(case.crewflow_value), number(case.external_value)
    numbers = [number(third.value) for third in case.third]
    if ours is None or theirs is None or isclose(ours, theirs, abs_tol=SAME) or any(x is None for x in numbers):
        return {}
    place = np.clip((np.array(numbers, float) - ours) / (theirs - ours), -FARTHEST, FARTHEST)
    nearer = np.where(place < 0.5, 1.0, -1.0)
    return {
        "third_median_place": float(np.median(place)),
        "third_nearer": float(nearer.mean()),
        "third_spread": float(place.std()),
        "third_weight_balance": float((nearer * np.maximum(weights, 0)).sum()),
    }


def _of_batch(batch: Batch | None) -> dict[str, float]:
    if batch is None:
        return {}
    return {
        "batch_size": float(batch.size),
        "batch_same_record": float(batch.same_record),
        "batch_same_attribute": float(batch.same_attribute),
        "batch_pair": float(batch.pair),
        "batch_pair_backing": batch.pair_backing,
        "batch_pair_share": batch.pair_backing / max(batch.pair, 1),
        "batch_external_backing": batch.external_backing,
        "batch_mean_difference": _or_nan(batch.mean_difference),
    }


def log_odds(share: float | None) -> float:
    """Return the log-odds of a reliability, kept within those of .02 and .98; NaN if unknown."""
    if share is None or isnan(share):
        return nan
    kept = min(max(share, 0.02), 0.98)
    return float(np.log(kept / (1 - kept)))


def _edit_gap(case: Case) -> float:
    if case.edit_gap_hours is not None:
        return case.edit_gap_hours
    return _or_nan(case.external_edited_hours_ago) - _or_nan(case.crewflow_edited_hours_ago)


def _in_quarters(value: float) -> bool:
    return isclose(value / QUARTER, round(value / QUARTER), abs_tol=1e-6)


def _place(name: str | None, names: Sequence[str]) -> float:
    return float(names.index(name)) if name in names else nan


def _or_nan(value: float | None) -> float:
    return nan if value is None else float(value)
