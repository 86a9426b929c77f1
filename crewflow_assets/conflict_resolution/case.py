"""All that was known of one conflict at one moment, past only.

Who builds a ``Case`` (from the store, from a file) vouches for that. What is not known is None.
"""

from dataclasses import dataclass

Value = float | str

CONFLICT_TYPES = ("hours_mismatch", "duplicate", "cost_code_changed")
EDITORS = ("worker", "foreman", "project_manager", "bookkeeper", "system")
"""Who edits timecards, by role; others are unknown."""
LEVELS = ("alike", "type", "company")
"""How past choices are counted, from the nearest to the widest."""


@dataclass(frozen=True, slots=True)
class Third:
    """A third record that speaks about the same thing: a crew mate's day, the schedule, a previous day."""

    source: str
    """Such as ``crew``, ``schedule``, ``previous_day``."""
    value: Value
    reliability: float | None = None
    """In how many of the past decisions on this attribute such a record held what was chosen, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The other conflicts that came with this one (same company, same sync), undecided as it is."""

    size: int = 0
    same_record: int = 0
    same_attribute: int = 0
    pair: int = 0
    """Those between the same two systems."""
    pair_backing: float = 0.0
    """Of these, how many third records back CrewFlow, minus those in which they back the other side."""
    external_backing: float = 0.0
    """The same over all conflicts with the other side, whichever home record it contradicts."""
    mean_difference: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One conflict as it stood at one moment; hours are counted from then."""

    conflict_type: str
    crewflow_value: Value | None = None
    external_value: Value | None = None
    difference: float | None = None
    """External minus CrewFlow, or 1 − similarity of texts; built from the values where None."""
    weekday: int | None = None
    """Of the timecard, Monday 0."""
    project_phase: float | None = None
    """Share of the project's time that has passed, 0 to 1."""
    worker_reliability: float | None = None
    """Share of this worker's past conflicts in which CrewFlow's value stood, 0 to 1."""
    hours_since_sync: float | None = None
    crewflow_edited_hours_ago: float | None = None
    external_edited_hours_ago: float | None = None
    edit_gap_hours: float | None = None
    """How much later CrewFlow was edited than the other side; built from the two above where None."""
    crewflow_editor: str | None = None
    external_editor: str | None = None
    crewflow_reliability: float | None = None
    external_reliability: float | None = None
    """Share of past decisions on this attribute in which the side's value stood, 0 to 1."""
    third: tuple[Third, ...] = ()
    agreeing_crewflow: float | None = None
    agreeing_external: float | None = None
    """Third records that hold the side's value; counted from ``third`` where None."""
    batch: Batch | None = None
    choices: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 0.0),) * len(LEVELS)
    """Past choices (CrewFlow, external, manual) of this company: in like cases, of this type, of all."""
    people_first: int = 0
    """How many cases like this one people decide before any is automatic again: they overrode one. No feature."""
