"""Answering a mapping request: precedence, ranking, confidence, the reason, and what may be automatic."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crewflow_assets.cost_code_mapping.context import CompanyContext, chart_of, company_context
from crewflow_assets.cost_code_mapping.contract import MappingRequest, Method
from crewflow_assets.cost_code_mapping.features import (
    COLUMN,
    FEATURES,
    Chart,
    Floats,
    History,
    Query,
    Source,
    Target,
    prepare,
)
from crewflow_assets.cost_code_mapping.ledger import PERSON
from crewflow_assets.cost_code_mapping.model import MappingPredictor, Ranking
from crewflow_assets.cost_code_mapping.text import words
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.evaluation.splits import uniform
from crewflow_assets.settings import get_settings
from crewflow_assets.spec import Answer

WORDS = slice(0, COLUMN["cost_type_match"])
OWN_HISTORY = slice(COLUMN["used_before"], len(FEATURES))
OTHERS = slice(len(FEATURES), None)
"""What was learned from others stands behind the own features."""
DOUBLED = 0.69  # log of the odds
FILLERS = frozenset(("and", "of", "for", "the", "to", "in", "on", "other", "misc"))
MOST_CELLS = 500_000
"""Queries times candidates looked at together: some 100 MB of features."""


def answer(predictor: MappingPredictor, requests: Sequence[MappingRequest]) -> list[Answer]:
    """Answer requests in order; those of one company and chart are looked at together.

    Raises:
        InvalidInputError: a request has no candidates, of its own or stored; ``loc`` starts with its index.
    """
    contexts = {
        key: company_context(*key) for key in dict.fromkeys((r.company_id, r.target_system) for r in requests)
    }
    together: dict[tuple[int, int], _Group] = {}
    problems: list[FieldProblem] = []
    for index, request in enumerate(requests):
        context = contexts[request.company_id, request.target_system]
        try:
            chart = _chart(request, context)
        except InvalidInputError as error:
            problems += [FieldProblem((index, *problem.loc), problem.msg) for problem in error.problems]
        else:
            together.setdefault((id(context), id(chart)), _Group(context, chart, [])).places.append(index)
    if problems:
        raise InvalidInputError("these inputs cannot be answered", tuple(problems))
    queries = prepare([_source(r, contexts[r.company_id, r.target_system]) for r in requests])
    answers: dict[int, Answer] = {}
    for group in together.values():
        at_once = max(1, MOST_CELLS // (len(group.chart) + len(group.context.standing)))
        for start in range(0, len(group.places), at_once):
            places = group.places[start : start + at_once]
            found = _answer_group(predictor, group, [requests[i] for i in places], [queries[i] for i in places])
            answers.update(zip(places, found, strict=True))
    return [answers[index] for index in range(len(requests))]


@dataclass(frozen=True, slots=True)
class _Group:
    """Requests, by their places, that have the company and the chart in common."""

    context: CompanyContext
    chart: Chart
    places: list[int]


def _source(request: MappingRequest, context: CompanyContext) -> Source:
    stored = context.items.get((request.kind, request.crewflow_cost_code))
    return Source(
        kind=request.kind,
        code=request.crewflow_cost_code,
        name=request.cost_code_name,
        description=request.cost_code_description or (stored.description if stored else None),
        group=request.cost_code_group or (stored.group if stored else None),
        project_type=request.crewflow_project_type or (stored.project_type if stored else None),
        industry=request.company_industry,
    )


def _answer_group(
    predictor: MappingPredictor, group: _Group, requests: Sequence[MappingRequest], queries: Sequence[Query]
) -> list[Answer]:
    history = group.context.history_in(group.chart)
    known = group.context.known_to([(query.source.kind, query.source.code) for query in queries])
    features = predictor.features_of_many(queries, group.chart, history, known)
    evidence = (
        Evidence(query, group.chart, history, row, own, predictor.weights)
        for query, row, own in zip(queries, known, features, strict=True)
    )
    asked = zip(requests, evidence, strict=True)
    return [_answer_one(predictor, request, one, group.context) for request, one in asked]


def _answer_one(
    predictor: MappingPredictor, request: MappingRequest, evidence: "Evidence", context: CompanyContext
) -> Answer:
    chart, features, source = evidence.chart, evidence.features, evidence.query.source
    ranking = predictor.rank(features, int((evidence.known & evidence.history.usable(source.kind)).sum()))
    order, confidence = ranking.order, ranking.confidence
    method: Method = "memory" if features[ranking.order[0], COLUMN["memory"]] >= 1 else "model"
    decided = context.standing.get((source.kind, source.code))
    withheld = False
    if decided is not None and decided.target_code in chart.position and decided.method in PERSON:
        first = chart.position[decided.target_code]
        order = np.r_[first, order[order != first]]
        confidence = predictor.person_stands
        method, automatic = "person", True
    else:
        decided = None
        automatic = predictor.threshold is not None and ranking.confidence >= predictor.threshold
        withheld = automatic and _withheld(request)
        automatic = automatic and not withheld
        method = method if automatic else "ask"
    confidences = _confidences(ranking, int(order[0]), confidence)
    suggestions = [
        {
            "target_code": chart.targets[j].code,
            "target_name": chart.targets[j].name,
            "confidence": round(float(confidences[j]), 4),
            "reason": (
                f"Mapped to {chart.targets[j].code} by {decided.decided_by}"
                if decided is not None and rank == 0
                else reason(evidence, int(j))
            ),
            "auto_map": automatic and rank == 0,
        }
        for rank, j in enumerate(order[: request.top_k])
    ]
    share = get_settings().withheld_share
    return Answer({"suggestions": suggestions, "method": method, "withheld": withheld}, withheld, share)


def _chart(request: MappingRequest, context: CompanyContext) -> Chart:
    if request.target_accounts is not None:
        return chart_of(tuple(Target(a.code, a.name, a.type, a.parent) for a in request.target_accounts))
    if context.chart is None:
        raise InvalidInputError(
            "there are no candidates to choose from",
            (
                FieldProblem(
                    ("target_accounts",),
                    f"missing, and no {request.target_system} chart is stored for company {request.company_id!r}; "
                    "send the accounts, or import the chart with `crewflow import accounts`",
                ),
            ),
        )
    return context.chart


def _confidences(ranking: Ranking, first: int, confidence: float) -> Floats:
    """Return each candidate's probability of being right: the first's is given, the others share the rest."""
    rest = max(1 - float(ranking.probabilities[first]), 1e-12)
    confidences = np.minimum(ranking.probabilities / rest * (1 - confidence), confidence)
    confidences[first] = confidence
    return np.asarray(confidences, np.float32)


def _withheld(request: MappingRequest) -> bool:
    """Draw, once and for ever for each item, whether its automatic mapping goes blind to a person instead."""
    company = request.company_id or ""
    place = uniform("withheld", company, request.target_system, request.kind, request.crewflow_cost_code)
    return place < get_settings().withheld_share


@dataclass(frozen=True)
class Evidence:
    """What an answer stands on: the query, its candidates' features, and what it may know of the history."""

    query: Query
    chart: Chart
    history: History
    known: NDArray[np.bool_]
    features: Floats
    weights: Floats

    @cached_property
    def average(self) -> Floats:
        """The features of the average candidate."""
        average: Floats = self.features.mean(axis=0)
        return average

    def moved(self, candidate: int) -> Floats:
        """Return by how much each feature moves a candidate's score above the average candidate's."""
        moved: Floats = (self.features[candidate] - self.average) * self.weights
        return moved


