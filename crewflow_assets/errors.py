"""What can be wrong with a request, whoever makes it: a file, an HTTP call, a command.

The command line prints these, and the services answer them as problem+json; anything else is a bug.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong: where (a field's path, or a row), and what, with its value and the remedy."""

    loc: tuple[str | int, ...]
    msg: str


class CrewflowError(Exception):
    """A request that cannot be carried out; its text names the thing, the value and the remedy."""


class InvalidInputError(CrewflowError):
    """The input is wrong in the listed places; nothing was written."""

    def __init__(self, detail: str, problems: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(detail)
        self.problems = problems


class NotFoundError(CrewflowError):
    """The company, record, model or version does not exist."""


class ConflictError(CrewflowError):
    """The request contradicts what was decided already."""


class NotReadyError(CrewflowError):
    """Something that the request needs is missing in this installation, such as a registered model."""


class OutdatedModelError(NotReadyError):
    """A registered version reads its inputs otherwise than this code does; the model has to be trained anew."""


def refuse_gone(fitted: Iterable[str], built: Container[str]) -> None:
    """Refuse a version that was fitted on a feature that is not among those built now.

    Raises:
        OutdatedModelError: it names the first of them.
    """
    gone = next((feature for feature in fitted if feature not in built), None)
    if gone is not None:
        raise OutdatedModelError(f"the model stands on the feature {gone!r}, which is no longer built; train anew")


class RegistryAwayError(NotReadyError):
    """The model registry cannot be reached; it may hold what the request needs."""
