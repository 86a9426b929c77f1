"""Parameters of the simulated worlds: each names its source, and draws stay in the ranges."""

from dataclasses import asdict

import pytest

from crewflow_assets.twin.notes import draw_parameters, notes_of
from crewflow_assets.twin.parameters import TwinParameters
from crewflow_assets.twin.retries.parameters import RetryParameters
from crewflow_assets.twin.sync.parameters import SyncParameters
from crewflow_assets.twin.timecards.parameters import TimecardParameters

every_set = pytest.mark.parametrize("kind", [TwinParameters, SyncParameters, RetryParameters, TimecardParameters])


@every_set
def test_every_parameter_names_its_source_and_its_default_lies_in_its_range(kind: type) -> None:
    notes = list(notes_of(kind))
    assert notes
    for note in notes:
        assert len(note.source) > 10, note
        assert note.low < note.high, note
        assert note.low <= note.default <= note.high, note


@every_set
def test_a_drawn_set_stays_in_the_ranges_repeats_by_seed_and_differs_by_seed(kind: type) -> None:
    drawn, again, other = (asdict(draw_parameters(kind, seed)) for seed in (5, 5, 6))
    assert drawn == again
    for note in notes_of(kind):
        assert note.low <= drawn[note.name] <= note.high, note
        assert drawn[note.name] != other[note.name], note
