"""The people who map: when they sit down to it, what they are shown, and where they go wrong."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from crewflow_assets.twin.parameters import TwinParameters
from crewflow_assets.twin.randomness import Randomness, chance, lognormal, pick
from crewflow_assets.twin.records import Decision, SourceKind
from crewflow_assets.twin.vocabulary import word_list

SITTING = 35
"""Codes mapped in one sitting, at the median: an assumption."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something to map: the right account, what the old system proposes, and accounts that look plausible.

    ``known_at`` is when it first comes up; None means in the first days on the platform.
    """

    kind: SourceKind
    code: str
    truth: str
    suggestion: str | None
    plausible: tuple[str, ...]
    known_at: datetime | None


@dataclass(frozen=True, slots=True)
class Team:
    """The people of a company and how often each errs; the first does most of the work."""

    names: tuple[str, ...]
    mistake_rates: tuple[float, ...]

    def someone(self, rng: np.random.Generator) -> int:
        """Return the number of whoever decides next."""
        return 0 if len(self.names) == 1 or chance(rng, 0.75) else 1 + int(rng.random() * (len(self.names) - 1))


def draw_team(rng: np.random.Generator, size: int, parameters: TwinParameters) -> Team:
    """Return one to three people; the careful and the careless average to the rate of the parameters."""
    number = 1 + (size > 25) + (size > 90)
    given, surnames = word_list("names")["given"], word_list("names")["surnames"]
    names = tuple(f"{pick(rng, given)} {pick(rng, surnames)}" for _ in range(number))
    rates = tuple(parameters.mistake_rate * (0.5 + rng.random()) for _ in range(number))
    return Team(names, rates)


def decide(
    randomness: Randomness,
    company: str,
    size: int,
    onboarded_at: datetime,
    end: datetime,
    sources: Sequence[Source],
    parameters: TwinParameters,
) -> list[Decision]:
    """Return all decisions on the sources that fall between onboarding and ``end``, by time."""
    team = draw_team(randomness.generator(company, "team"), size, parameters)
    moments = _moments(randomness.generator(company, "sittings"), sources, onboarded_at, parameters)
    decisions: list[Decision] = []
    for source in sources:
        if (at := moments.get((source.kind, source.code))) is None:
            continue
        rng = randomness.generator(company, f"decision:{source.kind}:{source.code}")
        decisions += _decisions(rng, source, at, team, parameters)
    return sorted((each for each in decisions if each.at < end), key=lambda each: (each.at, each.source_code))


def _decisions(
    rng: np.random.Generator, source: Source, at: datetime, team: Team, parameters: TwinParameters
) -> Iterator[Decision]:
    who = team.someone(rng)
    wrong = chance(rng, team.mistake_rates[who])
    hasty, found = chance(rng, parameters.haste_share), chance(rng, parameters.late_fix_share)
    believed = source.truth
    if wrong and hasty and source.suggestion not in (None, source.truth):
        believed = str(source.suggestion)
    elif wrong and source.plausible:
        believed = pick(rng, source.plausible)
    accepted = source.suggestion in (None, believed)
    yield Decision(
        at=at,
        kind=source.kind,
        source_code=source.code,
        action="accept" if accepted else "correct",
        target_key=believed,
        suggested_key=source.suggestion,
        decided_by=team.names[who],
    )
    if believed != source.truth and found:
        later = at + timedelta(days=max(1.0, lognormal(rng, parameters.fix_delay_days, 0.7)))
        yield Decision(
            at=_in_working_hours(later, rng.random()),
            kind=source.kind,
            source_code=source.code,
            action="correct",
            target_key=source.truth,
            suggested_key=None,
            decided_by=team.names[0],
        )


def _moments(
    rng: np.random.Generator, sources: Sequence[Source], onboarded_at: datetime, parameters: TwinParameters
) -> Mapping[tuple[SourceKind, str], datetime]:
    """Return when each source is decided: the first ones in a burst of sittings, the others as they come up."""
    moments: dict[tuple[SourceKind, str], datetime] = {}
    first = [source for source in sources if source.known_at is None]
    at = _in_working_hours(onboarded_at + timedelta(hours=3 + 30 * rng.random()), rng.random())
    gap_days = lognormal(rng, parameters.burst_days, 0.6) / max(1.0, len(first) / SITTING)
    left = 0
    for source in first:
        if left == 0:
            left = max(5, int(lognormal(rng, SITTING, 0.5)))
            if moments:
                at = _in_working_hours(at + timedelta(days=1 + gap_days * rng.standard_exponential()), rng.random())
        at += timedelta(seconds=1 + lognormal(rng, parameters.seconds_per_decision, 0.8))
        moments[source.kind, source.code] = at
        left -= 1
    for source in sources:
        if source.known_at is not None:
            known = max(source.known_at, onboarded_at) + timedelta(days=0.5 + 4 * rng.standard_exponential())
            moments[source.kind, source.code] = _in_working_hours(known, rng.random())
    return moments


def _in_working_hours(moment: datetime, share: float) -> datetime:
    """Return a time of a weekday's 13:30 to 21:30 UTC, on the first such day that begins after the moment's."""
    day = moment.replace(hour=13, minute=30, second=0, microsecond=0)
    if day < moment:
        day += timedelta(days=1)
    day += timedelta(days=max(0, 7 - day.weekday()) if day.weekday() >= 5 else 0)
    return day + timedelta(hours=8 * share)
