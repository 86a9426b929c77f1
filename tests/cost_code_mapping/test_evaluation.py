"""What is measured: on test companies alone, beside the best baseline, with intervals."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from crewflow_assets.cost_code_mapping.evaluation import BASELINES, evaluate, score, worst_mistakes
from crewflow_assets.cost_code_mapping.features import FEATURES
from crewflow_assets.cost_code_mapping.model import ALL_FEATURES, MappingPredictor
from tests.worlds import predictor

GOOD = predictor(name_similarity=5.0, threshold=0.8, certainty=2.0)
BASE: Mapping[str, MappingPredictor] = {
    "always the last": predictor(code_match=5.0, certainty=2.0),
    "always wrong": predictor(nearest=5.0),
}


def table(
    right: int,
    *,
    companies: int = 4,
    queries: int = 5,
    fold: str = "test",
    variant: str = "replay",
    share: float = 1.0,
) -> pd.DataFrame:
    """Return queries of 6 candidates; in the first ``right`` ones of a company, the name points to the right one."""
    zeros: dict[str, Any] = dict.fromkeys(FEATURES, 0.0)
    rows = []
    for company in range(companies):
        for query in range(queries):
            for candidate in range(6):
                wanted = 2
                pointed = wanted if query < right else 1
                rows.append(
                    zeros
                    | {
                        "query": f"{company}/{query}/{variant}/{share}",
                        "company_id": f"{fold}-{company}",
                        "industry": "electrical" if company % 2 else "roofing",
                        "fold": fold,
                        "source_code": f"code-{query}",
                        "source_name": f"name {query}",
                        "variant": variant,
                        "share": share,
                        "n_history": query,
                        "candidate": str(candidate),
                        "candidate_name": f"account {candidate}",
                        "candidate_text": f"account {candidate}",
                        "label": int(candidate == wanted),
                        "stood": True,
                        "name_similarity": float(candidate == pointed),
                        "code_match": float(candidate == 5) if query else float(candidate == wanted),
                        "nearest": float(candidate == 0),
                    }
                )
    return pd.DataFrame(rows)


def both(right: int) -> pd.DataFrame:
    """Return the table as it is read: each decision with its whole history and with a part of it."""
    thinned = [table(number, variant="thinned", share=share) for number, share in ((1, 0.0), (2, 0.25))]
    return pd.concat([table(right), *thinned], ignore_index=True)


def test_figures_stand_beside_the_best_baseline_on_the_same_rows() -> None:
    found = evaluate(GOOD, BASE, both(4))
    top1 = found.figure("top1")
    assert (top1.value, top1.low, top1.high, top1.n) == (0.8, 0.8, 0.8, 20)
    assert (top1.baseline, top1.baseline_value) == ("always the last", 0.2)
    assert found.figure("top1_gain").value == pytest.approx(0.6)
    assert found.figure("top5").value == 1.0
    assert found.figure("ece").value == pytest.approx(0.8808 - 0.8, abs=0.0001)
    assert found.figure("auto_map_coverage").value == 1.0
    assert found.figure("auto_map_right").value == 0.8


def test_only_test_companies_are_measured() -> None:
    mixed = pd.concat([both(5), table(0, fold="train"), table(0, fold="train", variant="thinned")], ignore_index=True)
    assert evaluate(GOOD, BASE, mixed).figure("top1").value == 1.0


def test_without_test_companies_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="no test companies; import more"):
        evaluate(GOOD, BASE, table(5, fold="train"))


def test_where_nothing_is_automatic_the_report_says_none_and_not_zero() -> None:
    found = evaluate(predictor(name_similarity=5.0, threshold=None), BASE, both(5))
    assert found.figure("auto_map_coverage").value == 0
    assert found.figure("auto_map_right").value is None


def test_the_plots_and_tables_that_people_judge_by_are_there() -> None:
    found = evaluate(GOOD, BASE, both(4))
    assert set(found.plots) == {"reliability", "precision_coverage", "top1_by_industry", "cold_start"}
    assert all(png.startswith(b"\x89PNG") for png in found.plots.values())
    assert set(found.tables) == {"worst_mistakes", "by_company", "cold_start", "slices"}
    by_company = found.tables["by_company"]
    assert by_company["company"].tolist() == [f"test-{i}" for i in range(4)]
    assert by_company["n"].tolist() == [5] * 4
    assert by_company["top1"].tolist() == [0.8] * 4


def test_little_history_is_measured_apart_for_ours_and_the_best_baseline() -> None:
    found = evaluate(GOOD, BASE, both(4))
    assert found.figure("top1").n == 20  # the thinned rows are no part of the figures
    curve = found.tables["cold_start"]
    assert curve[["method", "share", "n", "top1"]].to_dict("records") == [
        {"method": "ours", "share": 0.0, "n": 20, "top1": 0.2},
        {"method": "ours", "share": 0.25, "n": 20, "top1": 0.4},
        {"method": "always the last", "share": 0.0, "n": 20, "top1": 0.2},
        {"method": "always the last", "share": 0.25, "n": 20, "top1": 0.2},
    ]
    ours = curve.iloc[1]
    assert (ours["automatic"], ours["right"]) == (1.0, 0.4)
    assert ours["ece"] == pytest.approx(0.881 - 0.4, abs=0.001)


def test_the_worst_mistakes_name_what_was_suggested_and_what_was_decided() -> None:
    found = worst_mistakes(GOOD, table(4))
    assert len(found) == 4
    assert found.iloc[0].to_dict() == {
        "company": "test-0",
        "code": "code-4",
        "name": "name 4",
        "suggested": "1 account 1",
        "decided": "2 account 2",
        "confidence": 0.881,
        "history": 4,
    }
    assert worst_mistakes(GOOD, table(5)).empty


def test_scores_are_in_the_order_of_the_queries() -> None:
    found = score(GOOD, table(3, companies=2))
    assert found.first_right.tolist() == [1, 1, 1, 0, 0] * 2
    assert found.in_five.tolist() == [1] * 10
    assert found.companies.tolist() == ["test-0"] * 5 + ["test-1"] * 5
    assert found.automatic.all()


def test_every_baseline_is_made_of_known_features() -> None:
    assert all(set(using) <= set(ALL_FEATURES) for using in BASELINES.values())


def test_what_is_counted_as_automatic_is_what_is_answered_so() -> None:
    rows = table(right=5)
    assert score(GOOD, rows).automatic.all()
    fewer = replace(GOOD, fewest_candidates=7)
    assert not score(fewer, rows).automatic.any()
    rows.loc[rows["query"].str.startswith("0/") & (rows["label"] == 1), "memory"] = 1.0
    assert score(fewer, rows).automatic.tolist() == [company == "test-0" for company in score(fewer, rows).companies]
