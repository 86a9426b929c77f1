from dataclasses import asdict

from crewflow_assets.twin.parameters import draw_parameters, parameter_notes


def test_every_parameter_names_its_source_and_its_default_lies_in_its_range() -> None:
    notes = list(parameter_notes())
    assert len(notes) > 20
    for note in notes:
        assert note.source, note
        assert note.low < note.high, note
        assert note.low <= note.default <= note.high, note


def test_a_drawn_set_stays_in_the_ranges_repeats_by_seed_and_differs_by_seed() -> None:
    drawn = asdict(draw_parameters(5))
    assert drawn == asdict(draw_parameters(5))
    other = asdict(draw_parameters(6))
    for note in parameter_notes():
        assert note.low <= drawn[note.name] <= note.high, note
        assert drawn[note.name] != other[note.name], note
