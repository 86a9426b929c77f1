"""The simulated world of timecards, as events, with the truth that the platform is not told.

A company's history is made of days that depend on (seed, company, worker, day) alone: it repeats by its seed,
whatever other companies there are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal

import numpy as np

from crewflow_assets.twin.randomness import Randomness, chance, lognormal, pick
from crewflow_assets.twin.timecards.crews import (
    SHIFTS,
    Employer,
    Rules,
    Worker,
    draw_rules,
    draw_workers,
    project_of,
)
from crewflow_assets.twin.timecards.mechanisms import WRONG_BY, Choice, Day, Difference, differences
from crewflow_assets.twin.timecards.parameters import DEFAULTS, TimecardParameters
from crewflow_assets.twin.timecards.people import best_guess, choose

EventName = Literal["record_version", "conflict", "conflict_decision"]
DECIDERS = ("office manager", "bookkeeper", "project manager")


@dataclass(frozen=True, slots=True)
class Happening:
    """An event as it would be posted."""

    at: datetime
    kind: EventName
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hidden:
    """The truth behind a conflict. ``usual`` is what the company's habit says of such a one at that time.

    ``ceiling``: how often the best guess is right without knowing the truth.
    """

    company_id: str
    conflict_id: str
    opened_at: datetime
    mechanism: str
    right: Choice
    usual: Choice
    decided: Choice | None
    ceiling: float


@dataclass(frozen=True, slots=True)
class TimecardHistory:
    """What happened in one company, by time, and what was behind it."""

    employer: Employer
    rules: Rules
    happenings: Sequence[Happening]
    hidden: Sequence[Hidden]


def build_timecards(
    employers: Sequence[Employer], *, seed: int, end: datetime, parameters: TimecardParameters = DEFAULTS
) -> Iterator[TimecardHistory]:
    """Yield the history of each company until a moment (aware); nothing later has happened yet."""
    randomness = Randomness(seed)
    for employer in employers:
        rules = draw_rules(randomness, employer, end.date(), parameters)
        workers = draw_workers(randomness.generator(employer.company_id, "workers"), employer)
        builder = _Builder(randomness, employer, rules, parameters)
        for offset in range((end.date() - employer.since).days + 1):
            day = employer.since + timedelta(days=offset)
            if day.weekday() < 5:
                for worker in workers:
                    builder.work(worker, day)
        happened = sorted((h for h in builder.happenings if h.at < end), key=lambda h: h.at)
        known = {h.payload["conflict_id"] for h in happened if h.kind == "conflict"}
        yield TimecardHistory(
            employer, rules, happened, [hidden for hidden in builder.hidden if hidden.conflict_id in known]
        )


class _Builder:
    """Writes down the days of one company."""

    def __init__(
        self, randomness: Randomness, employer: Employer, rules: Rules, parameters: TimecardParameters
    ) -> None:
        self.randomness, self.employer, self.rules, self.parameters = randomness, employer, rules, parameters
        self.shift = pick(randomness.generator(employer.company_id, "shift"), SHIFTS)
        self.happenings: list[Happening] = []
        self.hidden: list[Hidden] = []

    def work(self, worker: Worker, day: date) -> None:
        """Write down one day of a worker: the card, and what comes to differ about it."""
        crew = self.randomness.generator(f"{self.employer.company_id}/crew {worker.crew}", f"{day}")
        usual = self.shift + (pick(crew, WRONG_BY) if chance(crew, self.parameters.off_standard) else 0.0)
        rng = self.randomness.generator(worker.id, f"{day}")
        if chance(rng, self.parameters.absence):
            return
        hours = usual + (pick(rng, WRONG_BY) if chance(rng, self.parameters.off_standard / 4) else 0.0)
        if self.rules.clocked:
            hours += float(rng.normal(0, 0.15))
        hours = round(min(16.0, max(1.0, hours)), 2)
        wrong = chance(rng, self.parameters.keyed_wrong)
        entered = round(min(16.0, max(0.5, hours + pick(rng, WRONG_BY))), 2) if wrong else hours
        codes = ("01-500", worker.code, "09-250", "16-110")
        work = Day(day, hours, entered, worker.code, codes)
        entered_at = _moment(day, 17 + 3 * rng.random())
        project = project_of(self.employer, worker.crew, day)
        card = _Card(f"t-{worker.id}-{day:%Y%m%d}", worker.id, project, day)
        self._version(card, "crewflow", "1", entered_at, "foreman", entered, worker.code)
        for difference in differences(rng, work, self.rules, self.parameters):
            self._differ(rng, card, work, entered_at, difference)

    def _differ(
        self, rng: np.random.Generator, card: "_Card", work: Day, entered_at: datetime, found: Difference
    ) -> None:
        sync = timedelta(hours=self.parameters.sync_hours)
        synced_at = _next_sync(entered_at, sync)
        delay = 0.2 if found.editor == "system" else lognormal(rng, 18, 0.8)
        edited_at = synced_at + timedelta(hours=delay)
        opened_at = _next_sync(edited_at, sync) + timedelta(seconds=60 * rng.random())
        hours, code = (work.entered, work.code)
        changed = found.crewflow if found.edited == "crewflow" else found.external
        if found.conflict_type == "cost_code_changed":
            code = str(changed)
        elif isinstance(changed, float):
            hours = changed
        self._version(card, found.edited, "2", edited_at, found.editor, hours, code)
        ours = found.edited == "crewflow"
        conflict_id = f"x-{card.record_id}-{found.conflict_type}"
        self._happen(
            opened_at,
            "conflict",
            {
                "conflict_id": conflict_id,
                "conflict_type": found.conflict_type,
                "values": {"crewflow": found.crewflow, "external": found.external},
                "worker_id": card.worker_id,
                "project_id": card.project_id,
                "timecard_date": card.day.isoformat(),
                "crewflow_updated_at": (edited_at if ours else entered_at).isoformat(),
                "external_updated_at": (synced_at if ours else edited_at).isoformat(),
                "crewflow_updated_by": found.editor if ours else "foreman",
                "external_updated_by": "system" if ours else found.editor,
                "last_sync_timestamp": (_next_sync(edited_at, sync) - sync).isoformat(),
                "system": self.employer.system,
                "record_type": "timecard",
                "record_id": card.record_id,
                "crewflow_version": "2" if ours else "1",
                "external_version": "1" if ours else "2",
            },
        )
        decided = self._decide(rng, conflict_id, opened_at, found)
        self.hidden.append(
            Hidden(
                self.employer.company_id,
                conflict_id,
                opened_at,
                found.mechanism,
                found.right,
                found.usual,
                decided,
                best_guess(found, self.parameters),
            )
        )

    def _decide(
        self, rng: np.random.Generator, conflict_id: str, opened_at: datetime, found: Difference
    ) -> Choice | None:
        choice = choose(rng, found, self.parameters)
        at = opened_at + timedelta(hours=lognormal(rng, self.parameters.decision_hours, 0.9))
        who = pick(rng, DECIDERS)
        if chance(rng, self.parameters.undecided):
            return None
        value = found.true_value if choice == "manual" else None
        self._happen(
            at,
            "conflict_decision",
            {
                "conflict_id": conflict_id,
                "conflict_type": found.conflict_type,
                "resolution": choice,
                "value": value if isinstance(value, float) else None,
                "decided_by": who,
            },
        )
        return choice

    def _version(
        self,
        card: "_Card",
        side: Literal["crewflow", "external"],
        version: str,
        at: datetime,
        by: str,
        hours: float,
        code: str,
    ) -> None:
        values = {
            "hours": hours,
            "cost_code": code,
            "worker_id": card.worker_id,
            "project_id": card.project_id,
            "date": card.day.isoformat(),
        }
        self._happen(
            at,
            "record_version",
            {
                "record_type": "timecard",
                "record_id": card.record_id,
                "side": side,
                "version": version,
                "changed_by": by,
                "values": values,
            },
        )

    def _happen(self, at: datetime, kind: EventName, payload: Mapping[str, Any]) -> None:
        self.happenings.append(Happening(at, kind, payload))


@dataclass(frozen=True, slots=True)
class _Card:
    record_id: str
    worker_id: str
    project_id: str
    day: date


def _moment(day: date, hour: float) -> datetime:
    return datetime.combine(day, time(0), UTC) + timedelta(hours=hour)


def _next_sync(after: datetime, every: timedelta) -> datetime:
    """Return the first sync after a moment; syncs are counted from midnight UTC of 1970."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + every * ((after - epoch) // every + 1)
