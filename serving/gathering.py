"""Single requests of one model that wait for each other anyway are answered as one batch.

A request that finds its model idle is answered at once and alone. What arrives meanwhile is answered together, which
takes a model far less time than one by one. Where two batches may run at a time, the second begins once as many wait
as are in the first: taken one by one as they come, eight clients' requests ended in batches of two, and so in batches
of four. What a batch left waiting when it ended begins with the next end, however few they are. Which have so much in
common is said by their ``gathers`` and ``gathers_with``: all of a model, or those of one company; the rest are
answered by themselves.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from sqlalchemy.exc import DataError

from crewflow_assets.contract import PredictionRequest, PredictionResponse
from crewflow_assets.errors import InvalidInputError
from serving.problems import Problem

AT_ONCE, AT_ONCE_OF_ALL = 2, 1
"""Batches at a time. Of one company: while one is encoded, the other is ranked. Of a whole model they would only take
turns at the interpreter."""
MOST_GATHERED = 32


class InThread(Protocol):
    """How work is done beside the event loop."""

    def __call__(self, work: Callable[[], list[PredictionResponse]]) -> Awaitable[list[PredictionResponse]]:
        """Run the work in a thread."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: PredictionRequest
    arrived: float
    future: asyncio.Future[PredictionResponse]


class _Queue:
    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.batches = 0
        self.running = 0
        """Requests that are being answered."""
        self.left = 0
        """How many of the waiting, the oldest, were left by the last batch that ended."""

    def take(self, at_once: int, *, ended: bool) -> list[_Waiting]:
        """Return those of the waiting that are answered now: their share of all, once that many wait."""
        self.waiting = deque(one for one in self.waiting if not one.future.done())  # their clients may have gone
        if self.batches == at_once:
            return []
        share = min(-(-(len(self.waiting) + self.running) // at_once), MOST_GATHERED)
        if share > len(self.waiting) and not (ended and self.left):
            return []
        taken = [self.waiting.popleft() for _ in range(min(share, len(self.waiting)))]
        self.left = max(0, self.left - len(taken))
        return taken


class Gathering:
    """Answers single requests of one model, those of one version that have enough in common together.

    Args:
        answer: Answers requests, all or none, given when each arrived in seconds of ``time.perf_counter``.
        in_thread: How it is called.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[PredictionRequest], Sequence[float]], list[PredictionResponse]],
        in_thread: InThread,
    ) -> None:
        self._answer = answer
        self._in_thread = in_thread
        self._queues: dict[tuple[str | None, str], _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def one(self, request: PredictionRequest) -> PredictionResponse:
        """Answer a request, whose company is known to be the caller's.

        Raises:
            Exception: what answering this request alone raises, or what no request of its batch is to blame for.
        """
        arrived = perf_counter()
        if not request.gathers:
            [found] = await self._in_thread(lambda: self._answer([request], [arrived]))
            return found
        key = (request.gathers_with, request.version)
        queue = self._queues.setdefault(key, _Queue())
        future: asyncio.Future[PredictionResponse] = asyncio.get_running_loop().create_future()
        queue.waiting.append(_Waiting(request, arrived, future))
        at_once = AT_ONCE_OF_ALL if request.gathers_with is None else AT_ONCE
        self._begin(key, queue, at_once)
        return await future

    def _begin(self, key: tuple[str | None, str], queue: _Queue, at_once: int, *, ended: bool = False) -> None:
        while taken := queue.take(at_once, ended=ended):
            queue.batches += 1
            queue.running += len(taken)
            task = asyncio.create_task(self._work(key, queue, at_once, taken))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if not queue.batches and not queue.waiting:
            self._queues.pop(key, None)

    async def _work(self, key: tuple[str | None, str], queue: _Queue, at_once: int, taken: list[_Waiting]) -> None:
        try:
            await self._settle(queue, taken)
        finally:
            queue.batches -= 1
            self._begin(key, queue, at_once, ended=True)
            queue.left = len(queue.waiting)

    async def _settle(self, queue: _Queue, taken: list[_Waiting]) -> None:
        requests, arrived = [one.request for one in taken], [one.arrived for one in taken]
        try:
            found = await self._in_thread(lambda: self._answer(requests, arrived))
        except Exception as error:  # noqa: BLE001  # goes to whoever asked
            queue.running -= len(taken)
            if len(taken) > 1 and _is_bad_input(error):  # one of them is at fault: each gets its own answer
                for one in taken:
                    queue.running += 1
                    await self._settle(queue, [one])
                return
            for one in taken:
                if not one.future.done():
                    one.future.set_exception(error)
            return
        queue.running -= len(taken)
        for one, response in zip(taken, found, strict=True):
            if not one.future.done():
                one.future.set_result(response)


def _is_bad_input(error: Exception) -> bool:
    """Whether an error is answered as 400: asking again without the bad request helps, else it would not."""
    return isinstance(error, InvalidInputError | DataError) or (isinstance(error, Problem) and error.status == 400)
