from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from crewflow_assets.twin.charts import SAGE_TYPES, XERO_TYPES
from crewflow_assets.twin.companies import Profile, draw_profile
from crewflow_assets.twin.conventions import CONVENTIONS
from crewflow_assets.twin.cost_codes import draw_cost_codes
from crewflow_assets.twin.numbering import CODE_SCHEMES, KINDS
from crewflow_assets.twin.parameters import DEFAULTS, WINDOW_DAYS
from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.records import Company
from crewflow_assets.twin.suggestions import string_matches
from crewflow_assets.twin.world import build_world
from tests.twin.conftest import SEED


def test_a_world_repeats_by_its_seed_and_differs_by_seed(world: list[Company], end: datetime) -> None:
    assert list(build_world(seed=SEED, companies=6, end=end)) == world[:6]
    others = build_world(seed=SEED + 1, companies=6, end=end)
    assert all(one.chart != other.chart for one, other in zip(world[:6], others, strict=True))


def test_a_company_does_not_depend_on_how_many_there_are(world: list[Company], end: datetime) -> None:
    *_, third = build_world(seed=SEED, companies=3, end=end)
    assert third == world[2]


def test_the_length_of_the_history_does_not_change_with_its_end(world: list[Company], end: datetime) -> None:
    later = next(iter(build_world(seed=SEED, companies=1, end=end + timedelta(days=3))))
    assert later.onboarded_at - world[0].onboarded_at == timedelta(days=3)
    assert later.cost_codes == world[0].cost_codes


def test_an_end_without_a_timezone_is_refused() -> None:
    with pytest.raises(ValueError, match="timezone"):
        next(build_world(seed=1, companies=1, end=datetime(2025, 1, 1)))  # noqa: DTZ001


def test_keys_are_unique_and_lists_of_a_believable_length(world: list[Company]) -> None:
    for company in world:
        codes = [code.code.casefold() for code in company.cost_codes]
        keys = [account.key.casefold() for account in company.chart]
        paths = [account.full_name.casefold() for account in company.chart]
        projects = [project.code.casefold() for project in company.projects]
        for unique in (codes, keys, paths, projects):
            assert [key for key, count in Counter(unique).items() if count > 1] == [], company.id
        assert 40 <= len(codes) <= 260, company.id
        assert 40 <= len(keys) <= 260, company.id
        assert 5 <= len(projects) <= 40, company.id


def test_texts_are_neither_empty_nor_padded(world: list[Company]) -> None:
    for company in world:
        texts = [each for code in company.cost_codes for each in (code.code, code.name, code.description, code.group)]
        texts += [each for project in company.projects for each in (project.code, project.name, project.customer)]
        texts += [each for account in company.chart for each in (account.code, account.name, account.type)]
        for text in texts:
            assert text is None or (text and text == " ".join(text.split())), (company.id, text)


def test_charts_nest_as_quickbooks_does(world: list[Company]) -> None:
    nested = 0
    for company in world:
        by_path = {account.full_name: account for account in company.chart}
        for account in company.chart:
            assert ":" not in account.name
            if account.parent is None:
                assert account.full_name == account.name
                continue
            nested += 1
            assert company.system == "quickbooks"
            assert account.full_name == f"{account.parent}:{account.name}"
            assert by_path[account.parent].type == account.type
    assert nested > 100


def test_a_chart_is_a_whole_ledger_with_types_in_the_words_of_its_system(world: list[Company]) -> None:
    words = {
        "quickbooks": set(KINDS),
        "sage": {SAGE_TYPES.get(kind, kind) for kind in KINDS},
        "xero": {XERO_TYPES.get(kind, kind) for kind in KINDS},
    }
    for company in world:
        types = {account.type for account in company.chart}
        assert types <= words[company.system], company.id
        assert len(types) >= 8, company.id
        assert {"quickbooks": "Income", "sage": "Income", "xero": "Revenue"}[company.system] in types


def test_the_truth_covers_every_source_with_an_account_of_the_chart(world: list[Company]) -> None:
    for company in world:
        sources = {("cost_code", code.code) for code in company.cost_codes}
        sources |= {("project", project.code) for project in company.projects}
        assert set(company.truth) == sources, company.id
        kinds = {account.key: account.type for account in company.chart}
        assert set(company.truth.values()) <= set(kinds), company.id
        for (kind, _), key in company.truth.items():
            assert (kinds[key] in ("Income", "Revenue")) == (kind == "project"), (company.id, key)


def test_each_system_convention_scheme_and_way_of_numbering_occurs(world: list[Company], end: datetime) -> None:
    assert {company.system for company in world} == {"quickbooks", "sage", "xero"}
    assert {company.convention for company in world} == set(CONVENTIONS)
    numbered = {company.chart[0].code is not None for company in world if company.system == "quickbooks"}
    assert numbered == {True, False}
    shapes = Counter(_shape(company.cost_codes[len(company.cost_codes) // 2].code) for company in world)
    assert len(shapes) >= len(CODE_SCHEMES), shapes
    assert len({company.industry for company in world}) >= 12


def _shape(code: str) -> str:
    return "".join("9" if c.isdigit() else "A" if c.isalpha() else c for c in code)


def test_the_same_cost_goes_to_accounts_of_different_kinds_in_different_companies(
    world: list[Company], end: datetime
) -> None:
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    holders: Counter[tuple[str, str]] = Counter()
    for company, profile in zip(world, _profiles(len(world), end), strict=True):
        if company.system != "quickbooks":
            continue
        by_key = {account.key: account for account in company.chart}
        rng = Randomness(SEED).generator(company.id, "cost codes")
        for listed in draw_cost_codes(rng, profile, DEFAULTS):
            what = (listed.line.concept.id, listed.line.cost_type)
            places[what].add(by_key[company.truth["cost_code", listed.code.code]].type)
            holders[what] += 1
    common = [what for what, count in holders.items() if count >= 8]
    split = [what for what in common if len(places[what]) >= 2]
    assert len(common) > 50
    assert len(split) > len(common) / 3


def _profiles(number: int, end: datetime) -> list[Profile]:
    return [draw_profile(Randomness(SEED), index, end, DEFAULTS) for index in range(1, number + 1)]


def test_the_names_alone_do_not_give_the_account_away(world: list[Company]) -> None:
    right = asked = 0
    for company in world:
        matches = string_matches([code.name for code in company.cost_codes], company.chart)
        pairs = zip(company.cost_codes, matches, strict=True)
        right += sum(key == company.truth["cost_code", code.code] for code, (key, _) in pairs)
        asked += len(company.cost_codes)
    assert 0.03 < right / asked < 0.5


def test_companies_come_over_the_whole_window(world: list[Company], end: datetime) -> None:
    ages = sorted((end - company.onboarded_at).days for company in world)
    assert 0 <= ages[0] < 15
    assert WINDOW_DAYS - 60 < ages[-1] <= WINDOW_DAYS
    assert sum(age < 21 for age in ages) < len(ages) / 2


def test_parameters_change_the_world(end: datetime) -> None:
    numbered = replace(DEFAULTS, account_numbers_share=1.0, quickbooks_share=1.0, weight_by_phase=1e6)
    for company in build_world(seed=SEED, companies=5, end=end, parameters=numbered):
        assert company.system == "quickbooks"
        assert company.convention == "by_phase"
        assert all(account.code for account in company.chart)
