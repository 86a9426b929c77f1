"""From a cost code, a chart and the company's own history to one feature row for each candidate account.

``candidate_features`` is the one function for training and serving alike (P4): training hands it the history as it
stood before the decision, serving the history as it stands now.
"""

from collections.abc import Sequence

import numpy as np

from crewflow_assets.arrays import AnyFloats, Bools, Singles
from crewflow_assets.cost_code_mapping.chart import Chart, Query
from crewflow_assets.cost_code_mapping.history import Grouped, History
from crewflow_assets.cost_code_mapping.text import dense

FEATURES = (
    "name_similarity",
    "context_similarity",
    "encoder_name",
    "encoder_context",
    "source_covered",
    "target_covered",
    "cost_type_match",
    "cost_type_clash",
    "is_direct_cost",
    "is_expense",
    "is_income",
    "is_balance_sheet",
    "code_match",
    "used_before",
    "log_share_all",
    "log_share_group",
    "log_share_prefix",
    "log_share_stem",
    "log_share_cost_type",
    "log_share_group_type",
    "log_share_prefix_type",
    "share_group",
    "share_prefix",
    "share_stem",
    "nearest",
    "nearest_spelling",
    "neighbours",
    "memory",
)
COLUMN = {name: index for index, name in enumerate(FEATURES)}
OF_HISTORY = slice(COLUMN["used_before"], len(FEATURES))

PRIOR = 0.2  # pseudo-count of an account that has not been used
NEIGHBOUR_SHARPNESS = 9.0  # weight of a neighbour: exp(-9 (1 - cosine)), about 1/90 at cosine .5


def candidate_features(query: Query, chart: Chart, history: History) -> Singles:
    """Return the features of every candidate, shape (len(chart), len(FEATURES)); ``FEATURES`` names the columns.

    The source itself must not be in the history.
    """
    features: Singles = features_of_many([query], chart, history, np.ones((1, len(history)), bool))[0].T
    return features


def features_of_many(queries: Sequence[Query], chart: Chart, history: History, known: Bools) -> Singles:
    """Return the same for several queries of one company, shape (len(queries), len(FEATURES), len(chart)).

    ``known``, shape (len(queries), len(history)), says what of the history each may know: all but itself.
    """
    features = np.empty((len(queries), len(FEATURES), len(chart)), np.float32)
    write_features(queries, chart, history, known, features)
    return features


def write_features(queries: Sequence[Query], chart: Chart, history: History, known: Bools, into: Singles) -> None:
    """Write what ``features_of_many`` returns ``into`` an array of its shape."""
    embeddings = np.stack([query.embedding for query in queries])
    _write_text_features(queries, chart, embeddings, into)
    kinds = [query.source.kind for query in queries]
    into[:, OF_HISTORY] = 0
    if not len(history):
        return
    cosine = np.clip(embeddings @ history.embeddings.T, 0, 1)
    spelling: Singles = (history.contexts @ dense([query.context for query in queries])).T
    for kind in dict.fromkeys(kinds):
        asked, told = np.flatnonzero([one == kind for one in kinds]), history.grouped(kind)
        if len(told.rows):
            cells = np.ix_(asked, told.rows)
            of_kind = [queries[place] for place in asked.tolist()]
            found = _of_history(of_kind, len(chart), told, known[cells], cosine[cells], spelling[cells])
            into[asked, OF_HISTORY] = found


def _write_text_features(queries: Sequence[Query], chart: Chart, embeddings: Singles, into: Singles) -> None:
    into[:, COLUMN["name_similarity"]] = chart.names.like([query.name for query in queries])
    into[:, COLUMN["context_similarity"]] = chart.contexts.like([query.context for query in queries])
    into[:, COLUMN["encoder_name"]] = embeddings @ chart.embeddings.T
    into[:, COLUMN["encoder_context"]] = embeddings @ chart.context_embeddings.T
    cost_type_columns = slice(COLUMN["cost_type_match"], COLUMN["cost_type_clash"] + 1)
    kind_columns = slice(COLUMN["is_direct_cost"], COLUMN["is_balance_sheet"] + 1)
    for query, row in zip(queries, into, strict=True):
        shared = chart.shared_words(query.words)
        row[COLUMN["source_covered"]] = shared / (chart.tells(query.words) or 1.0)
        row[COLUMN["target_covered"]] = shared / chart.told
        row[cost_type_columns] = chart.by_cost_type[query.cost_type]
        row[kind_columns] = chart.by_kind["project" if query.source.kind == "project" else "cost_code"]
        row[COLUMN["code_match"]] = chart.having_digits(query.source.code)


def _of_history(
    queries: Sequence[Query], size: int, told: Grouped, known: Bools, cosine: Singles, spelling: Singles
) -> Singles:
    """Return the features from ``used_before`` on for a chart of a size, shape (len(queries), features, size).

    ``known``, ``cosine`` and ``spelling`` have the shape (len(queries), len(told.rows)).
    """
    same_group = told.groups.same_as([query.source.group for query in queries]) & known
    same_prefix = told.prefixes.same_as([query.prefix for query in queries]) & known
    same_stem = told.stems.same_as([query.stem for query in queries]) & known
    same_type = told.cost_types.same_as([query.cost_type for query in queries]) & known
    weights = np.empty((9, *known.shape))
    weights[:4] = known, same_group, same_prefix, same_stem
    weights[4:7] = same_type, same_group & same_type, same_prefix & same_type
    weights[7] = np.exp(NEIGHBOUR_SHARPNESS * (cosine - 1)) * known
    weights[8] = told.memories.same_as([query.memory for query in queries]) & known
    counts = np.add.reduceat(weights, told.starts, axis=-1)
    totals = counts.sum(axis=-1, keepdims=True)
    shares = counts / np.maximum(1.0, totals)
    nearest = np.maximum.reduceat(np.stack([cosine, spelling]) * known, told.starts, axis=-1)
    lifts, lift_without = _lift(counts[:8], totals[:8], size), _lift(np.zeros(1), totals[:8], size)
    of_used = {
        "used_before": counts[0] > 0,
        **dict(zip(_LIFTS, lifts, strict=True)),
        "share_group": shares[1],
        "share_prefix": shares[2],
        "share_stem": shares[3],
        "nearest": nearest[0],
        "nearest_spelling": nearest[1],
        "memory": shares[8],
    }
    found = np.zeros((len(queries), len(FEATURES) - OF_HISTORY.start, size), np.float32)
    for name, values in zip(_LIFTS, lift_without, strict=True):
        found[:, COLUMN[name] - OF_HISTORY.start] = values
    found[:, :, told.accounts] = np.stack([of_used[name] for name in FEATURES[OF_HISTORY]], axis=1)
    return found


_LIFTS = (
    *("log_share_all", "log_share_group", "log_share_prefix", "log_share_stem"),
    *("log_share_cost_type", "log_share_group_type", "log_share_prefix_type", "neighbours"),
)


def _lift(counts: AnyFloats, total: AnyFloats, size: int) -> AnyFloats:
    """Return the log of an account's smoothed share over the uniform share; 0 without any counts."""
    result: AnyFloats = np.log((counts + PRIOR) / (total + PRIOR * size) * size)
    return result
