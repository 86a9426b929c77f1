"""Clients that ask as fast as they are answered, in a process of their own: `python -m benchmarks.serving_load PLAN`.

Answers are read whole and must be 200; bodies are encoded beforehand, so that the clients cost the servers little.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

LONGEST_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send where: a file of one body a line, by some clients at once, for some seconds.

    The first ``warm`` bodies are sent untimed. When the bodies are used up, clients stop, or begin anew to ``cycle``.
    """

    url: str
    headers: dict[str, str]
    bodies: str
    clients: int
    seconds: float
    warm: int
    cycle: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """How long it all took, and each answer, in seconds."""

    seconds: float
    latencies: list[float]


class RefusedError(Exception):
    """A server did not answer 200."""


async def drive(plan: Plan) -> Taken:
    """Send the plan's requests.

    Raises:
        RefusedError: an answer was not 200; its status and text are named.
    """
    import aiohttp  # BentoML brings it; a fraction of the work that httpx is, on the cores that the servers share

    bodies = Path(plan.bodies).read_bytes().splitlines()
    feed: Iterator[bytes] = cycle(bodies) if plan.cycle else iter(bodies)
    timeout = aiohttp.ClientTimeout(total=LONGEST_SECONDS)
    connector = aiohttp.TCPConnector(limit=plan.clients)
    headers = {"Content-Type": "application/json", **plan.headers}
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:

        async def client(mine: Iterator[bytes], until: float) -> list[float]:
            latencies = []
            for body in mine:
                began = perf_counter()
                async with session.post(plan.url, data=body) as answer:
                    content = await answer.read()
                    if answer.status != 200:
                        raise RefusedError(f"{plan.url} answered {answer.status}: {content[:500]!r}")
                latencies.append(perf_counter() - began)
                if perf_counter() > until:
                    break
            return latencies

        warming = islice(feed, plan.warm)
        await asyncio.gather(*(client(warming, float("inf")) for _ in range(plan.clients)))
        began = perf_counter()
        found = await asyncio.gather(*(client(feed, began + plan.seconds) for _ in range(plan.clients)))
        return Taken(perf_counter() - began, [latency for latencies in found for latency in latencies])


if __name__ == "__main__":
    asked = Plan(**json.loads(Path(sys.argv[1]).read_text()))
    sys.stdout.write(json.dumps(asdict(asyncio.run(drive(asked)))) + "\n")
