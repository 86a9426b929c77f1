"""Answers of conflict resolution: the cases from the store, the model's word, and why."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from crewflow_assets import clock
from crewflow_assets.arrays import AnyFloats
from crewflow_assets.conflict_resolution.case import Case
from crewflow_assets.conflict_resolution.context import cases_of
from crewflow_assets.conflict_resolution.contract import RESOLUTIONS, ConflictRequest
from crewflow_assets.conflict_resolution.features import matrix_of
from crewflow_assets.conflict_resolution.model import ConflictPredictor
from crewflow_assets.conflict_resolution.reasons import Asked, reasons, system_name
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.spec import Answer
from crewflow_assets.store.database import reading


def answer(predictor: ConflictPredictor, requests: Sequence[ConflictRequest]) -> list[Answer]:
    """Answer requests in order.

    Nothing is withheld here: what is withheld is drawn where a conflict is resolved, once for each.

    Raises:
        InvalidInputError: a request is dated after today; ``loc`` starts with its index.
    """
    if not requests:
        return []
    at = clock.now()
    problems = [
        FieldProblem(
            (place, "last_sync_timestamp"), f"{r.last_sync_timestamp} is later than now ({at}); check clocks"
        )
        for place, r in enumerate(requests)
        if r.last_sync_timestamp > at
    ]
    if problems:
        raise InvalidInputError("these inputs cannot be answered", tuple(problems))
    with reading() as session:
        cases = cases_of(session, requests, at)
    rows = matrix_of(cases)
    probability = predictor.probability(rows)
    types = np.array([request.conflict_type for request in requests], object)
    automatic = predictor.automatic(probability, types)
    asked = [
        Asked(case, _action(said), system_name(request.system))
        for request, case, said in zip(requests, cases, probability, strict=True)
    ]
    why = reasons(asked, lambda places: predictor.contributions(rows[places]))
    return [
        Answer(
            _fields(request, said, sure=bool(sure) and not case.people_first) | {"reason": sentence + _reserved(case)}
        )
        for request, case, said, sure, sentence in zip(requests, cases, probability, automatic, why, strict=True)
    ]


def _reserved(case: Case) -> str:
    """Say why no model decides this case, however sure it is."""
    if not case.people_first:
        return ""
    return f"; people overrode an automatic decision like it, so they decide the next {case.people_first}"


def _action(said: AnyFloats) -> str:
    return RESOLUTIONS[int(said.argmax())]


def _fields(request: ConflictRequest, said: AnyFloats, *, sure: bool) -> dict[str, Any]:
    values = {"use_crewflow": request.crewflow_value, "use_external": request.external_value, "manual": None}
    action = _action(said)
    order = np.argsort(-said, kind="stable")
    return {
        "recommended_resolution": {"action": action, "value": values[action]},
        "confidence": float(said.max()),
        "auto_resolve": sure,
        "suggestions": [{"action": RESOLUTIONS[place], "probability": float(said[place])} for place in order],
    }
