"""The soak's clients: they ask, decide and report at once, repeat what was not answered, and check every answer."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from benchmarks.soak_cases import Case, Item, differs
from crewflow_assets import clock

if TYPE_CHECKING:
    from aiohttp import ClientSession

SWITCH_SECONDS = 60.0
"""Within this every answer comes from the newly promoted version."""
GIVE_UP_SECONDS = 90.0
PAUSE_SECONDS = 0.3
BATCH = 20
LONGEST_TOLD = 300


@dataclass(slots=True)
class Outage:
    """Between its moments, and ``after`` seconds on, what it explains is no fault; seconds of ``perf_counter``."""

    kind: str
    began: float
    ended: float = float("inf")
    after: float = 15.0

    def explains(self, began: float, ended: float) -> bool:
        """Whether a request overlaps it."""
        return began <= self.ended + self.after and ended >= self.began


@dataclass(slots=True)
class Tally:
    """Everything that the clients saw."""

    requests: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    broken_connections: int = 0
    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    predictions: dict[str, float] = field(default_factory=dict)
    """Ids with the moment they were answered."""
    decisions: set[str] = field(default_factory=set)
    """Idempotency keys of what was acknowledged."""
    events: set[str] = field(default_factory=set)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    """When each request was answered, and how long it took."""


class Champions:
    """Which version was champion when; the clients compare answers' claims with it."""

    def __init__(self, first: Mapping[str, str]) -> None:
        self._moves: dict[str, list[tuple[float, str]]] = {model: [(0.0, label)] for model, label in first.items()}

    def promoted(self, model: str, label: str) -> None:
        """Note a promotion or rollback."""
        self._moves[model].append((perf_counter(), label))

    def current(self, model: str) -> str:
        """Return the champion's label."""
        return self._moves[model][-1][1]

    def may_answer(self, model: str, label: str, began: float, outages: Sequence[Outage]) -> bool:
        """Whether a request that began then may be answered by that version as champion."""
        moves = self._moves[model]
        for number, (_, champion) in enumerate(moves):
            ended = moves[number + 1][0] if number + 1 < len(moves) else float("inf")
            if champion == label and began <= ended + SWITCH_SECONDS:
                return True
        return any(outage.explains(began - SWITCH_SECONDS, began) for outage in outages)


