"""The simulated backend behind the webhook: it carries the platform's commands out in a world of syncs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from crewflow_assets.twin.sync.parameters import TICK_MINUTES
from crewflow_assets.twin.sync.policy import Commands
from crewflow_assets.twin.sync.world import SyncWorld

SCHEDULES = ("sync.slow_down", "sync.pause", "sync.resume")


class CommandInbox:
    """Takes commands as they are delivered, each id once, and hands them to a world of one draw at its next tick."""

    def __init__(self, world: SyncWorld) -> None:
        self.world = world
        self._place = {customer.integration_id: place for place, customer in enumerate(world.fleet.customers)}
        self._seen: set[str] = set()
        self._waiting: list[tuple[str, Mapping[str, Any]]] = []

    def take(self, command: Mapping[str, Any]) -> bool:
        """Take a delivered command over; False where its id was taken before.

        Raises:
            KeyError: the world has no such integration.
        """
        if command["id"] in self._seen:
            return False
        payload = command["payload"]
        if payload["integration_id"] not in self._place:
            raise KeyError(f"the world has no integration {payload['integration_id']!r}")
        self._seen.add(command["id"])
        self._waiting.append((command["command"], payload))
        return True

    def commands(self) -> Commands | None:
        """Return what came since the last call, for the tick that begins; of two for a schedule the later counts."""
        if not self._waiting:
            return None
        found = Commands.none(len(self._place))
        for name, payload in self._waiting:
            place = self._place[payload["integration_id"]]
            if name in SCHEDULES:
                found.slow_minutes[place] = found.slow_until[place] = found.pause_until[place] = 0
                found.resume[place] = name == "sync.resume"
            match name:
                case "sync.slow_down":
                    found.slow_minutes[place] = payload["interval_minutes"]
                    found.slow_until[place] = self._tick(payload["until"])
                case "sync.pause":
                    found.pause_until[place] = self._tick(payload["until"])
                case "sync.reauthorise":
                    found.reauthorise[place] = True
                case "sync.review_records":
                    found.review_records[place] = True
        self._waiting.clear()
        return found

    def _tick(self, until: str) -> int:
        """Return the first tick that begins at a moment or later."""
        return ceil((datetime.fromisoformat(until) - self.world.start) / timedelta(minutes=TICK_MINUTES))
