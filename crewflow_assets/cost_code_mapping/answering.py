"""Answering a mapping request: precedence, ranking, confidence, the reason, and what may be automatic."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from crewflow_assets.arrays import Bools, Ints, Singles
from crewflow_assets.cost_code_mapping.chart import Chart, Query, Source, Target, prepare
from crewflow_assets.cost_code_mapping.context import SENT_CHARTS, CompanyContext, company_context
from crewflow_assets.cost_code_mapping.contract import MappingRequest, Method
from crewflow_assets.cost_code_mapping.features import COLUMN, FEATURES
from crewflow_assets.cost_code_mapping.history import History
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
NOUNS = {"cost_code": "code", "project": "project"}
MOST_CELLS = 16_000
"""Queries times candidates looked at together: some 2 MB of features, which the processor's cache holds."""


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
    usable = {kind: history.usable(kind) for kind in {query.source.kind for query in queries}}
    sizes = np.array([(row & usable[query.source.kind]).sum() for query, row in zip(queries, known, strict=True)])
    features = predictor.features_of_many(queries, group.chart, history, known)
    asked = zip(requests, queries, known, features, predictor.rank_many(features, sizes), strict=True)
    return [
        _answer_one(
            predictor,
            request,
            Evidence(query, group.chart, history, row, own.T, predictor.weights),
            ranking,
            group.context,
        )
        for request, query, row, own, ranking in asked
    ]


def _answer_one(
    predictor: MappingPredictor,
    request: MappingRequest,
    evidence: "Evidence",
    ranking: Ranking,
    context: CompanyContext,
) -> Answer:
    chart, source = evidence.chart, evidence.query.source
    order, confidence = ranking.order, ranking.confidence
    method: Method = "memory" if evidence.features[order[0], COLUMN["memory"]] >= 1 else "model"
    decided = context.standing.get((source.kind, source.code))
    withheld = untried = False
    if decided is not None and decided.target_code in chart.position and decided.method in PERSON:
        first = chart.position[decided.target_code]
        order = np.r_[first, order[order != first]]
        confidence = predictor.person_stands
        method, automatic = "person", True
    else:
        decided = None
        automatic = predictor.threshold is not None and ranking.confidence >= predictor.threshold
        untried = automatic and method == "model" and len(chart) < predictor.fewest_candidates
        automatic = automatic and not untried
        withheld = automatic and _withheld(request)
        automatic = automatic and not withheld
        method = method if automatic else "ask"
    told = order[: request.top_k].tolist()
    confidences = _confidences(ranking, told, confidence)
    suggestions = [
        {
            "target_code": chart.targets[j].code,
            "target_name": chart.targets[j].name,
            "confidence": round(sure, 4),
            "reason": (
                f"Mapped to {chart.targets[j].code} by {decided.decided_by}"
                if decided is not None and rank == 0
                else reason(evidence, j)
            )
            + (_untried(predictor) if untried and rank == 0 and len(chart) > 1 else ""),
            "auto_map": automatic and rank == 0,
        }
        for rank, (j, sure) in enumerate(zip(told, confidences, strict=True))
    ]
    share = get_settings().withheld_share
    return Answer({"suggestions": suggestions, "method": method, "withheld": withheld}, withheld, share)


def _untried(predictor: MappingPredictor) -> str:
    return f"; not automatic, as the confidence was hardly tried on fewer than {predictor.fewest_candidates} accounts"


def _chart(request: MappingRequest, context: CompanyContext) -> Chart:
    if request.target_accounts is not None:
        return SENT_CHARTS.of(tuple(Target(a.code, a.name, a.type, a.parent) for a in request.target_accounts))
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


def _confidences(ranking: Ranking, told: Sequence[int], confidence: float) -> list[float]:
    """Return each told candidate's probability of being right: the first's is given, the others share the rest."""
    rest = max(1 - float(ranking.probabilities[told[0]]), 1e-12)
    others = ranking.probabilities[told[1:]] / rest * (1 - confidence)
    return [confidence, *np.minimum(others, confidence).tolist()]


