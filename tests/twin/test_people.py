from collections import defaultdict
from dataclasses import replace
from datetime import datetime

import pytest

from crewflow_assets.twin.parameters import DEFAULTS
from crewflow_assets.twin.records import Company, Decision, SourceKey
from crewflow_assets.twin.world import build_world
from tests.twin.conftest import SEED


def _by_source(company: Company) -> dict[SourceKey, list[Decision]]:
    found: dict[SourceKey, list[Decision]] = defaultdict(list)
    for decision in company.decisions:
        found[decision.kind, decision.source_code].append(decision)
    return found


def test_decisions_lie_between_onboarding_and_the_end_in_order(world: list[Company], end: datetime) -> None:
    for company in world:
        moments = [decision.at for decision in company.decisions]
        assert moments == sorted(moments)
        assert all(company.onboarded_at < at < end for at in moments), company.id
        assert all(at.utcoffset() is not None and at.weekday() < 5 for at in moments), company.id


def test_decisions_are_about_sources_and_accounts_that_exist(world: list[Company]) -> None:
    for company in world:
        keys = {account.key for account in company.chart}
        for decision in company.decisions:
            assert (decision.kind, decision.source_code) in company.truth
            assert decision.target_key in keys
            assert decision.suggested_key is None or decision.suggested_key in keys


def test_accept_and_correct_mean_what_they_say(world: list[Company]) -> None:
    for company in world:
        for decisions in _by_source(company).values():
            first, *later = decisions
            if first.action == "accept":
                assert first.suggested_key in (None, first.target_key)
            else:
                assert first.suggested_key not in (None, first.target_key)
            standing = first.target_key
            for decision in later:
                assert decision.action == "correct"
                assert decision.target_key != standing
                standing = decision.target_key


def test_people_err_at_the_rate_of_the_parameters(world: list[Company]) -> None:
    wrong = first = found = 0
    for company in world:
        for source, decisions in _by_source(company).items():
            first += 1
            if decisions[0].target_key != company.truth[source]:
                wrong += 1
                found += len(decisions) > 1
    expected = DEFAULTS.mistake_rate
    # A person's own rate is 0.5 to 1.5 times the expected one, and is shared by all of the person's decisions.
    assert wrong / first == pytest.approx(expected, abs=4 * (expected / first) ** 0.5)
    assert 0.15 < found / wrong < 0.55


def test_without_mistakes_every_decision_is_true(end: datetime) -> None:
    perfect = replace(DEFAULTS, mistake_rate=0.0)
    for company in build_world(seed=SEED, companies=5, end=end, parameters=perfect):
        assert company.decisions
        assert all(d.target_key == company.truth[d.kind, d.source_code] for d in company.decisions)


def test_haste_follows_the_old_system(end: datetime) -> None:
    hasty = replace(DEFAULTS, mistake_rate=1.0, haste_share=1.0, late_fix_share=0.0)
    followed = misled = 0
    for company in build_world(seed=SEED, companies=8, end=end, parameters=hasty):
        for decision in company.decisions:
            if decision.suggested_key not in (None, company.truth[decision.kind, decision.source_code]):
                misled += 1
                followed += decision.target_key == decision.suggested_key
    assert misled > 50
    assert followed / misled > 0.7  # a person's rate is drawn from half to one and a half of the parameter's


def test_most_codes_are_mapped_in_the_first_weeks_and_some_never(world: list[Company], end: datetime) -> None:
    old = [company for company in world if (end - company.onboarded_at).days > 180]
    new = [company for company in world if (end - company.onboarded_at).days < 15]
    assert len(old) > 20
    assert new
    early = mapped = total = 0
    for company in old:
        firsts = [decisions[0] for key, decisions in _by_source(company).items() if key[0] == "cost_code"]
        early += sum((decision.at - company.onboarded_at).days <= 45 for decision in firsts)
        mapped += len(firsts)
        total += len(company.cost_codes)
    assert 0.6 < early / mapped < 0.95
    assert 0.9 < mapped / total < 0.99
    waiting = [1 - len(_by_source(company)) / len(company.truth) for company in new]
    assert max(waiting) > 0.3


def test_what_people_were_shown_is_the_string_match_and_it_is_sometimes_right(world: list[Company]) -> None:
    shown = right = total = 0
    for company in world:
        for source, decisions in _by_source(company).items():
            total += 1
            if decisions[0].suggested_key is not None:
                shown += 1
                right += decisions[0].suggested_key == company.truth[source]
    assert 0.1 < shown / total < 0.7
    assert 0.1 < right / shown < 0.7
