"""Which route a path belongs to, for metrics, logs and the choice of checks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Mount, Route


@dataclass(frozen=True, slots=True)
class Template:
    """A route's path, such as ``/v1/integrations/{id}/health``, and the methods that it takes."""

    path: str
    methods: frozenset[str]


NOWHERE = Template("/unmatched", frozenset())


def template_finder(app: Starlette) -> Callable[[str], Template]:
    """Return a function from a path to its route's template."""
    exact: dict[str, Template] = {}
    patterns: list[Route] = []
    for route in _routes(app.routes):
        if route.param_convertors:
            patterns.append(route)
        else:
            known = exact.get(route.path, NOWHERE)
            exact[route.path] = Template(route.path, known.methods | (route.methods or set()))

    def find(path: str) -> Template:
        if path in exact:
            return exact[path]
        scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
        for route in patterns:
            if route.matches(scope)[0] is not Match.NONE:
                return Template(route.path, frozenset(route.methods or ()))
        return NOWHERE

    return find


def _routes(routes: list[BaseRoute]) -> Iterator[Route]:
    for route in routes:
        if isinstance(route, Route):
            yield route
        elif isinstance(route, Mount) and isinstance(route.app, Starlette):
            yield from _routes(route.app.routes)
