"""The types that all requests share: what they refuse, and that they refuse it by name."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from crewflow_assets.contract import (
    RANDOM_FROM,
    Contract,
    Identifier,
    Name,
    PredictionRequest,
    Probability,
    System,
    Text,
    new_prediction_id,
)
from crewflow_assets.ingest.event_kinds import SyncAttempt
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.retry_strategy.contract import RetryRequest
from crewflow_assets.spec import ModelSpec


class Wall(Contract):
    name: Name
    height: float = 1.0


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        Wall.model_validate({"name": "north", "widht": 3})


def test_values_stay_out_of_the_error_text() -> None:
    with pytest.raises(ValidationError) as error:
        Wall.model_validate({"name": "north", "height": "secret-17"})
    assert "secret-17" not in str(error.value)


def test_a_request_cannot_be_changed_once_checked() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Wall(name="north").height = 2.0  # type: ignore[misc]


@pytest.mark.parametrize("field", [Text, Name, Identifier])
@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b"])
def test_control_characters_are_refused_by_their_number(field: Any, character: str) -> None:
    with pytest.raises(ValidationError, match=f"U\\+{ord(character):04X}; remove it"):
        TypeAdapter[str](field).validate_python(f"Rough{character}Electrical")


def test_lone_surrogates_are_refused_since_no_database_takes_them() -> None:
    with pytest.raises(ValidationError, match="unicode"):
        TypeAdapter[str](Name).validate_python("\ud800")


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=300))
def test_every_other_text_passes_unchanged(text: str) -> None:
    assert TypeAdapter[str](Name).validate_python(text) == text


@pytest.mark.parametrize(("field", "longest"), [(Text, 2000), (Name, 300), (Identifier, 100)])
def test_lengths_are_bounded(field: Any, longest: int) -> None:
    adapter = TypeAdapter[str](field)
    assert adapter.validate_python("x" * longest)
    with pytest.raises(ValidationError):
        adapter.validate_python("x" * (longest + 1))


@pytest.mark.parametrize("name", ["QuickBooks", "q", "1c", "quick books", "quickbooks\n", "x" * 51, ""])
def test_a_system_is_a_short_lower_case_name(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[str](System).validate_python(name)


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_probability_lies_between_zero_and_one(value: float) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[float](Probability).validate_python(value)


@pytest.mark.parametrize("version", ["champion", "challenger", "1.0", "12.345"])
def test_versions_are_aliases_or_labels(version: str) -> None:
    assert PredictionRequest(version=version).version == version


@pytest.mark.parametrize("version", ["latest", "1", "1.", "v1.0", "1.0\n", "99999.0", ""])
def test_other_versions_are_refused(version: str) -> None:
    with pytest.raises(ValidationError):
        PredictionRequest(version=version)


def with_leaf(value: Any, new: Any) -> Iterator[Any]:
    """Yield copies of a JSON value in each of which one number is replaced."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from ({**value, name: changed} for changed in with_leaf(member, new))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from ([*value[:place], changed, *value[place + 1 :]] for changed in with_leaf(member, new))
    elif isinstance(value, int | float):
        yield new


@pytest.mark.parametrize("new", [True, "0" * 301], ids=["truth value", "text"])
@pytest.mark.parametrize("spec", MODEL_SPECS, ids=lambda spec: spec.name)
def test_no_number_of_a_request_may_be_something_that_looks_like_one(spec: ModelSpec, new: Any) -> None:
    example = {**spec.example, **({"top_k": 5} if spec.name == "cost_code_mapping" else {})}
    changed = list(with_leaf(example, new))
    assert changed
    for request in changed:
        with pytest.raises(ValidationError, match=r"send a number|valid number"):
            spec.request_type.model_validate(request)


def test_true_and_false_are_no_numbers_or_words() -> None:
    retry = next(spec for spec in MODEL_SPECS if spec.request_type is RetryRequest)
    for wrong in (1, "true", "no"):
        with pytest.raises(ValidationError, match="boolean"):
            RetryRequest.model_validate({**retry.example, "write": wrong})
        with pytest.raises(ValidationError, match="boolean"):
            SyncAttempt.model_validate({"integration_id": "i-3", "system": "sage", "ok": wrong})
    assert (
        SyncAttempt.model_validate({"integration_id": "i-3", "system": "sage", "ok": True, "calls": 3.0}).calls == 3
    )


def test_ids_of_predictions_sort_by_time_and_fit_the_contract() -> None:
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    ids = [new_prediction_id(at + timedelta(milliseconds=n)) for n in range(3000)]
    assert ids == sorted(ids)
    assert len({new_prediction_id(at) for _ in range(1000)}) == 1000
    assert {len(one) for one in ids} == {26}
    assert new_prediction_id(at)[: RANDOM_FROM - 1] == f"p-{int(at.timestamp() * 1000):011x}"
