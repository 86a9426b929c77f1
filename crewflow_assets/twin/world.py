"""The simulated world of mappings: companies with their charts, lists and histories, and the truth behind them."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np

from crewflow_assets.twin.charts import Chart, build_chart
from crewflow_assets.twin.companies import Profile, draw_profile
from crewflow_assets.twin.conventions import JOB, OVERHEAD, Convention, draw_convention
from crewflow_assets.twin.cost_codes import Line, ListedCode, draw_cost_codes
from crewflow_assets.twin.income import OTHER_INCOME, IncomePlan, Job, draw_income_plan, draw_jobs
from crewflow_assets.twin.parameters import DEFAULTS, TwinParameters
from crewflow_assets.twin.people import Source, decide
from crewflow_assets.twin.randomness import Randomness, chance, pick
from crewflow_assets.twin.records import Account, Company, CostCode, Decision, Project, SourceKey
from crewflow_assets.twin.suggestions import string_matches
from crewflow_assets.twin.vocabulary import COST_TYPES

__all__ = ["Account", "Company", "CostCode", "Decision", "Project", "build_company", "build_world"]

SETTLING = timedelta(days=14)
"""After this, what comes up is no part of the onboarding."""


def build_world(
    *, seed: int, companies: int, end: datetime, parameters: TwinParameters | None = None
) -> Iterator[Company]:
    """Yield the companies "c-1", "c-2" … of the world of a seed, whose history ends at ``end`` (aware).

    A company does not depend on how many others there are.

    Raises:
        ValueError: ``end`` has no timezone.
    """
    if end.tzinfo is None:
        raise ValueError(f"the end {end.isoformat()} has no timezone; pass an aware datetime")
    for index in range(1, companies + 1):
        yield build_company(Randomness(seed), index, end, parameters or DEFAULTS)


def build_company(randomness: Randomness, index: int, end: datetime, parameters: TwinParameters) -> Company:
    """Return one company of the world."""
    profile = draw_profile(randomness, index, end, parameters)
    convention = draw_convention(
        randomness.generator(profile.id, "convention"),
        profile.convention,
        profile.core,
        profile.performed,
        profile.service,
        parameters,
    )
    income = draw_income_plan(randomness.generator(profile.id, "income"), profile)
    chart = build_chart(randomness.generator(profile.id, "chart"), profile, convention, income)
    listed = draw_cost_codes(randomness.generator(profile.id, "cost codes"), profile, parameters)
    jobs = draw_jobs(randomness.generator(profile.id, "projects"), profile, end)
    sources = [
        *_code_sources(randomness, profile, convention, chart, listed, jobs, parameters, end),
        *_project_sources(profile, income, chart, jobs, parameters),
    ]
    return Company(
        id=profile.id,
        name=profile.name,
        industry=profile.industry,
        size=profile.size,
        system=profile.system,
        convention=profile.convention,
        onboarded_at=profile.onboarded_at,
        chart=chart.accounts,
        cost_codes=tuple(each.code for each in listed),
        projects=tuple(job.project for job in jobs),
        decisions=tuple(
            decide(
                randomness,
                profile.id,
                profile.size,
                profile.onboarded_at,
                end,
                _asked(randomness, profile, sources, parameters),
                parameters,
            )
        ),
        truth={_key(source): source.truth for source in sources},
    )


def _code_sources(
    randomness: Randomness,
    profile: Profile,
    convention: Convention,
    chart: Chart,
    listed: Sequence[ListedCode],
    jobs: Sequence[Job],
    parameters: TwinParameters,
    end: datetime,
) -> Iterator[Source]:
    matches = string_matches([each.code.name for each in listed], chart.costs)
    for each, (match, score) in zip(listed, matches, strict=True):
        rng = randomness.generator(profile.id, f"source:{each.code.code}")
        right = chart.first(convention.roles(each.line.concept, each.line.cost_type, each.line.service))
        if chance(rng, parameters.odd_share):
            right = pick(rng, chart.odd)
        late = chance(rng, parameters.late_share)
        yield Source(
            kind="cost_code",
            code=each.code.code,
            truth=right.key,
            suggestion=match if score >= parameters.suggestion_threshold else None,
            plausible=_plausible(convention, chart, each.line, right),
            known_at=_comes_up(rng, profile, jobs, end) if late else None,
        )


def _comes_up(rng: np.random.Generator, profile: Profile, jobs: Sequence[Job], end: datetime) -> datetime:
    """Return the start of one of the later projects; without one, any moment after the onboarding."""
    settled = profile.onboarded_at + SETTLING
    later = [job.starts for job in jobs if job.starts > settled]
    return pick(rng, later) if later else settled + max(end - settled, SETTLING) * rng.random()


def _project_sources(
    profile: Profile, income: IncomePlan, chart: Chart, jobs: Sequence[Job], parameters: TwinParameters
) -> Iterator[Source]:
    matches = string_matches([f"{job.project.name} {job.project.project_type or ''}" for job in jobs], chart.incomes)
    for job, (match, score) in zip(jobs, matches, strict=True):
        right = chart.first(income.roles(job.project_type, job.contract))
        others = [account for account in chart.incomes if account is not right]
        spare = chart.by_role.get(OTHER_INCOME)
        yield Source(
            kind="project",
            code=job.project.code,
            truth=right.key,
            suggestion=match if score >= parameters.suggestion_threshold else None,
            plausible=tuple(account.key for account in others if account is not spare),
            known_at=job.starts if job.starts > profile.onboarded_at else None,
        )


def _plausible(convention: Convention, chart: Chart, line: Line, right: Account) -> tuple[str, ...]:
    """Return wrong accounts that a person could take for the right one: by another type of cost, or another cut."""
    concept = line.concept
    group = convention.groups[concept.trade]
    roles = [
        *(next(iter(convention.roles(concept, kind))) for kind in COST_TYPES),
        *(("type", kind) for kind in COST_TYPES),
        ("trade", group),
        ("phase", concept.phase),
        ("support", concept.system),
        ("overhead", concept.system),
        JOB,
        OVERHEAD,
    ]
    found = {account.key: None for role in roles if (account := chart.by_role.get(role))}
    return tuple(key for key in found if key != right.key)


def _asked(
    randomness: Randomness, profile: Profile, sources: Sequence[Source], parameters: TwinParameters
) -> list[Source]:
    """Return the sources that are put to a person at all; the others wait unmapped."""
    return [
        source
        for source in sources
        if randomness.uniform(profile.id, f"asked:{source.kind}:{source.code}") >= parameters.unmapped_share
    ]


def _key(source: Source) -> SourceKey:
    return source.kind, source.code
