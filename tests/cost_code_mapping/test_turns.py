"""Turns are given in the order in which they were asked for, and lost by who does not come again."""

import pytest

from crewflow_assets.cost_code_mapping import turns
from crewflow_assets.cost_code_mapping.turns import MOST_WAITING, WAITED_SECONDS, Turns


class Clock:
    """The seconds that ``turns`` reads."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns, "monotonic", clock)
    return clock


def test_as_many_as_may_have_their_turn_and_the_others_wait_in_order(clock: Clock) -> None:
    two = Turns(2)
    assert [two.take(who) for who in "abcd"] == [True, True, False, False]
    clock.now += 10 * WAITED_SECONDS
    assert not two.take("c"), "a turn has no end before what is done in it"
    assert not two.take("d")
    two.give_back("a")
    assert not two.take("d"), "c is first"
    assert two.take("c")
    two.give_back("b")
    assert two.take("d")
    assert [who in two for who in "abcd"] == [False, False, True, True]


def test_who_does_not_come_again_loses_the_place(clock: Clock) -> None:
    one = Turns(1)
    assert [one.take(who) for who in "abc"] == [True, False, False]
    clock.now += 0.6 * WAITED_SECONDS
    assert not one.take("c")
    one.give_back("a")
    assert not one.take("c"), "b may still come"
    clock.now += 0.6 * WAITED_SECONDS
    assert one.take("c")


def test_a_turn_whose_owner_does_not_come_back_ends_by_itself(clock: Clock) -> None:
    one = Turns(1)
    assert one.take("a")
    one.done("a")
    assert "a" in one
    assert not one.take("b")
    clock.now += WAITED_SECONDS
    assert "a" not in one
    assert one.take("b")


def test_so_many_wait_at_most(clock: Clock) -> None:
    one = Turns(1)
    for who in range(MOST_WAITING + 5):
        one.take(who)
    one.give_back(0)
    assert not one.take(MOST_WAITING + 4), "it has no place among those who wait"
    clock.now += WAITED_SECONDS
    assert one.take(MOST_WAITING + 4)
