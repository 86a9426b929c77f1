"""What happened in one company so far, fed with events, and what it says of a conflict."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from math import isnan
from sys import float_info
from typing import Any

from crewflow_assets.conflict_resolution.case import Case, Third, Value
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS
from crewflow_assets.conflict_resolution.features import last_edited, lunch, number, rounding

MOST_CREW, MOST_DAYS = 8, 9
PROJECT_DAYS = 365
"""A project's usual length; of its phase only the beginning is known, by its first record."""
PEOPLE_FIRST = 3
"""After people overrode an automatic decision, so many conflicts like it are decided by people again."""
FIELDS = {"hours_mismatch": "hours", "duplicate": "hours", "cost_code_changed": "cost_code"}
KEPT_FIELDS = tuple(sorted(set(FIELDS.values())))

Choices = list[float]
Alike = tuple[str, float, float, float]


@dataclass(frozen=True, slots=True)
class Told:
    """A conflict as it was reported, or is asked about."""

    conflict_type: str
    crewflow_value: Value | None
    external_value: Value | None
    worker_id: str
    project_id: str
    day: date
    crewflow_updated_at: datetime | None
    external_updated_at: datetime | None
    last_sync_timestamp: datetime
    crewflow_updated_by: str | None = None
    external_updated_by: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """A conflict that a person decided, with the case as it stood when the conflict was reported."""

    conflict_id: str
    company_id: str
    opened_at: datetime
    decided_at: datetime
    case: Case
    resolution: str
    blind: bool
    propensity: float | None


@dataclass(slots=True)
class _Card:
    """A timecard of a day, as CrewFlow last held it."""

    worker_id: str
    project_id: str
    day: date
    values: Mapping[str, Any]
    """Of it, what a conflict may be about."""


@dataclass(slots=True)
class History:
    """What happened in one company so far."""

    _by_worker: dict[str, dict[date, _Card]] = field(default_factory=lambda: defaultdict(dict))
    _by_project: dict[tuple[str, date], dict[str, _Card]] = field(default_factory=lambda: defaultdict(dict))
    _schedule: dict[tuple[str, date], float] = field(default_factory=dict)
    _project_began: dict[str, date] = field(default_factory=dict)
    _open: dict[str, tuple[Told, Case, datetime]] = field(default_factory=dict)
    _editors: dict[tuple[str, str, date], tuple[str | None, str | None]] = field(default_factory=dict)
    _by_type: dict[str, Choices] = field(default_factory=lambda: defaultdict(lambda: [0.0] * 3))
    _alike: dict[Alike, Choices] = field(default_factory=lambda: defaultdict(lambda: [0.0] * 3))
    _workers: dict[str, Choices] = field(default_factory=lambda: defaultdict(lambda: [0.0] * 3))
    _held: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    _acted: dict[str, tuple[str, Alike]] = field(default_factory=dict)
    _people_first: Counter[Alike] = field(default_factory=Counter)

    def feed(self, company_id: str, kind: str, at: datetime, payload: Mapping[str, Any]) -> Decided | None:
        """Take an event in; a person's first decision on a conflict comes back with the conflict's case."""
        if kind == "record_version":
            self._learn_record(payload)
        elif kind == "conflict":
            self._acted.pop(payload["conflict_id"], None)  # reported anew: what was decided before is not overridden
            told = told_of(payload)
            self._open[payload["conflict_id"]] = (told, self.case_of(told, at), at)
            self._editors[told.conflict_type, told.worker_id, told.day] = (
                told.crewflow_updated_by,
                told.external_updated_by,
            )
        elif payload["method"] == "person" and payload["action"] == "resolve":
            self._notice_override(payload["conflict_id"], payload["resolution"])
            return self._decide(company_id, at, payload)
        elif payload["method"] == "model" and payload["action"] == "undo":
            self._notice_override(payload["conflict_id"], None)
        elif payload["method"] == "model" and payload["conflict_id"] in self._open:
            alike = _alike(self._open[payload["conflict_id"]][1])
            self._acted[payload["conflict_id"]] = payload["resolution"], alike
        return None

    def _notice_override(self, conflict_id: str, resolution: str | None) -> None:
        """Leave conflicts like one to people, for a while, if they overrode what was decided automatically.

        Their own decision of that very conflict, now or after an undo (``resolution`` None), is not one of these.
        """
        decided, alike = self._acted.pop(conflict_id, (resolution, None))
        if alike is not None and decided != resolution:
            self._people_first[alike] = PEOPLE_FIRST + 1

    def case_of(self, told: Told, at: datetime) -> Case:
        """Return what is known of a conflict at a moment, from what was fed so far."""
        by = (told.crewflow_updated_by, told.external_updated_by)
        if by == (None, None):
            by = self._editors.get((told.conflict_type, told.worker_id, told.day), by)
        worker = self._workers.get(told.worker_id)
        began = self._project_began.get(told.project_id)
        kept = self._by_type.get(told.conflict_type, [0.0] * 3)
        known: dict[str, Any] = {
            "conflict_type": told.conflict_type,
            "crewflow_value": told.crewflow_value,
            "external_value": told.external_value,
            "weekday": told.day.weekday(),
            "project_phase": None if began is None else min(1.0, max(0, (told.day - began).days) / PROJECT_DAYS),
            "worker_reliability": _share(worker, 0) if worker else None,
            "hours_since_sync": _hours(at, told.last_sync_timestamp),
            "crewflow_edited_hours_ago": _hours(at, told.crewflow_updated_at),
            "external_edited_hours_ago": _hours(at, told.external_updated_at),
            "crewflow_editor": by[0],
            "external_editor": by[1],
            "crewflow_reliability": _share(kept, 0),
            "external_reliability": _share(kept, 1),
            "third": tuple(self._thirds(told)),
        }
        kind = _alike(Case(**known))
        alike = self._alike.get(kind, [0.0] * 3)
        everything = [sum(column) for column in zip(*self._by_type.values(), strict=True)] or [0.0] * 3
        choices = tuple((c[0], c[1], c[2]) for c in (alike, kept, everything))
        return Case(**known, choices=choices, people_first=self._people_first[kind])

    def _decide(self, company_id: str, at: datetime, payload: Mapping[str, Any]) -> Decided | None:
        found = self._open.pop(payload["conflict_id"], None)
        if found is None:
            return None
        told, case, opened_at = found
        place = RESOLUTIONS.index(payload["resolution"])
        for counts in (
            self._by_type[told.conflict_type],
            self._alike[_alike(case)],
            self._workers[told.worker_id],
        ):
            counts[place] += 1
        self._people_first[_alike(case)] -= self._people_first[_alike(case)] > 0
        chosen = (told.crewflow_value, told.external_value)[place] if place < 2 else payload.get("value")
        for third in case.third:
            self._held[told.conflict_type, third.source, third.value == chosen] += 1
        return Decided(
            conflict_id=payload["conflict_id"],
            company_id=company_id,
            opened_at=opened_at,
            decided_at=at,
            case=case,
            resolution=payload["resolution"],
            blind=bool(payload.get("blind")),
            propensity=payload.get("propensity"),
        )

    def _learn_record(self, payload: Mapping[str, Any]) -> None:
        values = payload["values"]
        worker, project, day = values.get("worker_id"), values.get("project_id"), _day(values.get("date"))
        if not (isinstance(worker, str) and isinstance(project, str) and day is not None):
            return  # a record that is no timecard, or does not say whose
        values = {name: value for name, value in values.items() if not _beyond_float(value)}
        if payload["record_type"] == "schedule":
            if isinstance(values.get("hours"), float | int):
                self._schedule[worker, day] = float(values["hours"])
            return
        if payload["record_type"] != "timecard" or payload["side"] != "crewflow":
            return
        card = _Card(worker, project, day, {name: values[name] for name in KEPT_FIELDS if name in values})
        self._by_worker[worker][day] = card
        self._by_project[project, day][worker] = card
        self._project_began[project] = min(day, self._project_began.get(project, day))

    def _thirds(self, told: Told) -> Iterator[Third]:
        name = FIELDS.get(told.conflict_type)
        if name is None:
            return
        crew = self._by_project.get((told.project_id, told.day), {})
        mates = [card for worker, card in crew.items() if worker != told.worker_id][:MOST_CREW]
        days = self._by_worker.get(told.worker_id, {})
        past = sorted((day for day in days if day < told.day and day.weekday() == told.day.weekday()), reverse=True)
        found = [("crew", card.values.get(name)) for card in mates]
        found += [("previous_day", days[day].values.get(name)) for day in past[:MOST_DAYS]]
        if name == "hours":
            found.append(("schedule", self._schedule.get((told.worker_id, told.day))))
        for source, value in found:
            if isinstance(value, float | int | str):
                yield Third(source, value, self._reliability(told.conflict_type, source))

    def _reliability(self, conflict_type: str, source: str) -> float | None:
        held, other = self._held[conflict_type, source, True], self._held[conflict_type, source, False]
        return held / (held + other) if held + other else None


