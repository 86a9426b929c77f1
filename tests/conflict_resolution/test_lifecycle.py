"""Conflict resolution from decided conflicts to answers."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.case import Case
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS, ConflictRequest, ConflictResponse
from crewflow_assets.conflict_resolution.features import FEATURES, features_of
from crewflow_assets.conflict_resolution.history import Decided
from crewflow_assets.conflict_resolution.lifecycle import ConflictResolution, feature_table
from crewflow_assets.conflict_resolution.model import ConflictPredictor
from crewflow_assets.conflict_resolution.model_spec import CONFLICT_RESOLUTION
from crewflow_assets.errors import InvalidInputError
from crewflow_assets.evaluation.promotion import check_gates
from tests.conflict_resolution.deciding import COMPANY, automatic, decide, report

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def decided(companies: int = 60, each: int = 20) -> list[Decided]:
    """People take the side that was edited last; one in thirty errs."""
    random = np.random.default_rng(4)
    found = []
    for company in range(companies):
        for number in range(each):
            ours, theirs = random.uniform(0, 20, size=2)
            right = "use_crewflow" if ours < theirs else "use_external"
            said = random.choice(RESOLUTIONS) if random.random() < 1 / 30 else right
            found.append(
                Decided(
                    conflict_id=f"k-{company}-{number}",
                    company_id=f"c-{company}",
                    opened_at=AT - timedelta(hours=number),
                    decided_at=AT,
                    case=Case(
                        conflict_type="hours_mismatch",
                        crewflow_value=8.0,
                        external_value=7.5,
                        crewflow_edited_hours_ago=ours,
                        external_edited_hours_ago=theirs,
                    ),
                    resolution=said,
                    blind=False,
                    propensity=None,
                )
            )
    return found


def unique_together() -> list[str]:
    [one] = (one for one in CONFLICT_RESOLUTION.expectations if "Unique" in one.kind)
    return list(one.arguments["column_list"])


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return feature_table(decided())


@pytest.fixture(scope="module")
def fitted(table: pd.DataFrame) -> ConflictPredictor:
    return ConflictResolution().fit(table, seed=0)


def test_the_table_has_a_row_a_decision_with_the_features_of_its_case(table: pd.DataFrame) -> None:
    one = next(one for one in decided() if one.conflict_id == "k-7-3")
    row = table[table["conflict_id"] == "k-7-3"]
    np.testing.assert_array_equal(row[list(FEATURES)].to_numpy(np.float32)[0], features_of(one.case))
    assert row["label"].item() == RESOLUTIONS.index(one.resolution)
    assert len(table) == 1200
    assert table.groupby("company_id")["fold"].nunique().eq(1).all()
    assert feature_table(reversed(decided())).equals(table)


def test_it_is_measured_on_companies_that_no_fit_saw(
    table: pd.DataFrame, fitted: ConflictPredictor, tmp_path: Path
) -> None:
    code = ConflictResolution()
    baselines = code.baselines(table, seed=0)
    found = code.evaluate(fitted, baselines, table)
    assert found.figure("accuracy").n == (table["fold"] == "test").sum()
    assert (found.figure("accuracy").value or 0) > 0.9
    assert (found.figure("auto_right").value or 0) > 0.93
    assert all(result.passed for result in check_gates(CONFLICT_RESOLUTION.gates, found))
    assert set(found.tables["methods"]["method"]) == {"ours", *baselines, "always CrewFlow"}
    fitted.save(tmp_path)
    scores = code.row_scores(code.load(tmp_path), table)
    assert scores["score"].mean() == pytest.approx(found.figure("accuracy").value)


def request(**change: object) -> ConflictRequest:
    example = dict(CONFLICT_RESOLUTION.example)
    edits = {"crewflow_updated_at": "2026-03-02T10:00:00Z", "external_updated_at": "2026-03-02T06:00:00Z"}
    return ConflictRequest.model_validate(example | edits | {"system": "quickbooks"} | change)


def test_an_answer_says_what_stands_how_sure_and_why(fitted: ConflictPredictor, sqlite_store: Engine) -> None:
    swapped = request(crewflow_updated_at="2026-03-02T02:00:00Z")
    with clock.fixed(AT):
        first, second = ConflictResolution().answer(fitted, [request(), swapped])
    assert first.fields["recommended_resolution"] == {"action": "use_crewflow", "value": 8.0}
    assert first.fields["auto_resolve"] is True
    assert not first.withheld
    assert first.fields["reason"].startswith("CrewFlow was edited 2 h ago, QuickBooks 6 h ago")
    assert second.fields["recommended_resolution"] == {"action": "use_external", "value": 7.5}
    given = {"prediction_id": "p", "model_version": "1.0", "variant": "champion"}
    answer = ConflictResponse.model_validate(first.fields | given)
    probabilities = [one.probability for one in answer.suggestions]
    assert answer.confidence == probabilities[0] == max(probabilities)
    assert sum(probabilities) == pytest.approx(1)


def test_after_an_override_people_decide_the_next_ones_like_it(fitted: ConflictPredictor, deciding: Engine) -> None:
    edits = {"crewflow_updated_at": "2026-03-02T10:00:00Z", "external_updated_at": "2026-03-02T06:00:00Z"}
    report("x-1", **edits)
    automatic("x-1")
    with clock.fixed(AT):
        [before] = ConflictResolution().answer(fitted, [request(company_id=COMPANY)])
    decide("x-1", "use_external")
    with clock.fixed(AT):
        [after] = ConflictResolution().answer(fitted, [request(company_id=COMPANY)])
    assert before.fields["auto_resolve"] is True
    assert after.fields["auto_resolve"] is False
    assert after.fields["reason"].endswith("people overrode an automatic decision like it, so they decide the next 3")


def test_a_sync_of_tomorrow_is_refused_with_its_place(fitted: ConflictPredictor, sqlite_store: Engine) -> None:
    with clock.fixed(AT), pytest.raises(InvalidInputError) as refused:
        ConflictResolution().answer(fitted, [request(), request(last_sync_timestamp="2026-03-03T06:00:00Z")])
    [problem] = refused.value.problems
    assert problem.loc == (1, "last_sync_timestamp")


def test_expectations_name_columns_of_the_table(table: pd.DataFrame) -> None:
    named = {one.arguments["column"] for one in CONFLICT_RESOLUTION.expectations if "column" in one.arguments}
    assert named | set(unique_together()) <= set(table.columns)
    assert ConflictRequest.model_validate(dict(CONFLICT_RESOLUTION.example))


def test_companies_may_use_the_same_ids_and_a_reopened_conflict_is_decided_twice() -> None:
    one = decided(1, 1)[0]
    elsewhere, again = replace(one, company_id="c-other"), replace(one, opened_at=one.opened_at + timedelta(days=1))
    assert not feature_table([one, elsewhere, again]).duplicated(unique_together()).any()
    assert feature_table([one, one]).duplicated(unique_together()).any()
