"""Why a resolution is recommended, in a foreman's words: the facts that weighed most, by their share in the trees."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from crewflow_assets.arrays import AnyFloats, Ints
from crewflow_assets.conflict_resolution.case import Case, Third, Value
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS
from crewflow_assets.conflict_resolution.features import (
    CHOICE_FEATURES,
    FEATURES,
    last_edited,
    lunch,
    number,
    rounding,
)

MOST_FACTS = 2
SYSTEMS = {"quickbooks": "QuickBooks", "sage": "Sage", "xero": "Xero"}
DAYS = ("Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")
HOURS_A_DAY = 24.0
FEWEST_CHOICES = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A case with what a sentence about it needs."""

    case: Case
    action: str
    system: str
    """The accounting system's name, as people write it."""


def system_name(system: str | None) -> str:
    """Return how people write an accounting system's name."""
    return "the accounting system" if system is None else SYSTEMS.get(system, system)


def reasons(asked: Sequence[Asked], weighed: Callable[[Ints], AnyFloats]) -> list[str]:
    """Return for each case the facts that spoke most for the recommended resolution, as one sentence.

    Where there are no more facts than a sentence holds, nothing has to be weighed: they stand in the usual order.

    Args:
        asked: The cases and what is recommended.
        weighed: Returns what each feature adds to the log-odds of each resolution, shape (k, CLASSES, len(FEATURES)),
            for k of the cases by their places: those of which more can be told than a sentence holds.
    """
    told = [[list(fact.tell(one)) for fact in FACTS] for one in asked]
    too_many = np.array([_too_many(texts) for texts in told], bool)
    order = np.tile(np.arange(len(FACTS)), (len(asked), 1))
    if too_many.any():
        contributions = weighed(np.flatnonzero(too_many))
        chosen = np.array([RESOLUTIONS.index(one.action) for one in asked], np.int64)[too_many]
        rows = np.arange(len(chosen))
        others = contributions[rows[:, None], OTHERS[chosen]].mean(axis=1)
        weight = (contributions[rows, chosen] - others) @ SPEAKS_OF
        order[too_many] = np.argsort(-weight, axis=1, kind="stable")
    return [
        _sentence(text for place in places for text in texts[place])
        for texts, places in zip(told, order.tolist(), strict=True)
    ]


def _too_many(texts: Sequence[Sequence[str]]) -> bool:
    """Say whether several kinds of facts are to be told, and more facts than a sentence holds."""
    return sum(map(bool, texts)) > 1 and len({text for kind in texts for text in kind}) > MOST_FACTS


def _sentence(texts: Iterable[str]) -> str:
    facts = list(dict.fromkeys(texts))[:MOST_FACTS]
    if not facts:
        return "Nothing that is known of this conflict speaks clearly for one side"
    text = "; ".join(facts)
    return text[0].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class _Fact:
    features: tuple[str, ...]
    tell: Callable[[Asked], Iterator[str]]


def _edits(asked: Asked) -> Iterator[str]:
    case = asked.case
    if np.isnan(last_edited(case)):
        return
    if case.crewflow_edited_hours_ago is not None and case.external_edited_hours_ago is not None:
        ours = f"CrewFlow was edited {_ago(case.crewflow_edited_hours_ago)}{_by(case.crewflow_editor)}"
        yield f"{ours}, {asked.system} {_ago(case.external_edited_hours_ago)}{_by(case.external_editor)}"


def _previous(asked: Asked) -> Iterator[str]:
    case = asked.case
    past = [third.value for third in case.third if third.source == "previous_day"]
    if not past or case.weekday is None:
        return
    same = 1
    while same < len(past) and past[same] == past[0]:
        same += 1
    if same > 1 and past[0] in (case.crewflow_value, case.external_value):
        yield f"this worker's last {same} {DAYS[case.weekday]} were {_shown(past[0])}"


def _others(asked: Asked) -> Iterator[str]:
    crew = [third for third in asked.case.third if third.source == "crew"]
    for name, value in (("CrewFlow", asked.case.crewflow_value), (asked.system, asked.case.external_value)):
        held = sum(_holds(third, value) for third in crew)
        if held:
            yield f"{held} of {len(crew)} crew mates have {_shown(value)} that day, as {name} says"
    for third in asked.case.third:
        if third.source == "schedule" and third.value in (asked.case.crewflow_value, asked.case.external_value):
            yield f"the schedule says {_shown(third.value)}"


def _pattern(asked: Asked) -> Iterator[str]:
    ours, theirs = number(asked.case.crewflow_value), number(asked.case.external_value)
    if ours is None or theirs is None:
        return
    if rounding(ours, theirs):
        rounded, exact = (asked.system, "CrewFlow's") if rounding(ours, theirs) > 0 else ("CrewFlow", "the other")
        yield f"{rounded} holds {exact} value in quarter hours"
    if lunch(ours, theirs):
        shorter = asked.system if theirs < ours else "CrewFlow"
        yield f"{shorter} has {_shown(abs(ours - theirs))} less, the length of a lunch break"


def _choices(asked: Asked) -> Iterator[str]:
    place = RESOLUTIONS.index(asked.action)
    chose = ("kept CrewFlow's value", f"took {asked.system}'s value", "settled it otherwise")[place]
    for counts, where in zip(asked.case.choices, ("like cases", "conflicts of this type"), strict=False):
        total = sum(counts)
        if total >= FEWEST_CHOICES and counts[place] / total >= 0.5:
            yield f"your people {chose} in {counts[place]:.0f} of {total:.0f} {where}"
            return


FACTS = (
    _Fact(
        (
            *("edit_gap_hours", "edit_gap_by_sync", "crewflow_edited_hours_ago", "external_edited_hours_ago"),
            *("crewflow_editor", "external_editor", "last_editor"),
        ),
        _edits,
    ),
    _Fact(("past_days_crewflow", "past_days_external", "third_median_place"), _previous),
    _Fact(
        (
            *("agreeing_crewflow", "agreeing_external", "agreeing_balance", "agreeing_share", "agreeing_log_odds"),
            *("third_weight_crewflow", "third_weight_external", "third_weight_balance", "third_nearer"),
            *("third_best_crewflow", "third_best_external", "third_best_neither", "third_neither"),
        ),
        _others,
    ),
    _Fact(("rounding", "lunch", "crewflow_in_quarters", "external_in_quarters", "abs_difference"), _pattern),
    _Fact((*CHOICE_FEATURES, "crewflow_reliability", "external_reliability", "reliability_gap"), _choices),
)
SPEAKS_OF = np.array([[float(name in fact.features) for fact in FACTS] for name in FEATURES])
"""Which fact is about which feature, shape (len(FEATURES), len(FACTS))."""
OTHERS = np.array([[other for other in range(len(RESOLUTIONS)) if other != one] for one in range(len(RESOLUTIONS))])
"""The other resolutions of each."""


def _holds(third: Third, value: Value | None) -> bool:
    return value is not None and third.value == value


def _shown(value: Value | None) -> str:
    x = number(value)
    return str(value) if x is None else f"{x:.1f} h" if round(x, 1) == x else f"{x:.2f} h"


def _by(editor: str | None) -> str:
    return "" if editor is None else f" by the {editor.replace('_', ' ')}"


def _ago(hours: float) -> str:
    if hours < 1:
        return f"{max(hours, 0) * 60:.0f} min ago"
    return f"{hours:.0f} h ago" if hours < 2 * HOURS_A_DAY else f"{hours / HOURS_A_DAY:.0f} days ago"
