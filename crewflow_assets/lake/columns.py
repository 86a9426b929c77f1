"""The columns of events in the lake: their keys and moments, then their payload's fields."""

import json
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import ValidationError

from crewflow_assets.contract import Contract
from crewflow_assets.ingest.event_kinds import PAYLOADS
from crewflow_assets.store.tables import Event

if TYPE_CHECKING:  # the code location loads without it
    import pyarrow as pa


def event_schema(kind: str) -> "pa.Schema":
    """Return the Parquet columns of an event kind: its keys and moments, then its payload's fields."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")  # microseconds: Spark refuses nanoseconds
    keys = [("event_id", pa.string()), ("company_id", pa.string()), ("occurred_at", moment), ("received_at", moment)]
    return pa.schema(keys + [(name, _arrow_type(f.annotation)) for name, f in PAYLOADS[kind].model_fields.items()])


def _arrow_type(annotation: Any) -> "pa.DataType":
    import pyarrow as pa

    members = [member for member in get_args(annotation) if member is not type(None)]
    origin = get_origin(annotation)
    if origin is Literal:
        return pa.string()
    if origin is dict or annotation is dict:
        return pa.string()  # as JSON
    if members:
        return _arrow_type(members[0])
    return {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}.get(annotation, pa.string())


def row_of(event: Event) -> dict[str, Any]:
    """Return the row of an event, of the columns of its kind."""
    kind: type[Contract] = PAYLOADS[event.kind]
    try:
        payload = kind.model_validate(event.payload)
    except ValidationError:
        # Recorded when its kind allowed more values. Refused, it would keep its whole day from the lake.
        payload = kind.model_construct(**event.payload)
    fields = payload.model_dump(mode="json", warnings=False)
    return {
        **{name: json.dumps(value) if isinstance(value, dict) else value for name, value in fields.items()},
        "event_id": event.event_id,
        "company_id": event.company_id,
        "occurred_at": event.occurred_at,
        "received_at": event.received_at,
    }
