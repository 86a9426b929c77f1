"""The mounted application: every route that is no prediction."""

from collections.abc import Callable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from crewflow_assets.errors import CrewflowError
from serving.problems import Problem, invalid_fields, problem_of
from serving.routes import conflicts, events, experiments, integrations, mappings, models, pages
from serving.runtime import Runtime

AddRoutes = Callable[[FastAPI, Runtime], None]

EVERY_SERVICE: tuple[AddRoutes, ...] = (
    models.add_routes,
    events.add_routes,
    integrations.add_routes,
    conflicts.add_routes,
    experiments.add_routes,
    pages.add_routes,
)
OF_MODELS: Mapping[str, AddRoutes] = {"cost_code_mapping": mappings.add_routes}
"""Routes about a model's records, served wherever the model is."""


def resource_app(runtime: Runtime) -> FastAPI:
    """Make the application of a service's resource routes and documentation."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_exception_handler(CrewflowError, _answer)
    app.add_exception_handler(Problem, _answer)
    app.add_exception_handler(SQLAlchemyError, _answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    for add_routes in (*EVERY_SERVICE, *(OF_MODELS[name] for name in OF_MODELS if name in runtime.predictions)):
        add_routes(app, runtime)
    return app


async def _answer(_: Request, error: Exception) -> Response:
    return problem_of(error).response()


async def _answer_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [
        {**one, "loc": one["loc"][1:] if one["loc"][:1] != ("header",) else one["loc"]} for one in error.errors()
    ]
    return invalid_fields(found).response()


async def _answer_http(_: Request, error: Exception) -> Response:
    """Leave 404 and 405 to the guard, which words them alike for all routes."""
    assert isinstance(error, HTTPException)
    return Response(str(error.detail), error.status_code, error.headers)
