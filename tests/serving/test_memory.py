"""Freed memory goes back to the system, and a service sees to it."""

import asyncio
import gc
import weakref
from contextlib import suppress

import psutil
import pytest

from serving import memory, runtime
from serving.memory import give_back
from serving.runtime import Runtime

MIB = 1024 * 1024


@pytest.mark.skipif(memory._trim() is None, reason="only glibc keeps memory in this way, and has malloc_trim")
def test_what_lies_free_between_what_is_in_use_is_given_back() -> None:
    held = psutil.Process().memory_info
    kept = [bytearray(3000) for _ in range(40_000)]
    kept = kept[::100]
    gc.collect()
    before = held().rss
    assert give_back()
    assert before - held().rss > 50 * MIB
    assert len(kept) == 400


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_trim", lambda: None)
    assert not give_back()


def test_a_service_gives_back_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(runtime, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(runtime, "GIVE_BACK_SECONDS", 0.0)
    monkeypatch.setattr(runtime, "give_back", lambda: given.append(1))
    one = Runtime([], source=None)  # type: ignore[arg-type]  # nothing is loaded

    def fails() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(one, "_refresh", fails)  # which is no end of the watch

    async def watch() -> None:
        task = asyncio.create_task(one._watch())
        while len(given) < 3:
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(watch(), 20))


def test_a_model_that_was_replaced_goes_although_it_was_kept_out_of_collections() -> None:
    class Model:
        def __init__(self) -> None:
            self.itself = self

    model = Model()
    gone = weakref.ref(model)
    runtime._settle()
    del model
    gc.collect()
    assert gone() is not None, "kept out of collections"
    runtime._settle()
    assert gone() is None
    gc.unfreeze()
