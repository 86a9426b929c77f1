import numpy as np

from crewflow_assets.twin.randomness import Randomness
from crewflow_assets.twin.sync.outages import Kind, Phase, draw_phases
from crewflow_assets.twin.sync.parameters import DEFAULTS
from crewflow_assets.twin.sync.status_pages import DEGRADED, MAINTENANCE, MAJOR, OPERATIONAL, PARTIAL, page

YEAR = 365


def test_a_page_begins_and_ends_operational_and_runs_in_time() -> None:
    for seed in range(5):
        randomness = Randomness(seed)
        said = page(randomness, "sage", draw_phases(randomness, "sage", YEAR, 0, DEFAULTS), YEAR, DEFAULTS)
        assert said[0].status == OPERATIONAL
        assert [status.minute for status in said] == sorted(status.minute for status in said)


def test_an_announced_outage_shows_late_and_an_unannounced_one_never() -> None:
    shown = [Phase(Kind.OUTAGE, 1000.0 * n, 1000.0 * n + 900, 1.0, 1.0, announced=True) for n in range(1, 300)]
    said = [status for status in page(Randomness(1), "xero", shown, 300, DEFAULTS) if status.status == MAJOR]
    lags = [status.minute % 1000 for status in said]
    assert len(said) > 290
    assert min(lags) > 0
    assert 14 < np.median(lags) < 28
    missed = [Phase(Kind.OUTAGE, 1000.0, 1900.0, 1.0, 1.0, announced=False)]
    assert not {MAJOR, PARTIAL} & {status.status for status in page(Randomness(1), "xero", missed, 300, DEFAULTS)}


def test_a_partial_outage_and_a_planned_window_are_called_so() -> None:
    phases = [
        Phase(Kind.MAINTENANCE, 100.0, 220.0, 1.0, 1.0, announced=True),
        Phase(Kind.OUTAGE, 5000.0, 6000.0, 1.0, 1.0, 0.2, 0.3, announced=True),
    ]
    said = [(status.status, status.minute) for status in page(Randomness(3), "xero", phases, 7, DEFAULTS)]
    assert (MAINTENANCE, 100.0) in said
    assert (OPERATIONAL, 220.0) in said
    assert PARTIAL in {status for status, _ in said}


def test_some_of_what_a_page_shows_is_none_of_ours() -> None:
    said = page(Randomness(2), "xero", [], YEAR, DEFAULTS)
    assert DEGRADED in {status.status for status in said}
