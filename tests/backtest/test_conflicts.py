"""The same conflicts left to people and resolved: what is automatic, and how often it is right."""

from typing import Any, cast

import numpy as np

from crewflow_assets.backtest.conflicts import BEST, LEARNED, MANUAL, Size, resolve_conflicts

SIZE = Size(draws=2, companies=2, days=25, counted=15)


class AlwaysCrewFlow:
    """Says that CrewFlow's value stands, and is sure of it for hours alone."""

    def probability(self, rows: np.ndarray) -> np.ndarray:
        return np.tile([0.98, 0.01, 0.01], (len(rows), 1))

    def automatic(self, _probability: np.ndarray, types: np.ndarray) -> np.ndarray:
        return np.asarray(types == "hours_mismatch")


def test_people_decide_all_and_the_model_what_it_is_sure_of() -> None:
    told: list[tuple[str, int, int]] = []
    found = resolve_conflicts(SIZE, cast(Any, AlwaysCrewFlow()), lambda *each: told.append(each))
    people, model, best = found[MANUAL], found[LEARNED], found[BEST]
    assert told[-1] == ("conflicts", 2, 2)
    assert people.conflicts.min() > 5
    np.testing.assert_array_equal(people.conflicts, model.conflicts)
    assert people.automatic.sum() == 0
    assert 0 < model.automatic.sum() < model.conflicts.sum()
    assert 0 < model.agreed.sum() < model.automatic.sum()
    assert (model.true_automatic <= model.true).all()
    assert (people.true <= people.conflicts).all()
    assert (best.agreed >= 0.94 * best.automatic).all()