class Clients:
    """Some clients that work until they are told to stop."""

    def __init__(
        self,
        url: str,
        token: str,
        cases: Sequence[Case],
        items: Sequence[Item],
        champions: Champions,
        outages: list[Outage],
    ) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._cases = cases
        self._items = items
        self._champions = champions
        self._outages = outages
        self.tally = Tally()
        self.stopping = False

    async def run(self, count: int) -> None:
        """Work with as many clients; each owns its share of the items, so that no two contradict each other."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=70)
        async with aiohttp.ClientSession(self._url, headers=self._headers, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session, number, count) for number in range(count)))

    async def _client(self, session: "ClientSession", number: int, count: int) -> None:
        draw = random.Random(number)
        mine = list(self._items[number::count])
        work: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (12, lambda: self._predict(session, draw)),
            (2, lambda: self._batch(session, draw)),
            (3, lambda: self._correct(session, draw.choice(mine), draw)),
            (2, lambda: self._report(session, draw)),
            (1, lambda: self._conflict(session, draw)),
            (1, lambda: self._look(session, draw)),
        ]
        while not self.stopping:
            [step] = draw.choices([step for _, step in work], [weight for weight, _ in work])
            await step()

    async def _predict(self, session: "ClientSession", draw: random.Random) -> None:
        case = draw.choice(self._cases)
        began = perf_counter()
        answer = await self._ask(session, "POST", f"/v1/{case.model}/predict", case.body)
        if answer is not None:
            self._check(case, answer, began)

    async def _batch(self, session: "ClientSession", draw: random.Random) -> None:
        model = draw.choice(self._cases).model
        chosen = draw.choices([case for case in self._cases if case.model == model], k=BATCH)
        began = perf_counter()
        answer = await self._ask(
            session, "POST", f"/v1/{model}/predict_batch", {"inputs": [case.body for case in chosen]}
        )
        if answer is not None:
            for case, one in zip(chosen, answer["predictions"], strict=True):
                self._check(case, one, began)

    def _check(self, case: Case, answer: dict[str, Any], began: float) -> None:
        self.tally.predictions[answer["prediction_id"]] = perf_counter()
        self.tally.checked += 1
        label = answer["model_version"]
        if not self._champions.may_answer(case.model, label, began, self._outages):
            self._wrong(f"{case.model} {label} answered as champion, which is {self._champions.current(case.model)}")
        elif case.expected and differs(case.expected[label], answer):
            self._wrong(f"{case.model} {label}: {case.expected[label]} expected, {answer} answered")

    async def _correct(self, session: "ClientSession", item: Item, draw: random.Random) -> None:
        """Correct an item, and see that the correction is the next suggestion."""
        target = draw.choice([code for code in item.accounts if code != item.target])
        named = {"company_id": item.company_id, "system": item.system}
        body = {**named, "source_code": item.code, "target_code": target, "decided_by": "soak"}
        if await self._decide(session, "/v1/mappings/correct", body) is None:
            return
        item.target = target
        asked = {"crewflow_cost_code": item.code, "cost_code_name": item.name, "company_industry": "hvac"}
        body = {**asked, "company_id": item.company_id, "target_system": item.system}
        answer = await self._ask(session, "POST", "/v1/cost_code_mapping/predict", body)
        if answer is not None:
            self.tally.predictions[answer["prediction_id"]] = perf_counter()
            self.tally.checked += 1
            if (answer["suggestions"][0]["target_code"], answer["method"]) != (target, "person"):
                self._wrong(f"{item.company_id} {item.code}: {target} was decided, {answer} answered")

    async def _report(self, session: "ClientSession", draw: random.Random) -> None:
        event_id = f"soak-{uuid4()}"
        item = draw.choice(self._items)
        event = {
            "event_id": event_id,
            "kind": "sync_attempt",
            "company_id": item.company_id,
            "occurred_at": clock.now().isoformat(),
            "payload": {"integration_id": "soak", "system": item.system, "ok": draw.random() < 0.9},
        }
        if await self._ask(session, "POST", "/v1/events", {"events": [event]}) is not None:
            self.tally.events.add(event_id)

    async def _conflict(self, session: "ClientSession", draw: random.Random) -> None:
        reported = {
            "company_id": draw.choice(self._items).company_id,
            "conflict_id": f"soak-{uuid4()}",
            "conflict_type": "hours_mismatch",
            "crewflow_value": 8.0,
            "external_value": 7.5,
            "worker_id": "w-soak",
            "project_id": "p-soak",
            "timecard_date": "2026-03-01",
            "last_sync_timestamp": "2026-03-01T06:00:00Z",
        }
        await self._decide(session, "/v1/conflicts", reported)

    async def _look(self, session: "ClientSession", draw: random.Random) -> None:
        company = draw.choice(self._items).company_id
        paths = ("/v1/models", f"/v1/mappings?company_id={company}", f"/v1/integrations?company_id={company}")
        path = draw.choice(paths)
        await self._ask(session, "GET", path, None)

    async def _decide(self, session: "ClientSession", path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        key = f"soak-{uuid4()}"
        answer = await self._ask(session, "POST", path, body, {"Idempotency-Key": key})
        if answer is not None:
            self.tally.decisions.add(key)
        return answer

    async def _ask(
        self, session: "ClientSession", method: str, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any] | None:
        """Ask until it is answered; None where it was refused or given up, which is noted."""
        import aiohttp

        first = perf_counter()
        while perf_counter() - first < GIVE_UP_SECONDS:
            began = perf_counter()
            try:
                async with session.request(method, path, json=body, headers=headers) as response:
                    status, content_type = response.status, response.headers.get("Content-Type", "")
                    content = await response.json(content_type=None)
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                self.tally.broken_connections += 1
                if not any(o.kind == "worker killed" and o.explains(began, perf_counter()) for o in self._outages):
                    self._fault(f"{method} {path}: {type(error).__name__} {error}")
            else:
                ended = perf_counter()
                self.tally.seconds.append((ended, ended - began))
                self.tally.statuses[status] += 1
                self.tally.requests[f"{method} {path.partition('?')[0]}"] += 1
                if status == 200:
                    found: dict[str, Any] = content
                    return found
                documented = status == 503 and content_type == "application/problem+json"
                if not documented or not any(outage.explains(began, ended) for outage in self._outages):
                    self._fault(f"{method} {path}: {status} {content}")
                if status != 503:
                    return None
            await asyncio.sleep(PAUSE_SECONDS)
        self.tally.given_up.append(f"{method} {path}")
        return None

    def _fault(self, text: str) -> None:
        self.tally.faults.append(text[:LONGEST_TOLD])

    def _wrong(self, text: str) -> None:
        self.tally.wrong.append(text[: 3 * LONGEST_TOLD])
