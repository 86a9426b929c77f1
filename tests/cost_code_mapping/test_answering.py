"""Answers: precedence, the effect of a correction, confidence, reasons, and the withheld share."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from crewflow_assets.cost_code_mapping import answering
from crewflow_assets.cost_code_mapping.answering import answer
from crewflow_assets.cost_code_mapping.context import company_context
from crewflow_assets.cost_code_mapping.lifecycle import CostCodeMapping
from crewflow_assets.cost_code_mapping.model import MappingPredictor
from crewflow_assets.errors import InvalidInputError
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import Answer
from crewflow_assets.store.database import transaction
from tests.cost_code_mapping.asking import BY_WORDS, NAMES, ask, first, map_by_event, request
from tests.cost_code_mapping.deciding import COMPANY, say, take_back
from tests.worlds import ACCOUNTS, QUICKBOOKS, START, mapping_event, post, predictor, write_company

SURE = predictor(name_similarity=5.0, source_covered=2.0, threshold=0.5, certainty=3.0)


@pytest.fixture
def nothing_withheld(company: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0")
    get_settings.cache_clear()


ASKED = [
    {"code": "A", "name": "Rough Electrical Labor"},
    {"code": "B", "name": "Paint"},
    {"code": "C", "name": "Desk"},
]


def test_the_stored_chart_is_asked_where_no_accounts_are_sent(company: str) -> None:
    found = ask()
    assert first(found)["target_code"] == "50100"
    assert first(found)["target_name"] == "Electrical Labor"
    assert len(found.fields["suggestions"]) == 5
    assert len(ask(top_k=50).fields["suggestions"]) == len(ACCOUNTS)
    assert len(ask(top_k=1).fields["suggestions"]) == 1


def test_accounts_that_are_sent_take_the_place_of_the_stored_chart(company: str) -> None:
    found = ask(target_accounts=ASKED)
    assert first(found)["target_code"] == "A"
    assert {s["target_code"] for s in found.fields["suggestions"]} == {"A", "B", "C"}


def test_an_unknown_company_is_answered_from_the_accounts_it_sends(home: object) -> None:
    assert first(ask(company_id=None, target_accounts=ASKED))["target_code"] == "A"


def test_without_accounts_or_a_stored_chart_the_remedy_is_named(company: str) -> None:
    for changes in ({"company_id": "c-9"}, {"company_id": None}, {"target_system": "sage"}):
        with pytest.raises(InvalidInputError) as error:
            ask(**changes)
        [problem] = error.value.problems
        assert problem.loc == (0, "target_accounts")
        assert "import the chart with `crewflow import accounts`" in problem.msg


def test_an_account_that_is_sent_twice_is_refused_by_its_code(company: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        ask(target_accounts=[*ASKED, {"code": "B", "name": "again"}])
    assert "'B' occurs 2 times" in error.value.problems[0].msg


def test_every_bad_request_of_a_batch_is_named_by_its_place(company: str) -> None:
    requests = [request(), request(target_system="sage"), request(), request(company_id="c-9")]
    with pytest.raises(InvalidInputError) as error:
        CostCodeMapping().answer(BY_WORDS, requests)
    assert [problem.loc for problem in error.value.problems] == [(1, "target_accounts"), (3, "target_accounts")]


def test_a_correction_changes_the_very_next_answer(company: str) -> None:
    assert first(ask())["target_code"] == "50100"
    decision = say("correct", "61000")["decision_id"]
    found = ask()
    assert first(found) == {
        "target_code": "61000",
        "target_name": "Office Supplies",
        "confidence": 0.97,
        "reason": "Mapped to 61000 by dana",
        "auto_map": True,
    }
    assert found.fields["method"] == "person"
    take_back(decision)
    assert first(ask())["target_code"] == "50100"


def test_a_correction_changes_the_answer_for_another_code_of_the_same_name(company: str) -> None:
    assert first(ask("01-510"))["target_code"] != "61000"
    say("correct", "61000", code="01-500")  # "Trencher rental", and 01-510 is "TRENCHER - RENTAL"
    found = ask("01-510")
    assert first(found)["target_code"] == "61000"
    assert "1 other code" in first(found)["reason"] or "No strong evidence" in first(found)["reason"]


def test_precedence_is_person_then_memory_then_model_then_ask(nothing_withheld: None) -> None:
    assert ask("01-510", using=SURE).fields["method"] == "model"
    map_by_event("01-500", "61000")
    assert ask("01-510", using=SURE).fields["method"] == "memory"
    assert first(ask("01-510", using=SURE))["auto_map"] is True
    map_by_event("01-510", "50300", 2)
    assert ask("01-510", using=SURE).fields["method"] == "person"
    assert first(ask("01-510", using=SURE))["target_code"] == "50300"
    assert ask("16-100.L", using=BY_WORDS).fields["method"] == "ask"


@pytest.mark.parametrize("method", ["model", "memory"])
def test_what_the_platform_mapped_by_itself_is_not_called_a_persons(nothing_withheld: None, method: str) -> None:
    map_by_event("16-100.L", "61000", method=method, decided_by="crewflow")
    found = ask(using=SURE)
    assert found.fields["method"] == "model"
    assert first(found)["target_code"] == "50100"


def test_a_persons_mapping_to_an_account_that_is_not_asked_about_does_not_answer(company: str) -> None:
    map_by_event("16-100.L", "61000")
    found = ask(target_accounts=ASKED)
    assert first(found)["target_code"] == "A"
    assert found.fields["method"] == "ask"


def test_below_the_threshold_the_platform_asks(nothing_withheld: None) -> None:
    unsure = predictor(name_similarity=5.0, threshold=0.96, certainty=3.0)  # says .953
    found = ask(using=unsure)
    assert (found.fields["method"], first(found)["auto_map"]) == ("ask", False)
    sure = predictor(name_similarity=5.0, threshold=0.95, certainty=3.0)
    assert (ask(using=sure).fields["method"], first(ask(using=sure))["auto_map"]) == ("model", True)


def test_a_lone_account_is_automatic_only_where_the_company_chose_it_before(nothing_withheld: None) -> None:
    lone = [{"code": "61000", "name": "Office Supplies"}]
    found = ask("01-510", using=SURE, target_accounts=lone)
    assert (found.fields["method"], first(found)["auto_map"]) == ("ask", False)
    map_by_event("01-500", "61000")  # of the same name
    found = ask("01-510", using=SURE, target_accounts=lone)
    assert (found.fields["method"], first(found)["auto_map"]) == ("memory", True)


def test_a_chart_shorter_than_any_the_confidence_was_fitted_on_goes_to_a_person(nothing_withheld: None) -> None:
    using = replace(SURE, fewest_candidates=4)
    more = [*ASKED, {"code": "D", "name": "Fuel"}]
    found = ask(using=using, target_accounts=ASKED)
    assert (found.fields["method"], first(found)["auto_map"]) == ("ask", False)
    assert first(found)["reason"] == (
        first(ask(using=SURE, target_accounts=ASKED))["reason"]
        + "; not automatic, as the confidence was hardly tried on fewer than 4 accounts"
    )
    assert found.fields["suggestions"][1:] == ask(using=SURE, target_accounts=ASKED).fields["suggestions"][1:]
    assert ask(using=using, target_accounts=more) == ask(using=SURE, target_accounts=more)
    assert ask(using=using, target_accounts=more).fields["method"] == "model"
    unsure = replace(using, threshold=0.99)
    assert "hardly tried" not in first(ask(using=unsure, target_accounts=ASKED))["reason"], "it is not what decides"


def test_a_name_that_was_mapped_before_is_automatic_on_a_short_chart_too(nothing_withheld: None) -> None:
    using = replace(SURE, fewest_candidates=4)
    short = [{"code": "61000", "name": "Office Supplies"}, {"code": "1", "name": "Trencher rental"}]
    assert ask("01-510", using=using, target_accounts=short).fields["method"] == "ask"
    map_by_event("01-500", "61000")  # of the same name
    found = ask("01-510", using=using, target_accounts=short)
    assert (found.fields["method"], first(found)["target_code"]) == ("memory", "61000")
    assert "hardly tried" not in first(found)["reason"]


def test_only_the_first_suggestion_is_ever_automatic(nothing_withheld: None) -> None:
    assert [s["auto_map"] for s in ask(using=SURE).fields["suggestions"]] == [True] + [False] * 4


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize(
    "using", [BY_WORDS, SURE, predictor(certainty=-3.0), predictor(nearest=9, person_stands=0.7)]
)
def test_confidences_fall_from_the_first_to_the_last_and_add_up_to_one_at_most(
    company: str, using: MappingPredictor, mapped: bool
) -> None:
    map_by_event("01-500", "61000")
    if mapped:
        map_by_event("16-100.L", "40200")
    for code in ("16-100.L", "01-510", "16-300.S"):
        found = [s["confidence"] for s in ask(code, using=using, top_k=50).fields["suggestions"]]
        assert found == sorted(found, reverse=True)
        assert all(0 <= confidence <= 1 for confidence in found)
        assert sum(found) <= 1.001


def test_the_withheld_share_goes_blind_to_a_person_always_the_same_items(company_on_sqlite: str) -> None:
    def ask_for(number: int) -> Answer:
        return ask(f"NEW-{number}", using=SURE, top_k=1)

    found = [ask_for(number) for number in range(1000)]
    withheld = [one for one in found if one.withheld]
    assert 0.03 < len(withheld) / 1000 < 0.07  # 5 % and nearly three standard errors
    for one in withheld:
        assert one.fields["withheld"] is True
        assert one.fields["method"] == "ask"
        assert not any(s["auto_map"] for s in one.fields["suggestions"])
    assert {one.propensity for one in found} == {0.05}
    assert [ask_for(n).withheld for n in range(300)] == [one.withheld for one in found[:300]]
    for one in found:
        if not one.withheld:
            assert (one.fields["method"], first(one)["auto_map"]) == ("model", True)


def test_a_share_of_one_half_withholds_one_half(company_on_sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0.5")
    get_settings.cache_clear()
    found = [ask(f"NEW-{number}", using=SURE) for number in range(400)]
    assert 0.41 < sum(one.withheld for one in found) / 400 < 0.59
    assert found[0].propensity == 0.5


def test_what_would_not_be_automatic_anyway_is_never_withheld(company: str) -> None:
    assert not any(ask(f"NEW-{number}", using=BY_WORDS).withheld for number in range(100))


def test_what_a_person_decided_is_never_withheld(company: str) -> None:
    for code in NAMES:
        map_by_event(code, "61000")
    assert not any(ask(code, using=SURE).withheld for code in NAMES)


def test_the_context_of_a_company_is_kept_until_something_changes(company: str) -> None:
    one = company_context(COMPANY, QUICKBOOKS)
    assert company_context(COMPANY, QUICKBOOKS) is one
    map_by_event("01-500", "61000")
    other = company_context(COMPANY, QUICKBOOKS)
    assert other is not one
    assert other.standing.keys() == {("cost_code", "01-500")}
    assert one.standing == {}


def test_the_heading_of_a_stored_item_is_known_without_being_sent(company: str) -> None:
    map_by_event("16-100.L", "40200")
    by_group = predictor(share_group=9.0)
    assert first(ask("16-200.M", using=by_group))["target_code"] == "40200"
    assert first(ask("NEW", using=by_group, cost_code_name="Other"))["target_code"] == "50100"


def test_a_batch_answers_what_single_requests_would(company_on_sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with transaction() as session:
        write_company(session, "c-2", accounts=ACCOUNTS[2:])
        post(session, mapping_event("c-2", "01-500", "61000", START + timedelta(hours=1)))
    for code, target in {"16-200.L": "50100", "01-500": "50400", "16-100.M": "50200", "01-900": "61000"}.items():
        map_by_event(code, target)
    map_by_event("16-300.S", "50300", 2, method="model", decided_by="crewflow")
    requests = [
        *(request(code) for code in NAMES),
        *(request(code, company_id="c-2") for code in NAMES),
        *(request(f"NEW-{i}", cost_code_name=f"{name} {i}") for i, name in enumerate(NAMES.values())),
        request("NEW-502", target_accounts=ASKED, cost_code_group="16 Electrical"),
        request("01-510", target_accounts=ASKED, company_id=None),
        request("P-1", kind="project", cost_code_name="Mall of Springfield", top_k=50),
        request("16-100.L"),
    ]
    of_text = {"name_similarity": 3.0, "encoder_name": 2.0, "code_match": 1.0, "cost_type_match": 1.0, "adapted": 0.2}
    of_history = {"log_share_group": 0.5, "nearest": 2.0, "nearest_spelling": 1.0, "neighbours": 0.4, "memory": 1.0}
    using = predictor(threshold=0.5, certainty=1.0, **of_text, **of_history)
    singly = [answer(using, [one])[0] for one in requests]
    for most_cells in (answering.MOST_CELLS, 30):  # all of a company at once, or two or three at a time
        monkeypatch.setattr(answering, "MOST_CELLS", most_cells)
        for alone, together in zip(singly, answer(using, requests), strict=True):
            assert without_confidence(together) == without_confidence(alone)
            assert confidences(together) == pytest.approx(confidences(alone), abs=2e-4)  # four places are given
    assert {one.fields["method"] for one in singly} == {"person", "memory", "model"}


def without_confidence(found: Answer) -> dict[str, Any]:
    suggestions = [{**one, "confidence": None} for one in found.fields["suggestions"]]
    return {**found.fields, "suggestions": suggestions, "drawn": (found.withheld, found.propensity)}


def confidences(found: Answer) -> list[float]:
    return [one["confidence"] for one in found.fields["suggestions"]]
