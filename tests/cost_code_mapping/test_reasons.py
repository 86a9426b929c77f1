"""The reason of a suggestion names the evidence that counted, and no other company's."""

from datetime import timedelta

import numpy as np
import pytest

from crewflow_assets.cost_code_mapping.answering import Evidence, reason
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare
from crewflow_assets.cost_code_mapping.contract import TargetAccount
from crewflow_assets.cost_code_mapping.history import History
from crewflow_assets.cost_code_mapping.model import ALL_FEATURES
from crewflow_assets.store.database import transaction
from tests.cost_code_mapping.asking import ask, first, map_by_event
from tests.worlds import ACCOUNTS, START, mapping_event, post, predictor, write_company


@pytest.mark.parametrize(
    ("weights", "history", "expected"),
    [
        ({"name_similarity": 5.0}, {}, "“electrical labor” stands in the account's name"),
        ({"cost_type_match": 5.0}, {}, "A labor code, and an account for labor"),
        ({"memory": 9.0, "share_group": 1.0}, {"16-200.L": "50100"}, "Similar to 1 other code under “16 Electrical”"),
        (
            {"share_prefix": 9.0},
            {"16-200.L": "50100", "16-100.M": "50100"},
            "Similar to 2 other codes beginning with 16",
        ),
        ({"used_before": 9.0}, {"01-900": "50100"}, "You mapped 1 other code to 50100"),
    ],
)
def test_the_reason_names_the_evidence_that_counted(
    company: str, weights: dict[str, float], history: dict[str, str], expected: str
) -> None:
    for code, target in history.items():
        map_by_event(code, target)
    group = "16 Electrical" if "memory" in weights else None
    sent = [account.model_dump() for account in stored_accounts()]
    found = ask(
        "NEW-1" if "used_before" in weights else "16-999",
        using=predictor(**weights),
        target_accounts=sent,
        cost_code_group=group,
    )
    assert first(found)["target_code"] == "50100"
    assert first(found)["reason"].startswith(expected), first(found)["reason"]


OTHERS_SAY = "Other companies book codes like this to such accounts"


@pytest.mark.parametrize(
    ("by_others", "by_words", "by_type", "said"),
    [
        (1.0, 0.5, 0.5, True),
        (1.0, -2.0, -2.0, True),
        (1.0, 1.5, 0.0, False),
        (1.0, 0.0, 1.5, False),
        (0.7, 0.0, 0.0, True),
        (0.6, 0.0, 0.0, False),  # less than doubled the odds
        (0.0, -1.0, -1.0, False),
        (-0.5, -1.0, -1.0, False),  # the least of what speaks against it
        (-1.0, -3.0, -2.0, False),
    ],
)
def test_other_companies_are_named_only_where_they_speak_for_the_account(
    by_others: float, by_words: float, by_type: float, said: bool
) -> None:
    [query] = prepare([Source("cost_code", "X-1", "Desk", None, None, None, "electrical")])
    chart = Chart([Target("A", "Paint", None, None), Target("B", "Travel", None, None)])
    features = np.zeros((2, len(ALL_FEATURES)), np.float32)
    for name, moved in (("adapted", by_others), ("source_covered", by_words), ("cost_type_match", by_type)):
        features[:, ALL_FEATURES.index(name)] = moved, -moved
    evidence = Evidence(
        query, chart, History.of([], [], chart), np.zeros(0, bool), features, np.ones(len(ALL_FEATURES), np.float32)
    )
    expected = OTHERS_SAY if said else "No strong evidence; the best of 2 accounts"
    assert reason(evidence, 0) == expected


def stored_accounts() -> list[TargetAccount]:
    return [TargetAccount(code=str(a.code), name=a.name, type=a.type, parent=a.parent) for a in ACCOUNTS]


