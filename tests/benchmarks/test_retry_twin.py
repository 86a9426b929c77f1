import json
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks.retry_twin import AWS, CEILING, FIXED, HURRIED, NEVER, OURS, RESENT, baseline_settings, main
from benchmarks.retry_twin_calibration import ANY_DELAY, CHOSEN
from benchmarks.retry_twin_figures import CAUSES, Sums, ahead, envelope, figures, mix, sums_of, waits_for_people
from crewflow_assets.twin.retries.play import play
from crewflow_assets.twin.retries.policies import Fixed
from crewflow_assets.twin.sync.attempts import Cause
from tests.twin.retries.conftest import retry_world

DRAWS = 8


def sums(done: float, retries: float) -> Sums:
    """Return the sums of a policy that does so much of 100 failures in each draw."""
    some = np.full(DRAWS, float(done))
    return Sums(
        failures=np.full(DRAWS, 100.0),
        done={1: some / 2, 24: some},
        retries=np.full(DRAWS, float(retries)),
        retried=np.full(DRAWS, 80.0),
        look_ups=np.zeros(DRAWS),
        duplicates=np.zeros(DRAWS),
        minutes=5.0,
        by_cause=dict.fromkeys(CAUSES, (0.0, 0.0)),
    )


def test_figures_are_ratios_of_sums() -> None:
    one = figures(sums(40, 160))
    assert (one.within_24h.value, one.within_1h.value) == (0.4, 0.2)
    assert one.of_retried.value == 0.5
    assert one.per_retry.value == 0.25
    assert one.retries.value == 1.6


def test_ours_is_mixed_to_as_many_retries() -> None:
    found = ahead([sums(30, 50), sums(45, 150), sums(60, 300)], sums(40, 100), 24)
    assert found.done.value == pytest.approx(-0.025)
    assert found.retries.value == pytest.approx(0)
    assert found.done.low == pytest.approx(found.done.high)


def test_what_costs_less_is_not_stretched_to_the_others_cost() -> None:
    found = ahead([sums(30, 50)], sums(20, 100), 24)
    assert found.done.value == pytest.approx(0.1)
    assert found.retries.value == pytest.approx(-0.5)


def test_who_retries_less_than_any_setting_gives_some_calls_up() -> None:
    assert mix([(100.0, 60.0)], 50.0).tolist() == [0.5]
    assert mix([(100.0, 60.0), (50.0, 40.0)], 75.0).tolist() == [0.5, 0.5]
    assert mix([(100.0, 60.0), (50.0, 70.0)], 200.0).tolist() == [0.0, 1.0]


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1, max_size=8), st.floats(0, 120))
def test_a_mix_keeps_to_its_budget_and_no_single_setting_outdoes_it(
    points: list[tuple[float, float]], budget: float
) -> None:
    shares = mix(points, budget)
    cost, gain = (sum(share * point[part] for share, point in zip(shares, points, strict=True)) for part in (0, 1))
    assert shares.min() >= 0
    assert shares.sum() <= 1 + 1e-9
    assert cost <= budget + 1e-6
    assert gain >= max((point[1] for point in points if point[0] <= budget), default=0) - 1e-6


def test_sums_count_what_was_played() -> None:
    world = retry_world(31, 20, 3)
    played = play(world, Fixed(60.0, 3))
    everything = np.ones(len(world.calls), dtype=bool)
    found = sums_of(world, played, everything)
    assert found.failures.sum() == len(world.calls)
    assert found.retries.sum() == played.retries.sum() == len(played.log)
    assert found.done[24].sum() == played.log.ok.sum()
    assert found.done[1].sum() <= found.done[24].sum()
    mended = sums_of(world, played, everything & ~waits_for_people(world))
    people = np.isin(world.calls.cause, (Cause.AUTH, Cause.DATA_QUALITY))
    assert mended.failures.sum() == (~people).sum()
    assert np.isnan(mended.by_cause[Cause.AUTH][0])


def test_a_frontier_is_made_of_what_no_mix_outdoes() -> None:
    points = [(2.0, 0.5), (1.0, 0.2), (3.0, 0.4), (1.0, 0.3), (4.0, 0.6)]
    assert envelope(points) == [(1.0, 0.3), (2.0, 0.5), (4.0, 0.6)]
    assert envelope([(1.0, 0.1), (2.0, 0.5)]) == [(2.0, 0.5)]


def test_the_settings_have_names_of_their_own() -> None:
    settings = baseline_settings()
    assert set(settings) >= {NEVER, FIXED, AWS, CEILING}
    assert "3 × 1 h" in settings[FIXED]
    assert "2 × 1 s, at most 20 s" in settings[AWS]


def test_the_command_prints_its_tables(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    size = ["--draws", "2", "--integrations", "8", "--days", "1", "--training-draws", "1"]
    shown = CliRunner().invoke(app, [*size, "--json", str(tmp_path / "f.json"), "--plots", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    for name in (FIXED, AWS, OURS, HURRIED, RESENT, CEILING):
        assert f"| {name} |" in shown.output
    content = json.loads((tmp_path / "f.json").read_text())
    assert content["figures"][OURS]["≤ 7 retries, each costs 0.02"]["within_24h"]["low"] <= 1
    assert set(content["calibration"]) == {ANY_DELAY, CHOSEN}
    resent = content["figures"][RESENT]["≤ 7 retries, each costs 0.02"]
    assert (
        resent["within_24h"]["value"]
        >= content["figures"][OURS]["≤ 7 retries, each costs 0.02"]["within_24h"]["value"]
    )
    assert {"retry-twin-1h.png", "retry-twin-24h.png"} <= {file.name for file in tmp_path.iterdir()}