def reason(evidence: Evidence, candidate: int) -> str:
    """Say why this account, from what moved its score above the average candidate's.

    The company's own history is named where it at least doubled the odds, else what moved the score most; other
    companies only where they at least doubled them too.
    """
    query, chart = evidence.query, evidence.chart
    target = chart.targets[candidate]
    moved = evidence.moved(candidate)
    by_history = moved[OWN_HISTORY].sum()
    by_words = moved[WORDS].sum()
    by_others = moved[OTHERS].sum()
    by_type = moved[COLUMN["cost_type_match"]] + moved[COLUMN["cost_type_clash"]]
    if by_history >= DOUBLED and (said := _history_reason(evidence, candidate)):
        return said
    spoken = words(query.source.name)
    shared = sorted((query.words & set(words(target.context))) - FILLERS, key=spoken.index)
    if by_others >= DOUBLED and by_others > max(by_words, by_type):
        return "Other companies book codes like this to such accounts"
    if shared and by_words >= by_type:
        return f"“{' '.join(shared)}” stands in the account's name"
    if query.cost_type is not None and query.cost_type == chart.cost_types[candidate]:
        return f"A {query.cost_type} code, and an account for {query.cost_type}"
    if shared:
        return f"“{' '.join(shared)}” stands in the account's name"
    if evidence.features[candidate, COLUMN["name_similarity"]] > 0.2:
        return "Spelt much like the account's name"
    return f"No strong evidence; the best of {len(chart)} accounts"


def _history_reason(evidence: Evidence, candidate: int) -> str | None:
    query, history = evidence.query, evidence.history
    there = evidence.known & (history.positions == candidate) & (history.kinds == query.source.kind)
    if not there.any():
        return None
    code = evidence.chart.targets[candidate].code
    if query.memory and (same_name := int((there & (history.memories == query.memory)).sum())):
        return f"You mapped {_codes(same_name)} of the same name to {code}"
    group = query.source.group
    if group is not None and (in_group := int((there & (history.groups == group)).sum())):
        return f"Similar to {_codes(in_group)} under “{group}” you mapped to {code}"
    if query.prefix and (in_prefix := int((there & (history.prefixes == query.prefix)).sum())):
        return f"Similar to {_codes(in_prefix)} beginning with {query.prefix.upper()} you mapped to {code}"
    return f"You mapped {_codes(int(there.sum()))} to {code}"


def _codes(count: int) -> str:
    return "1 other code" if count == 1 else f"{count} other codes"
