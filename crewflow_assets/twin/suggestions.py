"""What the old system proposed: the account whose name looks most like the name of the code, whatever it means."""

from collections.abc import Sequence

from rapidfuzz import fuzz, process, utils

from crewflow_assets.twin.records import Account


def string_matches(names: Sequence[str], accounts: Sequence[Account]) -> list[tuple[str, float]]:
    """Return, for each name, the key of the account with the most similar name, and the similarity in [0, 100]."""
    scores = process.cdist(
        names,
        [account.name for account in accounts],
        scorer=fuzz.token_set_ratio,
        processor=utils.default_process,
    )
    best = scores.argmax(axis=1)
    return [(accounts[j].key, float(scores[i, j])) for i, j in enumerate(best)]
