"""The judgement of triggers, without Dagster, and what it counts from."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from crewflow_assets import clock
from crewflow_assets.conflict_resolution.model_spec import CONFLICT_RESOLUTION
from crewflow_assets.cost_code_mapping.model_spec import COST_CODE_MAPPING
from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.spec import Counted, EventTrigger
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.sync_tables import Integration
from crewflow_assets.store.tables import Company
from crewflow_assets.sync_health.model_spec import SYNC_HEALTH
from crewflow_assets.sync_health.newcomers import new_integrations
from crewflow_assets.training.triggers import Trained, judge

[CORRECTIONS] = COST_CODE_MAPPING.triggers
[ACCURACY] = CONFLICT_RESOLUTION.triggers
SINCE = datetime(2026, 2, 1, 12, 30, tzinfo=UTC)
NOW = SINCE + timedelta(days=1)
LAST = Trained("1.3", SINCE)


@pytest.mark.parametrize(
    ("counts", "fire", "said"),
    [
        ({}, False, "no corrections since 2026-02-01 12:30 (version 1.3)"),
        ({"c-1": 17}, False, "17 corrections of c-1 since version 1.3; more than 20 retrain"),
        ({"c-1": 20}, False, "20 corrections of c-1 since version 1.3; more than 20 retrain"),
        ({"c-1": 21}, True, "21 corrections of c-1 since version 1.3; more than 20 retrain"),
        ({"c-1": 15, "c-2": 15}, False, "15 corrections of c-2 since version 1.3; more than 20 retrain"),
        ({"c-1": 3, "c-2": 40, "c-3": 22}, True, "40 corrections of c-2 since version 1.3; more than 20 retrain"),
    ],
)
def test_more_than_the_number_of_one_company_fires(counts: dict[str, int], fire: bool, said: str) -> None:
    verdict = judge(CORRECTIONS, NOW, counts, LAST)
    assert (verdict.fire, verdict.said) == (fire, said)


def test_a_count_may_bring_its_own_limit() -> None:
    trigger = EventTrigger(
        "patterns", lambda _s, _r, _o: {}, more_than=0, window_days=30, noun="unexplained messages"
    )
    counts = {"sage": Counted(40, 55.0), "xero": Counted(9, 7.0)}
    verdict = judge(trigger, NOW, counts, LAST)
    assert (verdict.fire, verdict.said) == (
        True,
        "9 unexplained messages of xero since version 1.3; more than 7 retrain",
    )
    assert not judge(trigger, NOW, {"sage": counts["sage"]}, LAST).fire


def test_what_was_counted_in_the_window_alone_is_said_so() -> None:
    assert judge(CORRECTIONS, SINCE + timedelta(days=40), {}, LAST).said.startswith("no corrections since 2026-02-11")


def test_low_accuracy_is_a_trigger_like_the_others() -> None:
    assert judge(ACCURACY, NOW, {"c-1": 1}, LAST).said == (
        "1 alarms of accuracy below 85 %, or stops, of c-1 since version 1.3; more than 0 retrain"
    )


@given(st.dictionaries(st.text("ab", min_size=1), st.integers(0, 60)))
def test_it_fires_exactly_where_some_group_is_over_the_limit(counts: Mapping[str, int]) -> None:
    assert judge(CORRECTIONS, NOW, counts, LAST).fire == any(number > 20 for number in counts.values())


def test_the_cadences_and_causes_of_the_requirements_stand_in_the_specs() -> None:
    stated = {
        spec.name: (spec.retrain_cron.split()[4] == "*", {trigger.reason for trigger in spec.triggers})
        for spec in MODEL_SPECS
    }
    assert stated["cost_code_mapping"] == (False, {"corrections"})
    assert stated["sync_health"] == (True, {"new_integrations"})  # daily
    assert stated["conflict_resolution"] == (False, {"accuracy"})
    assert stated["retry_strategy"] == (False, {"new_error_patterns"})


def test_no_two_regular_trainings_begin_within_half_an_hour() -> None:
    """The machine has few cores, and a training takes all of one for minutes."""
    begin = sorted(int(hour) * 60 + int(minute) for minute, hour, *_ in (s.retrain_cron.split() for s in MODEL_SPECS))
    assert all(later - earlier >= 30 for earlier, later in pairwise(begin)), begin


def add_integrations(system: str, number: int, *, known_at: datetime, hours: float | None) -> None:
    with transaction() as session:
        if session.get(Company, "c-1") is None:
            session.add(Company(id="c-1", name="c", industry="general", created_at=known_at))
            session.flush()
        for index in range(number):
            session.add(
                Integration(
                    company_id="c-1",
                    integration_id=f"{system}-{known_at:%m%d%H}-{hours}-{index}",
                    system=system,
                    freshness_minutes=240,
                    state="active",
                    needs_authorisation=False,
                    last_attempt_at=None if hours is None else known_at + timedelta(hours=hours),
                    created_at=known_at,
                )
            )


def counted() -> dict[str, Counted]:
    with clock.fixed(NOW), reading() as session:
        return new_integrations(session, SINCE, SINCE - timedelta(days=10))


def test_new_integrations_count_once_they_are_known_for_hours(sqlite_store: Engine) -> None:
    add_integrations("quickbooks", 200, known_at=SINCE - timedelta(days=3), hours=60)
    assert counted() == {}
    add_integrations("quickbooks", 7, known_at=NOW - timedelta(hours=6), hours=6)
    add_integrations("quickbooks", 9, known_at=NOW - timedelta(hours=5), hours=5)
    add_integrations("xero", 1, known_at=SINCE + timedelta(hours=1), hours=None)
    assert counted() == {"quickbooks": Counted(7, 10.0)}
    [trigger] = SYNC_HEALTH.triggers
    assert not judge(trigger, NOW, counted(), LAST).fire


def test_the_first_integration_of_a_system_is_enough(sqlite_store: Engine) -> None:
    add_integrations("quickbooks", 5, known_at=SINCE - timedelta(days=3), hours=60)
    add_integrations("xero", 1, known_at=SINCE + timedelta(hours=1), hours=8)
    [trigger] = SYNC_HEALTH.triggers
    verdict = judge(trigger, NOW, counted(), LAST)
    assert verdict.fire
    assert verdict.said == "1 new integrations with data of xero since version 1.3; more than 0 retrain"


def test_integrations_that_a_training_knew_for_too_short_a_time_count_after_it_and_only_once(
    sqlite_store: Engine,
) -> None:
    add_integrations("quickbooks", 5, known_at=SINCE - timedelta(hours=6), hours=30)
    add_integrations("xero", 1, known_at=SINCE - timedelta(hours=5), hours=29)
    assert counted() == {"xero": Counted(1, 0)}
    with clock.fixed(NOW), reading() as session:  # after the training that they asked for
        assert new_integrations(session, NOW, SINCE - timedelta(days=10)) == {}


def test_integrations_whose_syncs_were_imported_count_like_others(sqlite_store: Engine) -> None:
    add_integrations("xero", 1, known_at=SINCE + timedelta(hours=1), hours=-2)
    assert counted() == {"xero": Counted(1, 0)}
