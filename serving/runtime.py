"""What a running service holds: its models, its prediction log, and the tasks that keep them current."""

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

from anyio import CapacityLimiter, to_thread

from crewflow_assets.spec import ModelSpec
from serving.arms import Arms
from serving.keyring import Keyring, RateLimiter
from serving.memory import give_back
from serving.observing import Observer, gauge
from serving.prediction_log import PredictionLog
from serving.predictions import Predictions
from serving.predictors import Predictors, Source

logger = logging.getLogger("crewflow.serving")

T = TypeVar("T")

POLL_SECONDS = 5.0
GIVE_BACK_SECONDS = 60.0
PREDICTION_THREADS = 4
"""Threads and not the event loop: beside batches of 100 mappings a single one took 18 ms so, 490 ms otherwise, and
requests a second were the same. One thread is as bad as none."""


class Runtime:
    """The state that guard, predictions and routes of one service share."""

    def __init__(self, specs: Iterable[ModelSpec], source: Source) -> None:
        self.specs = tuple(specs)
        self.predictors = Predictors(self.specs, source)
        self.log = PredictionLog(Observer(self.specs))
        self.arms = Arms(self.specs, self.predictors)
        self.predictions = {spec.name: Predictions(spec, self.predictors, self.log, self.arms) for spec in self.specs}
        self.keyring = Keyring()
        self.limiter = RateLimiter()
        self._threads: CapacityLimiter | None = None
        self._poll: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the models, start the log and the watch over the registry."""
        log_to_stdout()
        self._threads = CapacityLimiter(PREDICTION_THREADS)
        await to_thread.run_sync(self._refresh)
        self.log.start()
        self._poll = asyncio.create_task(self._watch(), name="model-registry-watch")

    async def stop(self) -> None:
        """Stop the watch and write what the log still holds."""
        if self._poll is not None:
            self._poll.cancel()
            with suppress(asyncio.CancelledError):
                await self._poll
        await to_thread.run_sync(self.log.stop)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Run a model's work beside the event loop, in one of a few threads."""
        return await to_thread.run_sync(work, limiter=self._threads)

    async def _watch(self) -> None:
        given_back = monotonic()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await to_thread.run_sync(self._refresh)
            except Exception as error:  # the next look may succeed
                logger.error("the look at registry and experiments failed", exc_info=error)
            if monotonic() >= given_back + GIVE_BACK_SECONDS:
                await to_thread.run_sync(give_back)
                given_back = monotonic()

    def _refresh(self) -> None:
        swapped = self.predictors.refresh()
        if self.arms.refresh() or swapped:
            for predictions in self.predictions.values():
                predictions.warm()
            _settle()
        gauge(self.predictors)


def _settle() -> None:
    """Keep what was loaded out of every later collection: it cut p99 by half. What was kept before may go now.

    The worker stands still meanwhile, some .4 s at 1.5 million objects.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.collect()  # else the next full one waits until a quarter of what was frozen has come again


def log_to_stdout() -> None:
    """Write the ``crewflow`` loggers to standard output, one line each, unless someone has set them up.

    The access log's lines are JSON that says itself when it was; to tell that in front again cost a third of a line.
    """
    if logging.getLogger("crewflow").handlers:
        return
    for name, form in (
        ("crewflow", "%(asctime)s %(levelname)s %(name)s %(message)s"),
        ("crewflow.access", "%(message)s"),
    ):
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter(form))
        log = logging.getLogger(name)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