def test_reasons_speak_of_the_companys_own_history_alone(company: str) -> None:
    with transaction() as session:
        write_company(session, "c-2")
        post(session, mapping_event("c-2", "01-500", "61000", START + timedelta(hours=1)))
    found = ask("01-510", using=predictor(memory=9.0, nearest=9.0, used_before=9.0), top_k=50)
    assert first(found)["target_code"] == ACCOUNTS[0].code  # nothing is known, so the order of the chart stands
    assert not any("You mapped" in s["reason"] for s in found.fields["suggestions"])


def weighing(**weights: float) -> np.ndarray:
    return np.array([weights.get(name, 0.0) for name in ALL_FEATURES], np.float32)


def said_of(
    source: Source, targets: list[Target], *, mapped: dict[Source, str] | None = None, **weights: float
) -> str:
    """Return the reason for the first of the targets; what was mapped before is by source."""
    chart, using = Chart(targets), predictor(**weights)
    [query] = prepare([source])
    before = mapped or {}
    history = History.of(prepare(list(before)), list(before.values()), chart)
    features = using.features(query, chart, history)
    return reason(Evidence(query, chart, history, np.ones(len(before), bool), features, weighing(**weights)), 0)


def code(name: str) -> Source:
    return Source("cost_code", "X-1", name, None, None, None, "electrical")


def project(name: str, *, number: str, group: str | None = None) -> Source:
    return Source("project", number, name, None, group, None, "electrical")


@pytest.mark.parametrize(
    ("name", "parent", "expected"),
    [
        ("Materials", "Job Expenses", "“job” stands in the name of the account's parent"),
        ("Job Materials", "Expenses", "“job” stands in the account's name"),
        ("Trailer", "Job Expenses", "“job trailer” stands in the account's name and its parent's"),
    ],
)
def test_a_word_of_the_parents_name_is_not_called_a_word_of_the_accounts_name(
    name: str, parent: str, expected: str
) -> None:
    targets = [Target("1", name, None, parent), Target("2", "Paint", None, None)]
    assert said_of(code("Job trailer"), targets, source_covered=5.0, context_similarity=5.0) == expected


@pytest.mark.parametrize(
    ("name", "account", "expected"),
    [
        ("Crane", "Tools", "An equipment code, and an account for equipment"),
        ("Office", "Insurance", "An overhead code, and an account for overhead"),
        ("Crew", "Wages", "A labor code, and an account for labor"),
    ],
)
def test_the_sentence_about_the_cost_type_is_english(name: str, account: str, expected: str) -> None:
    targets = [Target("1", account, None, None), Target("2", "Paint", None, None)]
    assert said_of(code(name), targets, cost_type_match=5.0) == expected


CREW = project("Crew house", number="P-2")
IN_THE_NORTH = tuple(project(f"Mall {number}", number=f"P-{number}", group="North") for number in (4, 5))


@pytest.mark.parametrize(
    ("weights", "mapped", "expected"),
    [
        ({"memory": 9.0}, (CREW, *IN_THE_NORTH), "You mapped 1 other project of the same name to 1"),
        ({"share_group": 9.0}, IN_THE_NORTH, "Similar to 2 other projects under “North” you mapped to 1"),
        ({"share_prefix": 9.0}, (project("School", number="P-3"),), "Similar to 1 other project beginning with P"),
        ({"used_before": 9.0}, (project("School", number="S-3"),), "You mapped 1 other project to 1"),
        ({"cost_type_match": 9.0}, (), "A labor project, and an account for labor"),
    ],
)
def test_projects_are_not_called_codes(weights: dict[str, float], mapped: tuple[Source, ...], expected: str) -> None:
    targets = [Target("1", "Wages", None, None), Target("2", "Zinc", None, None)]
    asked = project("Crew house", number="P-1", group="North")
    assert said_of(asked, targets, mapped=dict.fromkeys(mapped, "1"), **weights).startswith(expected)


def test_the_only_account_is_not_called_the_best_of_them() -> None:
    assert said_of(code("Crane"), [Target("1", "Paint", None, None)]) == "No strong evidence; the only account"