def _withheld(request: MappingRequest) -> bool:
    """Draw, once and for ever for each item, whether its automatic mapping goes blind to a person instead."""
    company = request.company_id or ""
    place = uniform("withheld", company, request.target_system, request.kind, request.crewflow_cost_code)
    return place < get_settings().withheld_share


@dataclass(frozen=True, slots=True)
class Mapped:
    """How many of the known items of the query's kind went to each account: all, and those like the query."""

    at_all: Ints
    of_name: Ints
    in_group: Ints
    of_prefix: Ints


@dataclass(frozen=True)
class Evidence:
    """What an answer stands on: the query, its candidates' features, and what it may know of the history."""

    query: Query
    chart: Chart
    history: History
    known: Bools
    features: Singles
    weights: Singles

    @cached_property
    def average(self) -> Singles:
        """The features of the average candidate."""
        average: Singles = self.features.mean(axis=0)
        return average

    @cached_property
    def mapped(self) -> Mapped:
        """What the company did with other items."""
        query, history = self.query, self.history
        told = self.known & history.usable(query.source.kind)
        alike = (history.memories.same(query.memory), history.groups.same(query.source.group))
        of_prefix = history.prefixes.same(query.prefix)
        counted = (told, *(told & like for like in (*alike, of_prefix)))
        return Mapped(*(np.bincount(history.positions[rows], minlength=len(self.chart)) for rows in counted))

    def moved(self, candidate: int) -> Singles:
        """Return by how much each feature moves a candidate's score above the average candidate's."""
        moved: Singles = (self.features[candidate] - self.average) * self.weights
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
    noun = NOUNS[query.source.kind]
    shared = _shared_words(query, target)
    if by_others >= DOUBLED and by_others > max(by_words, by_type):
        return f"Other companies book {noun}s like this to such accounts"
    if shared and by_words >= by_type:
        return shared
    if query.cost_type is not None and query.cost_type == chart.cost_types[candidate]:
        article = "An" if query.cost_type[0] in "aeiou" else "A"
        return f"{article} {query.cost_type} {noun}, and an account for {query.cost_type}"
    if shared:
        return shared
    if evidence.features[candidate, COLUMN["name_similarity"]] > 0.2:
        return "Spelt much like the account's name"
    return "No strong evidence; " + (f"the best of {len(chart)} accounts" if len(chart) > 1 else "the only account")


def _shared_words(query: Query, target: Target) -> str | None:
    """Say which of the source's words stand in the account's name, and whether its own or its parent's."""
    standing, own = words(target.context), frozenset(words(target.name))
    shared = sorted((query.words & set(standing)) - FILLERS, key=standing.index)
    if not shared:
        return None
    if own.issuperset(shared):
        where = "the account's name"
    elif own.isdisjoint(shared):
        where = "the name of the account's parent"
    else:
        where = "the account's name and its parent's"
    return f"“{' '.join(shared)}” stands in {where}"


def _history_reason(evidence: Evidence, candidate: int) -> str | None:
    query, mapped = evidence.query, evidence.mapped
    if not mapped.at_all[candidate]:
        return None
    kind, code = query.source.kind, evidence.chart.targets[candidate].code
    if same_name := mapped.of_name[candidate]:
        return f"You mapped {_others(same_name, kind)} of the same name to {code}"
    if in_group := mapped.in_group[candidate]:
        return f"Similar to {_others(in_group, kind)} under “{query.source.group}” you mapped to {code}"
    if in_prefix := mapped.of_prefix[candidate]:
        return f"Similar to {_others(in_prefix, kind)} beginning with {query.prefix.upper()} you mapped to {code}"
    return f"You mapped {_others(mapped.at_all[candidate], kind)} to {code}"


def _others(count: int, kind: str) -> str:
    return f"{count} other {NOUNS[kind]}{'' if count == 1 else 's'}"
