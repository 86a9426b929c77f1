"""BentoML services, made from model specs: nothing here knows any one model."""

import logging
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import Any

import bentoml
from _bentoml_impl.server.app import ServiceAppFactory  # type: ignore[import-untyped]  # no public way to middlewares
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp

from crewflow_assets.settings import get_settings
from crewflow_assets.spec import ModelSpec
from serving.batches import batch_answer, batch_types
from serving.connections import Spreading
from serving.gathering import Gathering
from serving.guard import Guard, RestorePath
from serving.predictions import scoped
from serving.predictors import Source
from serving.problems import problem_of
from serving.resources import resource_app
from serving.routing import template_finder
from serving.runtime import Runtime
from serving.time_limit import TimeLimit

TIMEOUT_SECONDS = 60
MOST_AT_ONCE = 512
LOOPBACK = "127.0.0.1"
WORKER_ENVIRONMENT = {
    "BENTOML_DO_NOT_TRACK": "True",
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "CREWFLOW_DATABASE_SECONDS": "20",
}
"""Unless the environment says otherwise. A request's small products of matrices gain nothing from threads, and with
several requests at once BLAS's threads wait for each other, spinning. With an arena for each thread glibc keeps ever
more of what was freed, tens of MiB an hour (https://man7.org/linux/man-pages/man3/mallopt.3.html). A request meets a
silent database once, for its key or in its route: it is refused in good time before ``TIMEOUT_SECONDS``."""


class GuardedService(bentoml.Service[Any]):  # type: ignore[misc]  # BentoML is untyped to mypy
    """A BentoML service behind the guard, without tracing where nothing is exported."""

    runtime: Runtime

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        """Build the application."""
        self.inject_config()
        quiet_refusals()
        app = _AppFactory(self, is_main=is_main)()
        app.router.redirect_slashes = False
        guarded = Guard(app, self.runtime, template_finder(app))
        settings = get_settings()
        if settings.gateway_workers == 1:
            return guarded
        return Spreading(guarded, settings.gateway_requests_per_connection)


class _AppFactory(ServiceAppFactory):  # type: ignore[misc]
    @property
    def middlewares(self) -> list[Middleware]:
        traced = BentoMLContainer.config.tracing.exporter_type.get() is not None
        return [
            Middleware(TimeLimit, **given.kwargs) if given.cls is TimeoutMiddleware else given
            for given in super().middlewares
            if traced or getattr(given.cls, "__name__", "") != "OpenTelemetryMiddleware"
        ]


class _Lifecycle:
    """Base of the class that ``bentoml.service`` gets."""

    runtime: Runtime

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def start(self) -> None:
        """Load models."""
        await self.runtime.start()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def stop(self) -> None:
        """Write what is still to be logged."""
        await self.runtime.stop()


def make_service(specs: Iterable[ModelSpec], *, name: str, source: Source, port: int) -> GuardedService:
    """Make a service that serves these models.

    Args:
        specs: The models.
        name: The service's name in logs and metrics.
        source: Where models are loaded from: ``crewflow_assets.registry``.
        port: The port unless ``bentoml serve --port`` says otherwise; it listens on loopback unless ``--host`` does.
    """
    runtime = Runtime(specs, source)
    members: dict[str, Any] = {"runtime": runtime, "__doc__": "CrewFlow's models over HTTP; see /docs."}
    for spec in runtime.specs:
        members[spec.name] = _predict_api(spec, runtime)
        members[f"{spec.name}_batch"] = _batch_api(spec, runtime)
    inner = type(name, (_Lifecycle,), members)
    decorated = bentoml.asgi_app(resource_app(runtime), path="/")(inner)
    service: GuardedService = bentoml.service(
        name=name,
        service_class=GuardedService,
        http={"host": LOOPBACK, "port": port},
        workers=get_settings().gateway_workers,
        traffic={"timeout": TIMEOUT_SECONDS, "max_concurrency": MOST_AT_ONCE},
        logging={"access": {"enabled": False}},  # the guard writes one without personal data
        metrics={"enabled": True},
        envs=[{"name": name, "value": value} for name, value in WORKER_ENVIRONMENT.items()],
    )(decorated)
    service.add_asgi_middleware(RestorePath)
    service.runtime = runtime
    return service


def _predict_api(spec: ModelSpec, runtime: Runtime) -> Any:
    gathering = Gathering(runtime.predictions[spec.name].singly, runtime.in_thread)

    async def predict(self: Any, body: Any, /) -> Any:  # noqa: ARG001
        async def work() -> bytes:
            [request] = scoped([body], [()])
            answer = await gathering.one(request)
            return answer.model_dump_json().encode()

        return await _answered(work)

    return _api(predict, spec, "predict", spec.request_type, spec.response_type)


def _batch_api(spec: ModelSpec, runtime: Runtime) -> Any:
    predictions = runtime.predictions[spec.name]
    request_type, response_type = batch_types(spec)

    async def predict_batch(self: Any, body: Any, /) -> Any:  # noqa: ARG001
        async def work() -> bytes:
            arrived = perf_counter()
            return await runtime.in_thread(lambda: to_json(batch_answer(predictions.batch(body.requests, arrived))))

        return await _answered(work)

    return _api(predict_batch, spec, "predict_batch", request_type, response_type)


def _api(function: Callable[..., Any], spec: ModelSpec, verb: str, request_type: Any, response_type: Any) -> Any:
    function.__annotations__ = {"body": request_type, "return": response_type}
    function.__name__ = function.__qualname__ = spec.name if verb == "predict" else f"{spec.name}_batch"
    function.__doc__ = spec.question
    return bentoml.api(route=f"/v1/{spec.name}/{verb}")(function)


async def _answered(work: Callable[[], Awaitable[bytes]]) -> Response:
    """Answer here, also with errors: BentoML would rewrite or hide them."""
    try:
        return Response(await work(), media_type="application/json")
    except Exception as error:  # noqa: BLE001  # problem_of logs what nobody expected
        return problem_of(error).response()


class _WithoutRefusals(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ValidationError))


def quiet_refusals() -> None:
    """Keep each 400 of a wrong body from being logged as an error with a stack trace."""
    bento_logger = logging.getLogger("bentoml._internal.server.http_app")
    if not any(isinstance(known, _WithoutRefusals) for known in bento_logger.filters):
        bento_logger.addFilter(_WithoutRefusals())
