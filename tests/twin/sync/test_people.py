import numpy as np
import pytest

from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.sync.calendar import Calendar
from crewflow_assets.twin.sync.fleet import Customer, build_fleet
from crewflow_assets.twin.sync.luck import Luck
from crewflow_assets.twin.sync.parameters import DEFAULTS, TICKS_PER_DAY
from crewflow_assets.twin.sync.people import People
from tests.twin.sync.conftest import START

COUNT, DAYS = 120, 14
ENDED = 40 + TICKS_PER_DAY
"""A tick of the first Tuesday."""


def locked_out_ticks(ask: str | None) -> np.ndarray:
    """Return for how long each is locked out whose grant someone ended, with or without being asked."""
    random = Randomness(2)
    fleet = build_fleet([(random, [Customer(f"i-{n}", f"c-{n}", "quickbooks", 20) for n in range(COUNT)], DEFAULTS)])
    calendar = Calendar(START, DAYS)
    luck = Luck(fleet, [random], calendar)
    people = People(fleet, [DEFAULTS], calendar, {ENDED: list(range(COUNT))})
    out = np.zeros(COUNT)
    nobody, everybody = np.zeros(COUNT, dtype=bool), np.ones(COUNT, dtype=bool)
    for tick in range(DAYS * TICKS_PER_DAY):
        day = luck.of(tick // TICKS_PER_DAY)
        people.live(tick, day, day.records[tick % TICKS_PER_DAY])
        out += people.is_locked_out
        if tick > ENDED and ask == "grants":
            people.ask(tick, grants=everybody, records=nobody)
        if tick > ENDED and ask == "records":
            people.ask(tick, grants=nobody, records=everybody)
    return out


@pytest.fixture(scope="module")
def unasked() -> np.ndarray:
    return locked_out_ticks(None)


def test_an_ended_grant_is_renewed_in_time_even_unasked(unasked: np.ndarray) -> None:
    assert (unasked > 0).all()
    assert (unasked < 8 * TICKS_PER_DAY).all()


def test_who_is_asked_renews_it_sooner_and_never_later(unasked: np.ndarray) -> None:
    asked = locked_out_ticks("grants")
    assert (asked <= unasked).all()
    assert np.median(asked) < 0.6 * np.median(unasked)


def test_being_asked_about_records_renews_no_grant(unasked: np.ndarray) -> None:
    assert (locked_out_ticks("records") == unasked).all()


def test_only_a_grant_that_syncs_do_not_renew_runs_out_and_its_end_is_told() -> None:
    random = Randomness(2)
    fleet = build_fleet([(random, [Customer(f"i-{n}", f"c-{n}", "sage", 20) for n in range(COUNT)], DEFAULTS)])
    calendar = Calendar(START, 2)
    people, who = People(fleet, [DEFAULTS], calendar, {}), np.arange(COUNT)
    life = 31 * 86_400.0
    told = people.grant_seconds(0, who)
    assert (told[~fleet.rigid] == life).all()
    assert (told[fleet.rigid] < life).all()
    luck = Luck(fleet, [random], calendar).of(0)
    for tick in range(TICKS_PER_DAY):
        people.live(tick, luck, luck.records[tick])
    ended = told <= 86_400 - 900
    assert ended.any()
    assert (people.is_locked_out == ended).all()
    assert (np.isnan(people.grant_seconds(TICKS_PER_DAY - 1, who)) == ended).all()


def test_work_is_done_in_working_hours() -> None:
    calendar = Calendar(START, DAYS)
    zone = np.zeros(3, dtype=np.int64)
    friday_evening = 4 * TICKS_PER_DAY + 23 * 4
    at = calendar.after_work(friday_evening, zone, np.array([0.2, 1.0, 12.0]))
    assert (calendar.weekday[0, at] == np.array([0, 0, 1])).all()
    assert ((calendar.hour[0, at] >= 7) & (calendar.hour[0, at] < 18)).all()
