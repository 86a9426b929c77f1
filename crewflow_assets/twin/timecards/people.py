"""The people who decide conflicts: they find out what is true, do what the company usually does, or are in haste."""

import numpy as np

from crewflow_assets.twin.randomness import chance
from crewflow_assets.twin.timecards.mechanisms import Choice, Difference
from crewflow_assets.twin.timecards.parameters import TimecardParameters


def choose(rng: np.random.Generator, difference: Difference, parameters: TimecardParameters) -> Choice:
    """Return what a person decides about a difference."""
    how = rng.random()
    if how < parameters.checks:
        if chance(rng, parameters.finds_out):
            return difference.right
        return "use_crewflow" if difference.right != "use_crewflow" else "use_external"
    if how < parameters.checks + parameters.follows_convention:
        return difference.usual
    newest: Choice = "use_crewflow" if difference.edited == "crewflow" else "use_external"
    return newest if chance(rng, parameters.haste_newest) else "use_crewflow"


def best_guess(difference: Difference, parameters: TimecardParameters) -> float:
    """Return how often the best guess is right for who knows the mechanism and the rules, but not the truth."""
    right = {
        "late edit by the foreman": parameters.foreman_right,
        "late edit by the bookkeeper": parameters.bookkeeper_right,
        "overtime adjusted": parameters.adjusted_right,
        "rounding": 1.0,
        "lunch": 1.0 if difference.usual == "use_crewflow" else 1 - parameters.worked_through,
        "double entry": 1 - parameters.double_is_split,
        "recoded by the manager": parameters.recoded_right,
        "recoded by the bookkeeper": parameters.recoded_right,
    }[difference.mechanism]
    return max(right, 1 - right)
