"""Which arm a company is in: a salted hash, so that it is the same in every process and after every restart."""

from collections.abc import Sequence
from typing import Protocol

from crewflow_assets.evaluation.splits import uniform


class Share(Protocol):
    """What an assignment needs to know of an arm."""

    @property
    def name(self) -> str:
        """The arm's name."""

    @property
    def percent(self) -> float:
        """Its share of companies."""


def arm_of(salt: str, arms: Sequence[Share], company_id: str) -> str:
    """Return the name of the company's arm.

    Args:
        salt: The experiment's own, so that its arms are independent of those of every other experiment.
        arms: In a fixed order, percentages with the sum 100.
        company_id: The company.
    """
    place, end = 100 * uniform("experiment", salt, company_id), 0.0
    for arm in arms:
        end += arm.percent
        if place < end:
            return arm.name
    return arms[-1].name
