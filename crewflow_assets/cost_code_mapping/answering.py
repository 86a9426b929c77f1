"""Answering a mapping request: precedence, ranking, confidence, the reason, and what may be automatic."""

from collections import Counter

import numpy as np

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

OWN_HISTORY = FEATURES[FEATURES.index("used_before") :]
DOUBLED = 0.69  # log of the odds
FILLERS = frozenset(("and", "of", "for", "the", "to", "in", "on", "other", "misc"))
WORDS = FEATURES[: FEATURES.index("cost_type_match")]


def answer(predictor: MappingPredictor, request: MappingRequest) -> Answer:
    """Answer one request.

    Raises:
        InvalidInputError: there are no candidates: neither in the request nor stored for the company.
    """
    context = company_context(request.company_id, request.target_system)
    chart = _chart(request, context)
    source = Source(
        kind=request.kind,
        code=request.crewflow_cost_code,
        name=request.cost_code_name,
        description=request.cost_code_description,
        group=request.cost_code_group or context.groups.get((request.kind, request.crewflow_cost_code)),
        project_type=request.crewflow_project_type,
        industry=request.company_industry,
    )
    history = context.history_without(source.kind, source.code, chart)
    [query] = prepare([source])
    features = predictor.features(query, chart, history)
    ranking = predictor.rank(features, len(history))
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
                else reason(predictor, query, chart, history, features, int(j))
            ),
            "auto_map": automatic and rank == 0,
        }
        for rank, j in enumerate(order[: request.top_k])
    ]
    share = get_settings().withheld_share
    return Answer({"suggestions": suggestions, "method": method, "withheld": withheld}, withheld, share)


def _chart(request: MappingRequest, context: CompanyContext) -> Chart:
    if request.target_accounts is not None:
        codes = Counter(account.code for account in request.target_accounts)
        code, times = codes.most_common(1)[0]
        if times > 1:
            raise InvalidInputError(
                "the candidates are ambiguous",
                (FieldProblem(("target_accounts",), f"account code {code!r} occurs {times} times; send each once"),),
            )
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


def reason(
    predictor: MappingPredictor, query: Query, chart: Chart, history: History, features: Floats, candidate: int
) -> str:
    """Say why this account, from what moved its score above the average candidate's.

    The company's own history is named where it at least doubled the odds, else what moved the score most.
    """
    target = chart.targets[candidate]
    moved = (features[candidate] - features.mean(axis=0)) * predictor.weights
    by_history = sum(moved[COLUMN[name]] for name in OWN_HISTORY)
    by_words = sum(moved[COLUMN[name]] for name in WORDS)
    by_others = sum(moved[len(FEATURES) :])  # what was learned from others stands behind the own features
    by_type = moved[COLUMN["cost_type_match"]] + moved[COLUMN["cost_type_clash"]]
    if by_history >= DOUBLED and (said := _history_reason(query, target, history, candidate)):
        return said
    spoken = words(query.source.name)
    shared = sorted((query.words & set(words(target.context))) - FILLERS, key=spoken.index)
    if by_others > max(by_words, by_type):
        return "Other companies book codes like this to such accounts"
    if shared and by_words >= by_type:
        return f"“{' '.join(shared)}” stands in the account's name"
    if query.cost_type is not None and query.cost_type == chart.cost_types[candidate]:
        return f"A {query.cost_type} code, and an account for {query.cost_type}"
    if shared:
        return f"“{' '.join(shared)}” stands in the account's name"
    if features[candidate, COLUMN["name_similarity"]] > 0.2:
        return "Spelt much like the account's name"
    return f"No strong evidence; the best of {len(chart)} accounts"


def _history_reason(query: Query, target: Target, history: History, candidate: int) -> str | None:
    there = (history.positions == candidate) & (history.kinds == query.source.kind)
    if not there.any():
        return None
    if query.memory and (same_name := int((there & (history.memories == query.memory)).sum())):
        return f"You mapped {_codes(same_name)} of the same name to {target.code}"
    group = query.source.group
    if group is not None and (in_group := int((there & (history.groups == group)).sum())):
        return f"Similar to {_codes(in_group)} under “{group}” you mapped to {target.code}"
    if in_prefix := int((there & (history.prefixes == query.prefix)).sum()):
        return f"Similar to {_codes(in_prefix)} beginning with {query.prefix.upper()} you mapped to {target.code}"
    return f"You mapped {_codes(int(there.sum()))} to {target.code}"


def _codes(count: int) -> str:
    return "1 other code" if count == 1 else f"{count} other codes"
