"""Who is calling: the key's scope, carried through a request, and whose data it may touch."""

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass

from crewflow_assets.errors import FieldProblem
from serving.problems import Problem


@dataclass(frozen=True, slots=True)
class Caller:
    """The key of a request; without a company it is the platform's."""

    key_id: int
    company_id: str | None
    requests_per_minute: int | None = None
    """The key's own limit; None for the installation's."""


_caller: ContextVar[Caller] = ContextVar("crewflow_caller")


def enter(caller: Caller) -> None:
    """Make this the caller of the current request."""
    _caller.set(caller)


def current() -> Caller:
    """Return the caller of the current request.

    Raises:
        LookupError: the request came past the guard without a key.
    """
    return _caller.get()


def company_of(asked: str | None, *, loc: tuple[str | int, ...] = ("company_id",)) -> str:
    """Return the company whose data a request concerns.

    Raises:
        Problem: 403 for another company than the key's; 400 where a platform key names none.
    """
    company = optional_company_of(asked, loc=loc)
    if company is None:
        raise Problem(
            400,
            "company_id is missing: a platform key belongs to no company",
            [FieldProblem(loc, "missing; name the company, or use the company's own key")],
        )
    return company


def optional_company_of(asked: str | None, *, loc: tuple[str | int, ...] = ("company_id",)) -> str | None:
    """Return the company of a request that may concern none.

    Raises:
        Problem: 403 for another company than the key's.
    """
    return companies_of([(asked, loc)])[0]


def companies_of(asked: Iterable[tuple[str | None, tuple[str | int, ...]]]) -> list[str | None]:
    """Return the companies that the parts of a request concern, each with the place that names it.

    Raises:
        Problem: 403 that lists every part that names another company than the key's.
    """
    own = current().company_id
    companies: list[str | None] = []
    foreign: list[FieldProblem] = []
    for company, loc in asked:
        if own is not None and company is not None and company != own:
            foreign.append(FieldProblem(loc, f"{company!r} is another company than the key's, {own!r}"))
        companies.append(company if own is None else own)
    if foreign:
        raise Problem(403, f"this key belongs to company {own!r} and sees that company's data alone", foreign)
    return companies
