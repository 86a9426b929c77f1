"""The stop that trips by itself, and the metrics behind it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.metrics import metrics_of, retraining_asked, too_low, watch_accuracy
from crewflow_assets.conflict_resolution.switches import exceeds_chance, switch_of
from crewflow_assets.settings import get_settings
from crewflow_assets.store.conflict_tables import ConflictSwitch
from crewflow_assets.store.database import reading, transaction
from tests.conflict_resolution.deciding import (
    COMPANY,
    NOON,
    audit,
    automatic,
    commands,
    conflict,
    decide,
    report,
    switch,
    undo,
)


def stored() -> ConflictSwitch:
    with reading() as session:
        return switch_of(session, COMPANY, "hours_mismatch")


def metrics(**changes: Any) -> dict[str, Any]:
    with reading() as session:
        return metrics_of(session, company_id=COMPANY, at=clock.now(), **changes)


def many(count: int) -> None:
    for number in range(count):
        report(f"x-{number}")
        automatic(f"x-{number}")


@pytest.mark.parametrize(
    ("wrong", "number", "said"),
    [(0, 100, False), (5, 100, False), (11, 100, False), (14, 100, True), (2, 2, False), (3, 3, True), (1, 1, False)],
)
def test_chance_is_what_five_percent_wrong_would_show(wrong: int, number: int, *, said: bool) -> None:
    assert exceeds_chance(wrong, number) is said


def test_the_switch_stops_itself_and_a_person_starts_it_again(deciding_everywhere: Engine) -> None:
    many(8)
    undo("x-0")
    decide("x-1", "use_external")
    assert stored().stopped_at is None
    undo("x-2")
    assert stored().stopped_reason == "people overrode 3 of the last 3 decided automatically"
    [alert] = commands("conflict.alert")
    assert alert.payload["stopped"] is True
    assert [row.action for row in audit("conflict_switch")] == ["conflict.switch", "conflict.stopped"]
    report("x-20")
    assert "has stopped itself" in str(automatic("x-20")[1])
    undo("x-3")
    assert len(commands("conflict.alert")) == 1
    switch(at=clock.now())
    assert automatic("x-20")[1] is None
    undo("x-4")
    assert stored().stopped_at is None


def test_silence_is_no_acceptance_and_a_few_overrides_no_alarm(deciding: Engine) -> None:
    many(30)
    assert metrics()["accuracy_rate"] is None
    undo("x-28")
    undo("x-29")
    found = metrics()
    assert stored().stopped_at is None
    assert (found["total_conflicts"], found["auto_resolved"], found["manual_review"]) == (30, 30, 0)
    assert (found["auto_resolution_accepted"], found["auto_resolution_overridden"]) == (0, 2)
    assert found["accuracy_rate"] == 0
    assert found["accuracy_at_most"] == pytest.approx(28 / 30)
    assert too_low(found) is None
    assert metrics(conflict_type="duplicate")["total_conflicts"] == 0


def test_accuracy_comes_from_the_decisions_taken_blind(deciding: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWFLOW_WITHHELD_SHARE", "0.5")
    get_settings.cache_clear()
    many(24)
    blind = 0
    for number in range(24):
        if conflict(f"x-{number}").state == "open":
            decide(f"x-{number}", "use_external" if blind % 2 == 0 else "use_crewflow")
            blind += 1
    found = metrics()
    assert found["reviewed_blind"] == blind == found["reviewed"]
    assert found["accuracy_rate"] == pytest.approx((blind // 2) / blind)
    assert found["accuracy_interval"][0] < found["accuracy_rate"] < found["accuracy_interval"][1]


def test_poor_accuracy_alerts_and_asks_for_retraining_once(deciding: Engine) -> None:
    many(12)
    switch("suggest")  # what is not automatic does not stop itself
    for number in range(10):
        undo(f"x-{number}")
    [alert] = commands("conflict.alert")
    assert "accuracy is below 85%: people overrode" in alert.payload["detail"]
    now = clock.now()
    with transaction() as session:
        assert not watch_accuracy(session, COMPANY, "hours_mismatch", now)
    with reading() as session:
        assert retraining_asked(session, NOON, NOON) == {COMPANY: 1}
        assert retraining_asked(session, now + timedelta(hours=1), NOON) == {}
    with transaction() as session:
        assert watch_accuracy(session, COMPANY, "hours_mismatch", now + timedelta(days=29)) is False
