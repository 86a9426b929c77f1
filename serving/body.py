"""The request body: read whole up to a limit, and parsed more strictly than the frameworks do."""

import asyncio
import re
import sys
from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json
from starlette.types import Message, Receive

from crewflow_assets.errors import FieldProblem
from serving.problems import Problem

BODY_SECONDS = 60.0
DANGEROUS = re.compile(rb"\\u0000|[eE]\+?[0-9]{3}|[0-9]{200}")
"""What a NUL character, or a number that overflows to infinity, must look like in the text."""


class Disconnected(Exception):  # noqa: N818  # no error of ours
    """The client went away before its request was complete."""


async def read_body(receive: Receive, declared: int | None, limit: int, remedy: str) -> bytes:
    """Read the whole body.

    Args:
        receive: Gives its parts.
        declared: Its length as the request's header has it, in bytes; None where it says nothing.
        limit: The most bytes that are read.
        remedy: What the sender of more is told to do.

    Raises:
        Problem: 413 above ``limit`` bytes, 408 when it does not come to an end.
        Disconnected: the client went away.
    """
    if declared is not None and declared > limit:
        raise _too_large(limit, remedy)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit, remedy)
                chunks.append(chunk)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise Problem(
            408, f"the body was not complete after {BODY_SECONDS:.0f} seconds", headers={"Connection": "close"}
        ) from None


def check_json(body: bytes) -> None:
    """Refuse what is no plain JSON object, or what a database cannot store.

    Raises:
        Problem: 400.
    """
    if not body.strip():
        raise Problem(400, "the body is empty; send a JSON object")
    try:
        parsed = from_json(body, allow_inf_nan=False, cache_strings="keys")
    except ValueError as error:
        raise Problem(400, f"the body is not valid JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise Problem(400, f"the body is a JSON {_kind(parsed)}; send an object")
    if DANGEROUS.search(body):
        problems = list(_unstorable(parsed, ()))
        if problems:
            raise Problem(400, "the body holds values that cannot be stored", problems)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body that was read, then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large(limit: int, remedy: str) -> Problem:
    return Problem(413, f"the body is larger than {limit:,} bytes; {remedy}", headers={"Connection": "close"})


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {list: "array", str: "string", bool: "boolean", int: "number", float: "number"}
    return names[type(value)]


def _unstorable(value: Any, loc: tuple[str | int, ...]) -> Iterator[FieldProblem]:
    if isinstance(value, dict):
        for key, member in value.items():
            if "\0" in key:
                yield FieldProblem(loc, "a field's name contains the control character U+0000; remove it")
            yield from _unstorable(member, (*loc, key.replace("\0", "�")))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _unstorable(member, (*loc, index))
    elif isinstance(value, str):
        if "\0" in value:
            yield FieldProblem(loc, "contains the control character U+0000; remove it")
    elif isinstance(value, float | int) and not abs(value) <= sys.float_info.max:
        yield FieldProblem(loc, "is too large a number; send one below 1.8e308")
