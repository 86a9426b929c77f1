"""What requests and answers have in common, whatever the model: HTTP, the client and the predictors share these."""

import secrets
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def printable(value: str) -> str:
    """Refuse control characters: databases and spreadsheets choke on them, and no name has any."""
    if value.isprintable():
        return value
    for character in value:
        if ord(character) < 32 and character not in "\t\n\r":
            raise ValueError(f"contains the control character U+{ord(character):04X}; remove it")
    return value


def _no_number(value: Any) -> Any:
    """Refuse a truth value and a text, which would be turned into a number."""
    if isinstance(value, bool | str):
        raise ValueError(f"is {'a text' if isinstance(value, str) else 'true or false'}; send a number")
    return value


NUMBER = BeforeValidator(_no_number)
"""Of a number that comes in: what only looks like one is refused. It stands after the bounds of ``Field``."""
Flag = Annotated[bool, Field(strict=True)]
"""True or false that comes in; 1 and "yes" are neither."""
Text = Annotated[str, Field(max_length=2000), AfterValidator(printable)]
Name = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(printable)]
Identifier = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(printable)]
PredictionId = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(printable)]
System = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,49}$", examples=["quickbooks", "sage", "xero"])]
Probability = Annotated[float, Field(ge=0, le=1)]


class Contract(BaseModel):
    """Base of every request and answer: unknown fields are refused, values stay out of the logs."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)


class PredictionRequest(Contract):
    """What every prediction may be asked with."""

    version: Annotated[
        str,
        Field(
            pattern=r"^(champion|challenger|[0-9]{1,4}\.[0-9]{1,6})$",
            description='"champion", "challenger", or a version label such as "1.0".',
        ),
    ] = "champion"
    company_id: Identifier | None = None

    @property
    def gathers(self) -> bool:
        """Whether answering this together with others is cheaper, so that it may wait for them."""
        return self.company_id is not None

    @property
    def gathers_with(self) -> str | None:
        """What it has to have in common with those others; None: the model and version are enough."""
        return None


RANDOM_FROM = 14
"""From this character on, counted from 1, ids of predictions are random, also those that do not begin with a time."""


def new_prediction_id(at: datetime) -> str:
    """Return a fresh id; ids sort by time, to the millisecond, so that indexes grow at their end (RFC 9562, 6.11)."""
    return f"p-{int(at.timestamp() * 1000):011x}{secrets.token_hex(7)[1:]}"


class PredictionResponse(Contract):
    """What every prediction carries, so that its outcome can be joined to it later."""

    prediction_id: str
    model_version: str
    variant: Annotated[str, Field(description="champion, challenger, pinned, or the experiment's arm.")]

    @property
    def automatic(self) -> bool:
        """Whether what it says may be done without asking a person."""
        return False
