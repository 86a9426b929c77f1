"""Gathering: which requests share a batch, and when it begins, as others come, end, fail and go."""

import asyncio
from collections.abc import Callable

from crewflow_assets.contract import PredictionResponse
from serving.gathering import Gathering
from serving.problems import Problem
from tests.serving.saying import Model, asked, said


class Stage:
    """A gathering whose batches end when told to, in the order of their beginning."""

    def __init__(self, error: Exception | None = None) -> None:
        self.model = Model(error)
        self.ends: list[asyncio.Event] = []
        self.tasks: dict[str, asyncio.Task[PredictionResponse]] = {}
        self.gathering = Gathering(self.model.answer, self._slowly)

    async def _slowly(self, work: Callable[[], list[PredictionResponse]]) -> list[PredictionResponse]:
        self.ends.append(asyncio.Event())
        await self.ends[-1].wait()
        return work()

    async def ask(self, names: str) -> None:
        """Ask for each letter."""
        self.tasks |= {name: asyncio.create_task(self.gathering.one(asked(name))) for name in names.split()}
        await self.settled()

    async def end(self, *batches: int) -> None:
        """End batches, counted from 0."""
        for batch in batches:
            self.ends[batch].set()
            await self.settled()

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


def test_a_second_batch_begins_once_as_many_wait_as_are_in_the_first() -> None:
    async def eight_clients() -> list[list[str]]:
        stage = Stage()
        await stage.ask("a")
        assert len(stage.ends) == 1  # nobody before it
        await stage.ask("b c d e f g h")
        assert len(stage.ends) == 2
        await stage.end(0)
        assert len(stage.ends) == 3  # four of the six that wait, as seven are here
        await stage.end(1)
        assert len(stage.ends) == 4  # g and h, which the end of the first had left
        await stage.ask("i j k")
        await stage.end(3)
        assert len(stage.ends) == 4  # three wait, beside four
        await stage.ask("l")
        assert len(stage.ends) == 5
        await stage.end(2, 4)
        await asyncio.gather(*stage.tasks.values())
        return stage.model.batches

    assert asyncio.run(eight_clients()) == [["a"], ["b"], ["g", "h"], ["c", "d", "e", "f"], ["i", "j", "k", "l"]]


def test_what_a_batch_left_waiting_begins_with_the_next_end() -> None:
    async def five_clients() -> None:
        stage = Stage()
        await stage.ask("a b c d e")
        await stage.end(0)
        assert len(stage.ends) == 3  # c and d; e is fewer than they are
        await stage.end(1)
        assert len(stage.ends) == 4
        await stage.end(3)
        assert await stage.tasks["e"] == said("e")
        assert not stage.tasks["c"].done()
        await stage.end(2)

    asyncio.run(five_clients())


def test_requests_that_are_tried_again_one_by_one_do_not_hold_up_the_others() -> None:
    async def one_is_bad() -> None:
        stage = Stage(Problem(400, "text: 'bad' has no answer"))
        await stage.ask("a b bad c d e")
        await stage.end(0, 1)
        assert len(stage.ends) == 4  # three, and then the fourth by the end of the second
        await stage.end(2)  # bad, c and d: each again, by itself
        await stage.end(3)
        await stage.ask("f")
        assert len(stage.ends) == 6  # beside one that is tried again and not beside three
        await stage.end(5)
        assert await stage.tasks["f"] == said("f")
        await stage.end(4, 6)
        await stage.end(7)
        assert await stage.tasks["c"] == said("c")

    asyncio.run(one_is_bad())


def test_a_client_that_has_gone_while_waiting_is_not_asked_for() -> None:
    async def some_leave() -> list[list[str]]:
        stage = Stage()
        await stage.ask("a b c d e f")
        for name in "cde":
            stage.tasks[name].cancel()
        await stage.end(0, 1, 2)
        await stage.tasks["f"]
        return stage.model.batches

    assert asyncio.run(some_leave()) == [["a"], ["b"], ["f"]]
