"""The closed loop's events as the platform's own feature query takes them: tables, draws kept apart by time.

The draws run side by side. What a system's or the whole fleet's attempts say must not mix between draws, so each draw
lies in years of its own: its events are moved by whole weeks, which keeps hours and weekdays as they are.
"""

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from crewflow_assets.arrays import Floats, Ints
from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, DUE_COLUMNS, STATUS_COLUMNS, describe
from crewflow_assets.sync_health.features import Described, columns_of
from crewflow_assets.sync_health.measures import MEMORY_DAYS, NEIGHBOUR_MINUTES
from crewflow_assets.twin.sync.attempts import Attempts, joined
from crewflow_assets.twin.sync.history import attempt_table, names_of, status_table
from crewflow_assets.twin.sync.parameters import INTERVALS, TICK_MINUTES, TICKS_PER_DAY
from crewflow_assets.twin.sync.world import SyncWorld

if TYPE_CHECKING:
    import pyarrow as pa


WEEK = np.timedelta64(7 * 86_400_000_000, "us")
LEAD = "lead_minutes"
NEIGHBOUR_TICKS = (max(NEIGHBOUR_MINUTES) + max(INTERVALS)) // TICK_MINUTES + 1
"""Of the others so much is kept that of each attempt in the neighbours' window the one before it is there too."""


def tables(world: SyncWorld, attempts: Attempts) -> tuple["pa.Table", "pa.Table"]:
    """Return attempts and all statuses with the columns of the feature query, each draw in its own years.

    An attempt is described as of the beginning of its tick: that is when the watch looks.
    """
    import pyarrow as pa

    found = attempt_table(world, attempts)
    lead = attempts.minute - attempts.tick * TICK_MINUTES
    found = found.append_column(LEAD, pa.array(lead)).select(list(ATTEMPT_COLUMNS))
    statuses = status_table(world).select(list(STATUS_COLUMNS))
    draw_of = dict(zip(names_of(world)[2], world.fleet.draw.tolist(), strict=True))
    draws = np.array([draw_of[name] for name in statuses["system"].to_pylist()], dtype=np.int64)
    return _moved(world, found, world.fleet.draw[attempts.who]), _moved(world, statuses, draws)


def due_table(world: SyncWorld, who: Ints, tick: int, late: Floats | float = 0.0) -> "pa.Table":
    """Return the syncs due in a tick, one for each of the integrations, to be described as of its beginning.

    Args:
        world: Whose they are.
        who: The integrations.
        tick: In which they are due.
        late: Minutes by which they run later than planned; nobody knows that beforehand.
    """
    import pyarrow as pa

    integrations, companies, systems = (pa.array(names).take(pa.array(who)) for names in names_of(world))
    moment = np.datetime64(world.moment(tick).replace(tzinfo=None), "us")
    lead = world.fleet.minute[who] + late
    at = moment + np.round(lead * 60e6).astype("timedelta64[us]")
    values = {
        "event_id": integrations,
        "company_id": companies,
        "integration_id": integrations,
        "system": systems,
        "occurred_at": pa.array(at, pa.timestamp("us", tz="UTC")),
        LEAD: pa.array(lead),
    }
    return _moved(world, pa.table({name: values[name] for name in DUE_COLUMNS}), world.fleet.draw[who])


class RecentHistory:
    """The attempts of the last days, enough of them to describe a moment."""

    def __init__(self, world: SyncWorld) -> None:
        self._world = world
        self._places = {name: place for place, name in enumerate(names_of(world)[0])}
        self._ticks: deque[Attempts] = deque(maxlen=MEMORY_DAYS * TICKS_PER_DAY + 1)

    def add(self, attempts: Attempts) -> None:
        """Take in the attempts of a tick."""
        self._ticks.append(attempts)

    def described(self, who: Ints, tick: int, late: Floats | float = 0.0) -> tuple[Ints, Described]:
        """Return integrations, and what the platform would know of each as a tick begins; see ``due_table``."""
        recent = joined(list(self._ticks))
        is_asked = np.zeros(len(self._world.fleet), dtype=bool)
        is_asked[who] = True
        kept = recent.where(is_asked[recent.who] | (recent.tick >= tick - NEIGHBOUR_TICKS))
        attempts, statuses = tables(self._world, kept)
        found = describe(attempts, statuses, due_table(self._world, who, tick, late))
        places = np.array([self._places[name] for name in found["integration_id"].to_pylist()], dtype=np.int64)
        return places, columns_of(found)


def _moved(world: SyncWorld, table: "pa.Table", draw: Ints) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc

    place = table.column_names.index("occurred_at")
    moved = pc.add(table["occurred_at"], pa.array(draw * _weeks(world) * WEEK, pa.duration("us")))
    return table.set_column(place, "occurred_at", moved)


def ticks_of(world: SyncWorld, micros: Floats) -> Floats:
    """Return the ticks of moments of ``tables``, in whichever years their draw lies."""
    begin = world.start.timestamp() * 1e6
    return np.floor((micros - begin) / (TICK_MINUTES * 60e6)) % (_weeks(world) * 7 * TICKS_PER_DAY)


def _weeks(world: SyncWorld) -> int:
    """Return the weeks from one draw to the next, more than a world and the memory of features last."""
    return world.ticks // (7 * TICKS_PER_DAY) + 3
