"""A request under an idempotency key acts once, whatever happens around it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from crewflow_assets import clock
from crewflow_assets.errors import ConflictError, InvalidInputError
from crewflow_assets.store.database import reading, transaction
from crewflow_assets.store.idempotency import answer_once
from crewflow_assets.store.tables import Company, IdempotentAnswer


def add_company(session: Session, company_id: str = "c-1") -> dict[str, Any]:
    session.add(Company(id=company_id, name="Acme", industry="hvac", created_at=clock.now(), revision=0))
    session.flush()
    return {"id": company_id, "parts": (1, 2)}


def ask(session: Session, request: dict[str, Any] | None = None, key: str = "k") -> tuple[dict[str, Any], bool]:
    content = {"a": 1, "b": [1, 2]} if request is None else request
    return answer_once(session, scope="s", key=key, request=content, act=lambda: add_company(session))


def companies() -> int | None:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(Company))


def test_a_repeated_request_gets_the_same_answer(store: Engine) -> None:
    with transaction() as session:
        first = ask(session)
    with transaction() as session:
        again = ask(session, {"b": [1, 2], "a": 1})
    assert first == ({"id": "c-1", "parts": [1, 2]}, False)
    assert again == ({"id": "c-1", "parts": [1, 2]}, True)
    assert companies() == 1


def test_a_key_with_other_content_is_refused(store: Engine) -> None:
    with transaction() as session:
        ask(session)
    with pytest.raises(ConflictError, match=r"'k' was used on .* other content"), transaction() as session:
        ask(session, {"a": 2})
    assert companies() == 1


def test_keys_are_unique_within_their_scope_only(store: Engine) -> None:
    with transaction() as session:
        for scope in ("s", "t"):
            answer = answer_once(session, scope=scope, key="k", request={}, act=lambda: {"ok": True})
            assert answer == ({"ok": True}, False)


def test_an_act_that_raises_may_be_tried_again(store: Engine) -> None:
    def fail(session: Session) -> dict[str, Any]:
        add_company(session)
        raise RuntimeError("halfway")

    with transaction() as session:
        with pytest.raises(RuntimeError, match="halfway"):
            answer_once(session, scope="s", key="k", request={}, act=lambda: fail(session))
        session.add(Company(id="c-2", name="Other", industry="hvac", created_at=clock.now(), revision=0))
    assert companies() == 1
    with transaction() as session:
        assert ask(session) == ({"id": "c-1", "parts": [1, 2]}, False)


def test_the_answer_goes_with_the_callers_transaction(store: Engine) -> None:
    def answer_and_fail() -> None:
        with transaction() as session:
            ask(session)
            raise RuntimeError("after the answer")

    with pytest.raises(RuntimeError, match="after the answer"):
        answer_and_fail()
    assert companies() == 0
    with reading() as session:
        assert session.scalars(select(IdempotentAnswer)).all() == []


def test_callers_at_once_act_once(store: Engine) -> None:
    callers = 8
    together = threading.Barrier(callers)
    acted: list[int] = []

    def act() -> dict[str, Any]:
        acted.append(1)
        time.sleep(0.1)
        return {"number": len(acted)}

    def call(_: int) -> tuple[dict[str, Any], bool]:
        together.wait(10)
        with transaction() as session:
            return answer_once(session, scope="s", key="k", request={"a": 1}, act=act)

    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(call, range(callers)))
    assert acted == [1]
    assert [answer for answer, _ in answers] == [{"number": 1}] * callers
    assert sorted(replayed for _, replayed in answers) == [False] + [True] * (callers - 1)


def test_a_waiting_caller_acts_when_the_first_fails(store: Engine) -> None:
    acting = threading.Event()

    def fail() -> dict[str, Any]:
        acting.set()
        time.sleep(0.2)
        raise RuntimeError("first")

    def first() -> None:
        with transaction() as session:
            answer_once(session, scope="s", key="k", request={}, act=fail)

    def second() -> tuple[dict[str, Any], bool]:
        acting.wait(10)
        with transaction() as session:
            return answer_once(session, scope="s", key="k", request={}, act=lambda: {"by": "second"})

    with ThreadPoolExecutor(2) as pool:
        failing, succeeding = pool.submit(first), pool.submit(second)
        assert succeeding.result() == ({"by": "second"}, False)
        with pytest.raises(RuntimeError, match="first"):
            failing.result()


@pytest.mark.parametrize("key", ["", "k" * 201, "a\x00b", "a\nb"])
def test_unusable_keys_are_refused(sqlite_store: Engine, key: str) -> None:
    with pytest.raises(InvalidInputError, match="the idempotency key") as caught, transaction() as session:
        ask(session, key=key)
    assert caught.value.problems[0].loc == ("idempotency_key",)
