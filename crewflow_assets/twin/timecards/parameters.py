"""The parameters of the timecard world: each cited, or an assumption with its range."""

from dataclasses import dataclass

from crewflow_assets.twin.notes import assumed, cited


@dataclass(frozen=True, slots=True)
class TimecardParameters:
    """What the simulated world of timecards is made of. Shares and rates are in [0, 1] unless a unit is named."""

    absence: float = cited(
        0.04, 0.02, 0.07, "BLS CPS table 47 (2023): 3.1 % absent in a week; days of rain are added"
    )
    off_standard: float = assumed(0.22, 0.12, 0.35, "days that are longer or shorter than the crew's")
    keyed_wrong: float = cited(
        0.03, 0.01, 0.05, "Panko (panko.com/HumanErr/SimpleNontrivial.html): 1-5 % of simple actions"
    )
    found_late: float = assumed(0.7, 0.5, 0.9, "wrong entries that someone corrects after they were synced")
    foreman_finds: float = assumed(0.6, 0.4, 0.8, "of these, corrected in CrewFlow; the rest by the bookkeeper")
    foreman_right: float = assumed(0.95, 0.88, 0.99, "corrections by a foreman that are true")
    bookkeeper_right: float = assumed(0.9, 0.8, 0.97, "corrections by a bookkeeper that are true")
    adjusted: float = assumed(0.012, 0.005, 0.02, "right entries that a bookkeeper changes, mostly for overtime")
    adjusted_right: float = assumed(0.35, 0.15, 0.55, "of these, true")
    clocked_share: float = assumed(0.4, 0.25, 0.6, "companies whose hours come from a clock, to the minute")
    rounding_share: float = cited(
        0.6, 0.4, 0.8, "29 CFR 785.48(b) allows rounding to quarter hours; how many do so is assumed"
    )
    rounding_seen: float = assumed(0.2, 0.08, 0.4, "clocked days on which a rounded value comes back as a conflict")
    rounded_stands: float = assumed(0.6, 0.4, 0.8, "companies where the rounded value is what they pay")
    lunch_share: float = assumed(0.5, 0.3, 0.7, "companies whose payroll deducts lunch by itself")
    lunch_seen: float = assumed(0.03, 0.01, 0.06, "days on which the deduction hits hours that are net already")
    lunch_stands: float = assumed(0.5, 0.3, 0.7, "companies where the deduction stands")
    worked_through: float = assumed(0.15, 0.05, 0.3, "such days on which lunch was worked through, and said so")
    double_entry: float = assumed(0.006, 0.002, 0.012, "days entered on both sides by hand")
    double_is_split: float = assumed(0.12, 0.05, 0.25, "of these, two shifts that are both real")
    recoded: float = assumed(0.012, 0.005, 0.02, "cards whose cost code is changed after they were synced")
    manager_recodes: float = assumed(0.65, 0.45, 0.85, "of these, by a project manager in CrewFlow")
    recoded_right: float = assumed(0.93, 0.85, 0.98, "changes of a cost code that are true")
    checks: float = assumed(0.8, 0.6, 0.9, "decisions for which the person finds out what is true")
    follows_convention: float = assumed(0.15, 0.05, 0.3, "decisions by what the company usually does")
    finds_out: float = cited(
        0.985,
        0.95,
        0.995,
        "Panko (panko.com/HumanErr/SimpleNontrivial.html): 1-5 %; set after a first result, docs/conflicts.md",
    )
    haste_newest: float = assumed(0.7, 0.5, 0.9, "of those in haste, who take what was edited last; else CrewFlow")
    undecided: float = assumed(0.04, 0.01, 0.1, "conflicts that nobody ever decides")
    decision_hours: float = assumed(14, 5, 40, "median hours until a person decides")
    changes_rule: float = assumed(0.25, 0.1, 0.5, "companies that turn a rule round within the history")
    sync_hours: float = assumed(4, 1, 24, "hours between two syncs of timecards")


DEFAULTS = TimecardParameters()
