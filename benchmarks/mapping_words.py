"""What the texts of a list say of a chart's titles beyond the product's features: words, headings and opposites.

A word's rarity is counted over the codes' names and the titles together, for what is common in the one ("systems")
may be rare in the other. Headings are read by themselves, under which a name that tells little stands.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from benchmarks.mapping_data import Task
from crewflow_assets.arrays import Singles
from crewflow_assets.cost_code_mapping.text import spoken, stacked, unordered, vectors, words
from crewflow_assets.encoder import encoder

OPPOSITES = (
    *(("internal", "external"), ("interior", "exterior"), ("internal", "exterior"), ("interior", "external")),
    *(("inside", "outside"), ("above", "below"), ("hot", "cold"), ("heating", "cooling")),
    *(("temporary", "permanent"), ("supply", "waste"), ("supply", "disposal"), ("underground", "overhead")),
    ("underground", "above"),
)


def word_features(task: Task) -> Singles:
    """Return them for every code and target, shape (codes, targets, features); those of headings if there are any."""
    names = [frozenset(words(query.source.name)) for query in task.queries]
    titles = [frozenset(words(target.name)) for target in task.chart.targets]
    spelling = stacked([query.name for query in task.queries]) @ vectors([t.name for t in task.chart.targets]).T
    found = [*_shared(names, titles), spelling.toarray(), -_opposite(task)]
    if any(query.source.group for query in task.queries):
        found += _of_headings(task)
    return np.stack(found, axis=-1).astype(np.float32)


def _shared(names: Sequence[frozenset[str]], titles: Sequence[frozenset[str]]) -> list[Singles]:
    """Return which part of each name, and of each title, the shared words are by rarity, and the rarest of them."""
    place = {word: i for i, word in enumerate(sorted(frozenset().union(*names, *titles)))}

    def table(texts: Sequence[frozenset[str]]) -> sparse.csr_matrix:
        rows = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        columns = [place[word] for text in texts for word in sorted(text)]
        return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(texts), len(place)))

    in_names, in_titles = table(names), table(titles)
    having = in_names.sum(axis=0).A1 + in_titles.sum(axis=0).A1
    rarity = np.log1p((len(names) + len(titles)) / having)
    weighed = in_names.multiply(rarity).tocsr()
    shared = (weighed @ in_titles.T).toarray()
    rarest = np.zeros_like(shared)
    for row in range(len(names)):
        common = in_titles.multiply(weighed[row]).tocsr()
        rarest[row] = common.max(axis=1).toarray().ravel()
    whole = [np.maximum(table @ rarity, 1e-9) for table in (in_names, in_titles)]
    return [shared / whole[0][:, None], shared / whole[1], rarest]


def _opposite(task: Task) -> Singles:
    """Return 1 where a name has a word and the title or its parents have its opposite, and neither has both."""
    names = [frozenset(words(query.source.name)) for query in task.queries]
    titles = [frozenset(words(target.context)) for target in task.chart.targets]
    found = np.zeros((len(names), len(titles)), bool)
    for pair in OPPOSITES:
        for one, other in (pair, pair[::-1]):
            named = np.array([one in text and other not in text for text in names])
            titled = np.array([other in text and one not in text for text in titles])
            found |= np.outer(named, titled)
    return found.astype(np.float32)


def _of_headings(task: Task) -> list[Singles]:
    """Return cosines of heading and title, of both with the name, and of the heading with the title's parents."""
    encode, chart = encoder().encode, task.chart
    headings = encode([unordered(query.source.group or query.source.name) for query in task.queries])
    contexts = encode([unordered(query.source.context) for query in task.queries])
    parents = encode([spoken(target.parent or target.name) for target in chart.targets])
    return [
        headings @ chart.embeddings.T,
        contexts @ chart.embeddings.T,
        contexts @ chart.context_embeddings.T,
        headings @ parents.T,
    ]