def told_of(payload: Mapping[str, Any]) -> Told:
    """Return a reported conflict from its event's payload."""
    return Told(
        conflict_type=payload["conflict_type"],
        crewflow_value=payload["values"]["crewflow"],
        external_value=payload["values"]["external"],
        worker_id=payload["worker_id"],
        project_id=payload["project_id"],
        day=date.fromisoformat(str(payload["timecard_date"])),
        crewflow_updated_at=_moment(payload["crewflow_updated_at"]),
        external_updated_at=_moment(payload["external_updated_at"]),
        last_sync_timestamp=datetime.fromisoformat(payload["last_sync_timestamp"]),
        crewflow_updated_by=payload["crewflow_updated_by"],
        external_updated_by=payload["external_updated_by"],
    )


def _day(said: object) -> date | None:
    """Return a day written YYYY-MM-DD; None for what is none, 2026-02-30 too: the inbox keeps whatever was posted."""
    if not isinstance(said, str) or re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", said) is None:
        return None
    try:
        return date.fromisoformat(said)
    except ValueError:
        return None


def _beyond_float(value: object) -> bool:
    return isinstance(value, int) and abs(value) > float_info.max


def _alike(case: Case) -> Alike:
    ours, theirs = number(case.crewflow_value), number(case.external_value)
    edited = last_edited(case)
    if ours is None or theirs is None:
        return case.conflict_type, 0.0, 0.0, 0.0 if isnan(edited) else edited
    return case.conflict_type, rounding(ours, theirs), lunch(ours, theirs), 0.0 if isnan(edited) else edited


def _share(counts: Choices, place: int) -> float | None:
    total = sum(counts)
    return counts[place] / total if total else None


def _hours(at: datetime, moment: datetime | None) -> float | None:
    return None if moment is None else (at - moment).total_seconds() / 3600


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)
