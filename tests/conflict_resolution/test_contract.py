"""What a conflict may be asked with."""

from typing import Any

import pytest
from pydantic import ValidationError

from crewflow_assets.conflict_resolution.contract import ConflictRequest

GOOD = {
    "conflict_type": "hours_mismatch",
    "crewflow_value": 8.0,
    "external_value": 7.5,
    "company_id": "c-17",
    "worker_id": "w-9",
    "project_id": "p-4",
    "timecard_date": "2025-10-15",
    "last_sync_timestamp": "2025-10-16T06:00:00Z",
}


def test_the_promised_request_is_taken() -> None:
    request = ConflictRequest.model_validate(GOOD)
    assert (request.crewflow_value, request.external_value, request.version) == (8.0, 7.5, "champion")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"external_value": "7.5"}, "external_value is '7.5'"),
        ({"crewflow_value": 25}, "crewflow_value is 25.0"),
        ({"external_value": None}, "external_value is None"),
        ({"external_value": 8}, "nothing contradicts"),
        ({"external_value": float("nan")}, "finite"),
        ({"crewflow_value": None, "external_value": None, "conflict_type": "duplicate"}, "both null"),
        ({"timecard_date": "0001-01-01"}, "check the year"),
        ({"last_sync_timestamp": "2025-10-16T06:00:00"}, "timezone"),
        ({"company_id": None}, "company_id"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_contradicts_nothing_or_makes_no_sense_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ConflictRequest.model_validate(GOOD | change)
    assert says in str(refused.value)


def test_a_duplicate_may_have_one_side() -> None:
    alone = ConflictRequest.model_validate(GOOD | {"conflict_type": "duplicate", "external_value": None})
    assert alone.external_value is None
