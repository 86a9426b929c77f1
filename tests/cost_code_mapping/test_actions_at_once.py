"""Decisions that several people take at once."""

import threading
from collections.abc import Callable
from typing import Any

from crewflow_assets.errors import ConflictError
from crewflow_assets.store.tables import Mapping, OutboxCommand
from tests.cost_code_mapping.deciding import audit, everything, revision, say, standing


def run_together(*acts: Callable[[], dict[str, Any]]) -> list[Any]:
    """Run functions in threads that start at once; return what each answered or raised."""
    barrier = threading.Barrier(len(acts))
    outcomes: list[Any] = [None] * len(acts)

    def run(place: int) -> None:
        barrier.wait()
        try:
            outcomes[place] = acts[place]()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            outcomes[place] = error

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return outcomes


def test_of_two_people_who_accept_different_accounts_at_once_one_wins(company: str) -> None:
    outcomes = run_together(lambda: say("accept", "50100", by="a"), lambda: say("accept", "50200", by="b"))
    [won] = [outcome for outcome in outcomes if isinstance(outcome, dict)]
    [lost] = [outcome for outcome in outcomes if not isinstance(outcome, dict)]
    assert isinstance(lost, ConflictError)
    assert standing().target_code == won["target_code"]
    assert len(audit()) == len(everything(OutboxCommand)) == 1


def test_of_two_people_who_accept_the_same_account_at_once_both_get_the_same_answer(company: str) -> None:
    one, other = run_together(*[lambda: say("accept", "50100")] * 2)
    assert one == other
    assert len(audit()) == len(everything(OutboxCommand)) == 1


def test_decisions_on_many_items_at_once_are_all_kept(company: str) -> None:
    codes = ["16-100.L", "16-100.M", "16-200.L", "16-200.M", "16-300.S", "01-500", "01-510", "01-900"]
    before = revision()
    outcomes = run_together(*(lambda code=code: say("accept", "50100", code=code) for code in codes))
    assert all(isinstance(outcome, dict) for outcome in outcomes), outcomes
    assert sorted(m.source_code for m in everything(Mapping)) == sorted(codes)
    assert revision() == before + 8
