"""Single requests of one company that wait for each other anyway are answered as one batch.

Nothing is held back: a request that finds its company idle is answered at once and alone. What arrives meanwhile is
answered together, which takes a model far less time than one by one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from crewflow_assets.contract import PredictionRequest, PredictionResponse

AT_ONCE = 2
"""Batches of one company at a time: while one is encoded, the other is ranked."""
MOST_GATHERED = 32


class InThread(Protocol):
    """How work is done beside the event loop."""

    def __call__(self, work: Callable[[], list[PredictionResponse]]) -> Awaitable[list[PredictionResponse]]:
        """Run the work in a thread."""


class _Queue:
    def __init__(self) -> None:
        self.waiting: deque[tuple[PredictionRequest, asyncio.Future[PredictionResponse]]] = deque()
        self.running = 0


class Gathering:
    """Answers single requests of one model, those of one company and version together."""

    def __init__(
        self, answer: Callable[[Sequence[PredictionRequest]], list[PredictionResponse]], in_thread: InThread
    ) -> None:
        self._answer = answer
        self._in_thread = in_thread
        self._queues: dict[tuple[str | None, str], _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def one(self, request: PredictionRequest) -> PredictionResponse:
        """Answer a request, whose company is known to be the caller's.

        Raises:
            Exception: what answering this request alone raises.
        """
        key = (request.company_id, request.version)
        queue = self._queues.setdefault(key, _Queue())
        future: asyncio.Future[PredictionResponse] = asyncio.get_running_loop().create_future()
        queue.waiting.append((request, future))
        if queue.running < AT_ONCE:
            queue.running += 1
            task = asyncio.create_task(self._work(key, queue))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _work(self, key: tuple[str | None, str], queue: _Queue) -> None:
        try:
            while queue.waiting:
                share = -(-len(queue.waiting) // AT_ONCE)  # leaves the other its half
                taken = [queue.waiting.popleft() for _ in range(min(share, MOST_GATHERED))]
                await self._settle(taken)
        finally:
            queue.running -= 1
            if not queue.running and not queue.waiting:
                self._queues.pop(key, None)

    async def _settle(self, taken: list[tuple[PredictionRequest, asyncio.Future[PredictionResponse]]]) -> None:
        requests = [request for request, _ in taken]
        try:
            found = await self._in_thread(lambda: self._answer(requests))
        except Exception as error:  # noqa: BLE001  # goes to whoever asked
            if len(taken) > 1:  # one of them is at fault: each gets its own answer
                for one in taken:
                    await self._settle([one])
            elif not taken[0][1].done():
                taken[0][1].set_exception(error)
            return
        for (_, future), response in zip(taken, found, strict=True):
            if not future.done():  # its client may have gone
                future.set_result(response)
