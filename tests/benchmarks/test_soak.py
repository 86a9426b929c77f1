"""The soak's own judgement: what is a wrong answer, what an outage explains, what counts as lost."""

from collections import Counter
from pathlib import Path

import pytest
import typer

from benchmarks import soak_load
from benchmarks.soak import setting
from benchmarks.soak_cases import differs
from benchmarks.soak_figures import figures, plot, table
from benchmarks.soak_load import SWITCH_SECONDS, Champions, Outage, Tally
from benchmarks.soak_memory import Held, busiest_share, growth
from benchmarks.soak_trouble import Happened


def test_answers_are_compared_apart_from_ids_and_the_last_place() -> None:
    said = {
        "prediction_id": "-",
        "model_version": "-",
        "variant": "-",
        "confidence": 0.81,
        "suggestions": [{"code": "1"}],
    }
    assert not differs(said, {**said, "prediction_id": "p-1", "model_version": "1.2", "confidence": 0.8105})
    assert differs(said, {**said, "confidence": 0.83})
    assert differs(said, {**said, "suggestions": [{"code": "2"}]})
    assert differs(said, {**said, "suggestions": []})
    assert differs(said, {**said, "more": 1})
    assert differs(0.5, None)
    assert not differs(None, None)


def test_a_former_champion_may_answer_for_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    champions = Champions({"echo": "1.0"})
    monkeypatch.setattr(soak_load, "perf_counter", lambda: 100.0)
    champions.promoted("echo", "1.1")
    assert champions.current("echo") == "1.1"
    assert champions.may_answer("echo", "1.1", 101.0, [])
    assert champions.may_answer("echo", "1.0", 100.0 + SWITCH_SECONDS, [])
    assert not champions.may_answer("echo", "1.0", 101.0 + SWITCH_SECONDS, [])
    assert not champions.may_answer("echo", "1.2", 101.0, [])
    late = 150.0 + SWITCH_SECONDS
    assert champions.may_answer("echo", "1.0", late, [Outage("database stopped", late - 5, late - 1)])


def test_an_outage_explains_what_overlaps_it_and_a_while_after() -> None:
    outage = Outage("database stopped", 10.0, 20.0, after=5.0)
    assert [outage.explains(at, at + 1) for at in (5.0, 9.5, 15.0, 24.0, 26.0)] == [False, True, True, True, False]
    assert Outage("database stopped", 10.0).explains(500.0, 501.0), "it goes on"


def told() -> Tally:
    return Tally(
        requests=Counter({"POST /v1/echo/predict": 3}),
        statuses=Counter({200: 2, 503: 1}),
        predictions={"p-1": 11.0, "p-2": 19.5},
        seconds=[(10.5, 0.1), (12.0, 0.2), (60.0, 0.3)],
    )


def test_a_lost_prediction_is_no_clean_soak(tmp_path: Path) -> None:
    lost: dict[str, list[str]] = {"decisions": [], "events": [], "predictions": ["p-1", "p-2"]}
    memory = [(float(at), {7: Held(5e8, at), 8: Held(7e8, at)}) for at in range(60)]
    happened = [
        Happened(20.0, "worker killed"),
        Happened(30.0, "echo 1.1 promoted"),
        Happened(40.0, "echo 1.0 promoted"),
    ]
    found = figures(told(), happened, memory, lost, 10.0)
    assert not found.clean
    assert found.growth is None
    assert found.memory[0] == pytest.approx((0.0, 6e8 / 2**20))
    assert "| **lost predictions** of those acknowledged | 2 of 2 |" in table(found)
    assert "1 × worker killed, 2 × promoted" in table(found)
    lost["predictions"].clear()
    assert figures(told(), happened, memory, lost, 10.0).clean
    plot(found, tmp_path / "img" / "soak.png")
    assert (tmp_path / "img" / "soak.png").stat().st_size > 10_000


def held(worker: int, at: int, per_hour: float, busy_from: int = 0) -> Held:
    """A worker fills its caches in two minutes of work, then grows, at a level of its own, and shakes a little."""
    work = max(0, at - busy_from)
    size = 2**20 * (400 + worker + min(work, 120) + per_hour * at / 3600 + (at // 60 * 7919 % 5) / 10)
    return Held(size, 0.7 * work)


@pytest.mark.parametrize("per_hour", [0.0, 40.0])
def test_growth_is_told_apart_from_warming_up_and_from_a_new_worker(per_hour: float) -> None:
    samples = []
    for at in range(1800):
        second = (2, at) if at < 900 else (3, at - 900)  # killed, and replaced by another
        idle_at_first = held(1, at, per_hour, busy_from=600)
        samples.append((float(at), {1: idle_at_first, second[0]: held(*second, per_hour)}))
    found = growth(samples)
    assert found is not None
    assert found.low < per_hour < found.high
    assert found.high - found.low < 10


def test_the_second_half_shows_what_the_first_fills() -> None:
    def size(at: int) -> float:
        return 2**20 * (500 + min(at, 1000) / 10 + (at // 60 * 7919 % 5) / 10)

    samples = [(float(at), {1: Held(size(at), float(at))}) for at in range(2400)]
    found = figures(told(), [], samples, {"decisions": [], "events": [], "predictions": []}, 10.0)
    assert found.growth is not None
    assert found.growth.low > 50
    assert found.late_growth is not None
    assert found.late_growth.low < 0 < found.late_growth.high
    assert found.memory_by_worker[1][0] == pytest.approx((0.0, 500.0))
    assert found.busiest_share is None, "there is one worker"


def test_a_busy_and_an_idle_worker_are_told_from_two_that_share_the_work() -> None:
    uneven = [(float(at), {1: Held(5e8, at), 2: Held(5e8, at / 4)}) for at in range(180)]
    assert busiest_share(uneven) == pytest.approx(0.8)
    replaced = [(float(at), {1: Held(5e8, at), 2 + (at > 90): Held(5e8, at)}) for at in range(180)]
    assert busiest_share(replaced) == pytest.approx(0.5)
    assert busiest_share([]) is None


@pytest.mark.parametrize("text", ["CREWFLOW_CONFLICT_EVENTS_KEPT", "CREWFLOW_KEPT=5", "kept=5"])
def test_what_is_no_setting_of_the_gateway_is_refused(text: str) -> None:
    assert setting("CREWFLOW_CONFLICT_EVENTS_KEPT=15000") == ("CREWFLOW_CONFLICT_EVENTS_KEPT", "15000")
    with pytest.raises(typer.BadParameter, match="is no setting"):
        setting(text)
