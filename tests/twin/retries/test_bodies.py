import numpy as np
import pytest

from crewflow_assets.twin.retries.bodies import (
    AUTH,
    BODIES,
    CONNECTION,
    DAY,
    PLAIN,
    PLANNED,
    THROTTLED,
    TIMEOUT,
    UNAVAILABLE,
    body_of,
)
from crewflow_assets.twin.sync.attempts import ERRORS, Cause
from crewflow_assets.twin.sync.parameters import SYSTEMS

MARKS = np.linspace(0, 0.999, 500)


def said(system: str, error: int, cause: Cause, only: int = PLAIN) -> set[int]:
    full = np.full(len(MARKS), 1)
    return set(body_of(full * SYSTEMS.index(system), full * error, full * cause, full * only, MARKS).tolist())


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_error_of_every_system_has_a_body_of_that_system(system: str) -> None:
    for error in range(1, len(ERRORS)):
        for place in said(system, error, Cause.TRANSIENT):
            body = BODIES[place]
            assert body.error == error
            assert body.system in (system, "")
            assert body.message


def test_an_answer_has_a_status_and_silence_has_none() -> None:
    for body in BODIES:
        assert (body.status is None) == (body.error in (CONNECTION, TIMEOUT)), body
        assert body.error_class == ERRORS[body.error].name


def test_only_our_own_network_fails_to_find_names() -> None:
    names = {n for n, body in enumerate(BODIES) if body.code == "EAI_AGAIN"}
    assert names & said("xero", CONNECTION, Cause.NETWORK)
    assert not names & said("xero", CONNECTION, Cause.API_DOWN)


def test_a_used_up_day_and_a_planned_maintenance_are_told_as_such() -> None:
    days = {n for n, body in enumerate(BODIES) if body.only == DAY}
    planned = {n for n, body in enumerate(BODIES) if body.only == PLANNED}
    assert days & said("xero", THROTTLED, Cause.RATE_LIMIT, DAY)
    assert not days & said("xero", THROTTLED, Cause.RATE_LIMIT)
    assert planned & said("sage", UNAVAILABLE, Cause.API_DOWN, PLANNED)
    assert not planned & said("sage", UNAVAILABLE, Cause.API_DOWN)


def test_what_was_refused_or_never_sent_did_not_take_effect() -> None:
    unclear = {body.message for body in BODIES if body.is_unclear}
    assert "request timed out after 30000 ms" in unclear
    assert not any(body.is_unclear for body in BODIES if body.error in (AUTH, THROTTLED, UNAVAILABLE))
    assert not any(message.startswith(("connect ", "getaddrinfo ")) for message in unclear)


def test_a_number_stands_where_one_belongs() -> None:
    texts = [body.text(17) for body in BODIES]
    assert not any("{n}" in text for text in texts)
    assert any("17" in text for text in texts)
