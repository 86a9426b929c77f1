"""Answering prediction requests, the same for every model: scope, version, model, log, answer."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cached_property
from time import perf_counter

from crewflow_assets import clock
from crewflow_assets.contract import PredictionRequest, PredictionResponse, new_prediction_id
from crewflow_assets.errors import FieldProblem, InvalidInputError, NotFoundError
from crewflow_assets.spec import Answer, ModelCode, ModelSpec
from serving import metrics
from serving.arms import Arms
from serving.caller import companies_of
from serving.prediction_log import PredictionLog
from serving.predictors import ALIASES, LoadedModel, Predictors
from serving.problems import Problem
from serving.served import Served

logger = logging.getLogger("crewflow.serving")

Loc = tuple[str | int, ...]


class Predictions:
    """Answers one model's requests. Blocking: call it from a worker thread."""

    def __init__(self, spec: ModelSpec, predictors: Predictors, log: PredictionLog, arms: Arms) -> None:
        self.spec = spec
        self._predictors = predictors
        self._log = log
        self._arms = arms

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

    def singly(
        self, requests: Sequence[PredictionRequest], arrived: Sequence[float] | None = None
    ) -> list[PredictionResponse]:
        """Answer ``scoped`` requests that were made one by one, all or none.

        Args:
            requests: The requests.
            arrived: When each arrived, in seconds of ``time.perf_counter``; without, they came together and now.

        Raises:
            Problem: 400 for what the company's data cannot answer.
            CrewflowError: no such version, or no model.
        """
        return self._answer(requests, [()] * len(requests), [perf_counter()] if arrived is None else arrived)

    def batch(self, requests: Sequence[PredictionRequest], arrived: float | None = None) -> list[PredictionResponse]:
        """Answer requests in order, all or none.

        Args:
            requests: The requests.
            arrived: When they arrived, in seconds of ``time.perf_counter``; without, now.

        Raises:
            Problem: as ``singly``, with each bad input's index.
            CrewflowError: no such version, or no model.
        """
        began = perf_counter() if arrived is None else arrived
        locs: list[Loc] = [("inputs", index) for index in range(len(requests))]
        return self._answer(scoped(requests, locs), locs, [began])

    def _answer(
        self, scoped: Sequence[PredictionRequest], locs: Sequence[Loc], arrived: Sequence[float]
    ) -> list[PredictionResponse]:
        """Answer and log; ``arrived`` is when each came, or has one entry when all came in one call."""
        asked = [self._asked(request) for request in scoped]
        by_version: dict[str, list[int]] = defaultdict(list)
        for index, (version, _) in enumerate(asked):
            by_version[version].append(index)
        models = {version: self._model(version, locs[places[0]]) for version, places in by_version.items()}
        by_place: dict[int, Answer] = {}
        for version, places in by_version.items():
            try:
                found = self._code.answer(models[version].predictor, [scoped[place] for place in places])
            except InvalidInputError as error:
                raise _relocated(error, [locs[place] for place in places]) from error
            by_place.update(zip(places, found, strict=True))
        for (version, variant), count in Counter(asked).items():
            metrics.PREDICTIONS.labels(self.spec.name, models[version].label, variant).inc(count)
        answers = [by_place[place] for place in range(len(scoped))]
        created_at = clock.now()
        responses = [
            self.spec.response_type.model_validate(
                {
                    **answer.fields,
                    "prediction_id": new_prediction_id(created_at),
                    "model_version": models[version].label,
                    "variant": variant,
                }
            )
            for (version, variant), answer in zip(asked, answers, strict=True)
        ]
        ended = perf_counter()
        seconds = [ended - at for at in arrived]
        took = seconds if len(seconds) == len(scoped) else seconds * len(scoped)
        self._log.add(
            [
                Served(
                    prediction_id=response.prediction_id,
                    model=self.spec.name,
                    model_version=response.model_version,
                    variant=response.variant,
                    request=request,
                    output=answer.fields,
                    withheld=answer.withheld,
                    propensity=answer.propensity,
                    latency_ms=1000 * one,
                    created_at=created_at,
                    automatic=response.automatic,
                )
                for request, answer, response, one in zip(scoped, answers, responses, took, strict=True)
            ]
        )
        return responses

    def _asked(self, request: PredictionRequest) -> tuple[str, str]:
        """Return the version that answers, and the prediction's variant."""
        arm = self._arms.of(self.spec, request)
        if arm is not None:
            return arm.version, arm.name
        return request.version, request.version if request.version in ALIASES else "pinned"

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
