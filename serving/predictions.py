"""Answering prediction requests, the same for every model: scope, version, model, log, answer."""

import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from crewflow_assets import clock
from crewflow_assets.contract import PredictionRequest, PredictionResponse
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotFoundError
from crewflow_assets.spec import ModelCode, ModelSpec
from serving import metrics
from serving.caller import companies_of
from serving.prediction_log import PredictionLog, Served
from serving.predictors import ALIASES, LoadedModel, Predictors
from serving.problems import Problem

logger = logging.getLogger("crewflow.serving")

Loc = tuple[str | int, ...]


class Predictions:
    """Answers one model's requests. Blocking: call it from a worker thread."""

    def __init__(self, spec: ModelSpec, predictors: Predictors, log: PredictionLog) -> None:
        self.spec = spec
        self._predictors = predictors
        self._log = log

    @cached_property
    def _code(self) -> ModelCode:
        return self.spec.code()

    def warm(self) -> None:
        """Answer the model's example, so that the first request does not pay for imports and caches."""
        example = self.spec.request_type.model_validate(dict(self.spec.example))
        for asked_as, model in self._predictors.loaded(self.spec).items():
            try:
                self._code.answer(model.predictor, [example])
            except Exception as error:  # a request will meet and answer the same error
                logger.warning("%s %s does not answer its example", self.spec.name, asked_as, exc_info=error)

    def singly(self, requests: Sequence[PredictionRequest]) -> list[PredictionResponse]:
        """Answer ``scoped`` requests that were made one by one, all or none.

        Raises:
            Problem: 400 for what the company's data cannot answer.
            CrewflowError: no such version, or no model.
        """
        return self._answer(requests, [()] * len(requests))

    def batch(self, requests: Sequence[PredictionRequest]) -> list[PredictionResponse]:
        """Answer requests in order, all or none.

        Raises:
            Problem: as ``one``, with each bad input's index.
            CrewflowError: no such version, or no model.
        """
        locs: list[Loc] = [("inputs", index) for index in range(len(requests))]
        return self._answer(scoped(requests, locs), locs)

    def _answer(self, scoped: Sequence[PredictionRequest], locs: Sequence[Loc]) -> list[PredictionResponse]:
        by_version: dict[str, list[int]] = defaultdict(list)
        for index, request in enumerate(scoped):
            by_version[request.version].append(index)
        models = {version: self._model(version, locs[places[0]]) for version, places in by_version.items()}
        responses: dict[int, PredictionResponse] = {}
        served: list[Served] = []
        for version, places in by_version.items():
            model = models[version]
            variant = version if version in ALIASES else "pinned"
            began = time.perf_counter()
            try:
                answers = self._code.answer(model.predictor, [scoped[place] for place in places])
            except InvalidInputError as error:
                raise _relocated(error, [locs[place] for place in places]) from error
            seconds = time.perf_counter() - began
            metrics.PREDICTION_SECONDS.labels(self.spec.name).observe(seconds)
            metrics.PREDICTIONS.labels(self.spec.name, model.label, variant).inc(len(places))
            created_at = clock.now()
            for place, answer in zip(places, answers, strict=True):
                prediction_id = f"p-{secrets.token_hex(12)}"
                responses[place] = self.spec.response_type.model_validate(
                    {
                        **answer.fields,
                        "prediction_id": prediction_id,
                        "model_version": model.label,
                        "variant": variant,
                    }
                )
                served.append(
                    Served(
                        prediction_id=prediction_id,
                        model=self.spec.name,
                        model_version=model.label,
                        variant=variant,
                        request=scoped[place],
                        output=answer.fields,
                        withheld=answer.withheld,
                        propensity=answer.propensity,
                        latency_ms=1000 * seconds / len(places),
                        created_at=created_at,
                    )
                )
        self._log.add(served)
        return [responses[place] for place in range(len(scoped))]

    def _model(self, version: str, loc: Loc) -> LoadedModel:
        try:
            return self._predictors.get(self.spec, version)
        except NotFoundError as error:
            raise Problem(404, str(error), [FieldProblem((*loc, "version"), str(error))]) from error


def scoped(requests: Sequence[PredictionRequest], locs: Sequence[Loc]) -> list[PredictionRequest]:
    """Return the requests with the company whose data the caller's key opens to each.

    Raises:
        Problem: 403 for another company's data.
    """
    companies = companies_of(
        (request.company_id, (*loc, "company_id")) for request, loc in zip(requests, locs, strict=True)
    )
    return [
        request if request.company_id == company else request.model_copy(update={"company_id": company})
        for request, company in zip(requests, companies, strict=True)
    ]


def _relocated(error: InvalidInputError, locs: Sequence[Loc]) -> Problem:
    """Name the fields where the caller put them; a model counts the requests that it was handed."""
    problems = []
    for problem in error.problems:
        index, *rest = problem.loc
        problems.append(FieldProblem((*locs[int(index)], *rest), problem.msg))
    if len(problems) != 1:
        return Problem(400, str(error), problems)
    return Problem(400, f"{'.'.join(map(str, problems[0].loc))}: {problems[0].msg}", problems)
