"""Plots are drawn for the awkward cases too, and are PNG files of a sensible size."""

import numpy as np

from crewflow_assets.arrays import AnyFloats
from crewflow_assets.evaluation.plots import bar_plot, line_plot, precision_coverage_plot, reliability_plot


def assert_png(content: bytes) -> None:
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert 5_000 < len(content) < 200_000


def test_a_reliability_plot_is_drawn_even_of_a_single_row() -> None:
    assert_png(reliability_plot(np.array([0.9]), np.array([1.0]), title="one row"))
    assert_png(reliability_plot(np.linspace(0, 1, 500), np.ones(500), title="always right"))


def test_a_precision_plot_shows_what_was_chosen() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(300)
    right = (rng.random(300) < confidence).astype(float)
    curves: dict[str, tuple[AnyFloats, AnyFloats]] = {
        "ours": (confidence, right),
        "other": (confidence, np.ones(300)),
    }
    bare = precision_coverage_plot(curves, title="precision", target=0.95, chosen=None)
    marked = precision_coverage_plot(curves, title="precision", target=0.95, chosen=(0.4, 0.9))
    assert_png(bare)
    assert_png(marked)
    assert bare != marked


def test_bars_without_an_interval_are_drawn_without_whiskers() -> None:
    values = {"many (n=99)": (0.8, 0.7, 0.9), "one company (n=3)": (0.5, float("nan"), float("nan"))}
    assert_png(bar_plot(values, title="top-1", xlabel="top-1"))


def test_the_interval_of_a_single_point_is_seen() -> None:
    def drawn(low: float) -> bytes:
        x, *bounds = (np.array([value]) for value in (1.0, 0.5, low, 0.9))
        return line_plot(
            {"share right": (x, bounds[0], bounds[1], bounds[2])}, title="one week", xlabel="", ylabel=""
        )

    assert_png(drawn(0.4))
    assert drawn(0.4) != drawn(0.1)
