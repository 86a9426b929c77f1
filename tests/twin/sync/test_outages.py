import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.sync.outages import (
    Kind,
    Phase,
    Timeline,
    draw_phases,
    outage_minutes,
    outage_survival,
)
from crewflow_assets.twin.sync.parameters import DEFAULTS, SyncParameters

YEAR = 365


@pytest.fixture(scope="module")
def phases() -> list[Phase]:
    """Everything that befell 60 servers in a year."""
    return [phase for seed in range(60) for phase in draw_phases(Randomness(seed), "quickbooks", YEAR, 0, DEFAULTS)]


def lengths(phases: list[Phase]) -> np.ndarray:
    return np.array([phase.end - phase.start for phase in phases if phase.kind == Kind.OUTAGE])


@pytest.mark.parametrize(
    ("minutes", "share"), [(5, 0.03), (15, 0.43), (21.5, 0.50), (60, 0.73), (240, 0.89), (1440, 0.94)]
)
def test_outages_last_as_long_as_the_measured_ones(phases: list[Phase], minutes: float, share: float) -> None:
    found = lengths(phases)
    error = np.sqrt(share * (1 - share) / len(found))
    assert abs((found <= minutes).mean() - share) < 4 * error


def test_the_longer_an_outage_has_lasted_the_less_likely_it_ends_soon(phases: list[Phase]) -> None:
    found = lengths(phases)
    ends = [((found > age) & (found <= age + 15)).sum() / (found > age).sum() for age in (0.0, 15.0, 120.0)]
    assert ends == pytest.approx([0.43, 0.22, 0.03], abs=0.05)


@given(st.floats(0.0, 0.999), st.floats(36, 120))
def test_survival_is_the_inverse_of_the_lengths(quantile: float, longest: float) -> None:
    minutes = outage_minutes(np.array([quantile]), longest)
    assert outage_survival(minutes, longest) == pytest.approx([1 - quantile], abs=1e-9)


def test_outages_come_as_often_as_the_parameter_says(phases: list[Phase]) -> None:
    expected = 60 * YEAR / 30.4 * DEFAULTS.outages_per_month
    assert abs(len(lengths(phases)) - expected) < 4 * np.sqrt(expected)


def test_an_omen_ends_where_its_outage_begins(phases: list[Phase]) -> None:
    starts = {phase.start for phase in phases if phase.kind == Kind.OUTAGE}
    omens = [phase for phase in phases if phase.kind == Kind.OMEN]
    assert omens
    assert all(phase.end in starts for phase in omens)
    share = len(omens) / len(starts)
    assert abs(share - DEFAULTS.degradation_share) < 0.06


def test_maintenance_is_on_sundays(phases: list[Phase]) -> None:
    planned = [phase for phase in phases if phase.kind == Kind.MAINTENANCE]
    assert planned
    assert {int(phase.start // 1440) % 7 for phase in planned} == {6}  # the world began on a Monday
    assert 0 < np.mean([phase.announced for phase in planned]) < 1


def test_a_longer_world_begins_like_the_shorter_one() -> None:
    short = draw_phases(Randomness(5), "xero", 60, 0, SyncParameters())
    whole = draw_phases(Randomness(5), "xero", 365, 0, SyncParameters())
    assert [phase for phase in whole if phase.start < 59 * 1440 and phase.kind != Kind.OMEN] == [
        phase for phase in short if phase.start < 59 * 1440 and phase.kind != Kind.OMEN
    ]


def test_the_timeline_shows_the_graver_of_two_phases_and_whom_it_touches() -> None:
    slow = Phase(Kind.PASSING, 0, 100, 0.01, 2.0)
    down = Phase(Kind.OUTAGE, 50, 60, 1.0, 3.0, first=0.9, share=0.2)
    line = Timeline([[slow, down], []], days=1)
    server = np.array([0, 0, 0, 1])
    phase = line.at(server, np.array([10.0, 55.0, 99.5, 55.0]))
    assert [Kind(kind) for kind in line.kind[phase]] == [Kind.PASSING, Kind.OUTAGE, Kind.PASSING, Kind.NORMAL]
    touched = line.touches(np.full(4, phase[1]), np.array([0.95, 0.05, 0.15, 0.5]))
    assert touched.tolist() == [True, True, False, False]
