"""A company turns a pay rule round while its conflicts are decided automatically: when the stop switch notices.

Conflicts are taken in the order in which they were reported. Those that the model is sure of are decided, but for
the withheld share, which goes blind to a person; of the decided ones people look at some, and override what they
would have decided otherwise. All others are decided by people, and the model's context learns from these alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np

from crewflow_assets.backtest.conflict_worlds import events
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS
from crewflow_assets.conflict_resolution.features import features_of
from crewflow_assets.conflict_resolution.history import History, told_of
from crewflow_assets.conflict_resolution.model import ConflictPredictor
from crewflow_assets.conflict_resolution.switches import LAST, exceeds_chance
from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.timecards.world import TimecardHistory

AFFECTED = {"rounded_stands": "rounding", "lunch_stands": "lunch"}
"""The mechanism whose right answer turns with a rule."""
CONFLICT_TYPE = "hours_mismatch"
"""The type of both."""


@dataclass(frozen=True, slots=True)
class Turned:
    """What came of a change of convention in one company; counts begin with the change."""

    company_id: str
    affected: int
    """Conflicts of the turned mechanism: what there was to get wrong."""
    decisions: int
    """Conflicts of the type until the switch tripped, or all."""
    automatic: int
    """Of these, the automatic ones that a person would have decided too, one way or the other."""
    wrong: int
    """Of these, those that a person would have decided otherwise."""
    tripped: str
    """``before`` the change, ``after`` it, or ``never``."""


def is_affected(history: TimecardHistory) -> bool:
    """Say whether a rule was turned round that makes conflicts in this company."""
    rules = history.rules
    if rules.turned == "rounded_stands":
        return rules.clocked and rules.rounds
    return rules.turned == "lunch_stands" and rules.deducts_lunch


@dataclass(slots=True)
class Reviews:
    """What the stop switch counts (``conflict_resolution/switches.py``), in memory."""

    blind: list[bool] = field(default_factory=list)
    acted: list[str] = field(default_factory=list)
    overridden: set[str] = field(default_factory=set)

    def trip(self) -> bool:
        """Say whether either of its two tests finds more wrong than chance explains."""
        looked = [one in self.overridden for one in self.acted]
        until = len(looked) - looked[::-1].index(True) if True in looked else 0
        return any(exceeds_chance(sum(last), len(last)) for last in (self.blind[-LAST:], looked[:until][-LAST:]))


def run_through(
    predictor: ConflictPredictor,
    history: TimecardHistory,
    *,
    withheld_share: float,
    looked_at: float,
    switch: bool = True,
    people_first: bool = True,
    seed: int = 0,
) -> Turned:
    """Step through a company's history with automatic resolution on from its beginning.

    Args:
        predictor: Decides.
        history: Of a company whose rule is turned round (``is_affected``).
        withheld_share: Of the automatic decisions, in [0, 1].
        looked_at: Share of the other automatic decisions that people look at, in [0, 1].
        switch: Whether the stop switch may trip.
        people_first: Whether people decide the next ones like one that they overrode.
        seed: Of what is withheld and looked at.
    """
    randomness, known, reviews = Randomness(seed), History(), Reviews()
    hidden = {one.conflict_id: one for one in history.hidden}
    waiting: dict[str, bool] = {}  # automatic decisions that a person will see, and whether they are wrong
    withheld: set[str] = set()
    counts = dict.fromkeys(("affected", "decisions", "automatic", "wrong"), 0)
    tripped, silent = "never", set[str]()
    for company, at, kind, payload in events(history):
        conflict_id, acted = str(payload.get("conflict_id")), None
        if kind == "conflict_decision":
            if conflict_id in silent:
                continue  # nobody was asked, and nobody looked
            if (wrong := waiting.pop(conflict_id, None)) is not None and tripped == "never":
                if conflict_id in withheld:
                    reviews.blind.append(wrong)
                elif wrong:
                    reviews.overridden.add(conflict_id)
                if switch and reviews.trip():
                    tripped = "after" if at.date() >= history.rules.turned_on else "before"
        elif kind == "conflict" and payload["conflict_type"] == CONFLICT_TYPE:
            found = hidden[conflict_id]
            after = date.fromisoformat(str(payload["timecard_date"])) >= history.rules.turned_on
            counts["affected"] += after and found.mechanism == AFFECTED[str(history.rules.turned)]
            if tripped == "never":
                counts["decisions"] += after
                resolution = _decide(predictor, known, payload, at, people_first=people_first)
                if resolution is not None and found.decided is not None:
                    wrong = resolution != found.decided
                    if randomness.uniform(company, f"{conflict_id} withheld") < withheld_share:
                        withheld.add(conflict_id)
                        waiting[conflict_id] = wrong
                    else:
                        reviews.acted.append(conflict_id)
                        acted = resolution
                        counts["automatic"] += after
                        counts["wrong"] += after and wrong
                        if wrong and randomness.uniform(company, f"{conflict_id} looked at") < looked_at:
                            waiting[conflict_id] = wrong
                        else:
                            silent.add(conflict_id)
        known.feed(company, kind, at, payload)
        if acted is not None:
            known.feed(company, "conflict_decision", at, _as_decided(conflict_id, acted))
    return Turned(company_id=history.employer.company_id, **counts, tripped=tripped)


def _decide(
    predictor: ConflictPredictor, known: History, payload: Mapping[str, Any], at: datetime, *, people_first: bool
) -> str | None:
    told = told_of(payload)
    case = known.case_of(told, at)
    if case.people_first and people_first:
        return None
    probability = predictor.probability(features_of(case)[None])
    sure = predictor.automatic(probability, np.array([told.conflict_type], object))[0]
    return RESOLUTIONS[int(probability[0].argmax())] if sure else None


def _as_decided(conflict_id: str, resolution: str) -> dict[str, str]:
    return {"conflict_id": conflict_id, "method": "model", "action": "resolve", "resolution": resolution}
