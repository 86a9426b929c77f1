"""What a list's words and headings say of titles."""

import numpy as np

from benchmarks.mapping_data import Task
from benchmarks.mapping_words import word_features
from crewflow_assets.cost_code_mapping.chart import Chart, Source, Target, prepare

TARGETS = (
    Target("1", "External walls", None, "Superstructure"),
    Target("2", "Internal walls", None, "Superstructure"),
    Target("3", "Underpinning", None, "Substructure"),
)
COVERED, TITLE_COVERED, RAREST, SPELLING, NOT_OPPOSITE = range(5)
HEADING_PARENT = 8


def a_task(names: tuple[str, ...], group: str | None) -> Task:
    sources = [Source("cost_code", "", name, None, group, None, "masonry") for name in names]
    labels, firms = np.zeros(len(names), np.int64), np.array(["firm"] * len(names), object)
    return Task(
        name="made up",
        chart=Chart(TARGETS),
        queries=tuple(prepare(sources)),
        labels=labels,
        accepted=(frozenset([0]),) * len(names),
        firms=firms,
        sections=firms,
        unseen=np.ones(len(names), bool),
        notes=(),
    )


def test_a_rare_shared_word_counts_more_than_a_common_one() -> None:
    task = a_task(("Underpinning walls", "Walls of brick", "Walls of stone", "Walls of block"), None)
    found = word_features(task)
    assert found.shape == (4, 3, 5)
    assert found[0, 2, COVERED] > found[0, 0, COVERED] > 0
    assert found[0, 2, RAREST] > found[0, 0, RAREST]
    assert found[0, 2, TITLE_COVERED] == 1
    assert found[1, 2].tolist()[:RAREST] == [0, 0]
    assert found[0, 2, SPELLING] > found[1, 2, SPELLING]


def test_opposites_speak_against_a_title_unless_it_has_both() -> None:
    found = word_features(a_task(("Internal wall lining", "Walls, internal and external", "Wall"), None))
    assert found[0, :, NOT_OPPOSITE].tolist() == [-1, 0, 0]
    assert not found[1:, :, NOT_OPPOSITE].any()


def test_headings_are_read_where_there_are_any() -> None:
    found = word_features(a_task(("Piles", "Pads"), "Substructure"))
    assert found.shape == (2, 3, 9)
    assert found[0, :, HEADING_PARENT].argmax() == 2
