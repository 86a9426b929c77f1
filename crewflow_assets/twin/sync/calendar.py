"""The week as the twin's customers live it: when records are made, when people work, when APIs are busy."""

from datetime import datetime

import numpy as np

from crewflow_assets.arrays import Floats, Ints
from crewflow_assets.twin.sync.fleet import ZONES
from crewflow_assets.twin.sync.parameters import TICK_MINUTES, TICKS_PER_DAY

WORK_BEGINS, WORK_ENDS = 7, 18
BEYOND_DAYS = 30
_RECORDS = np.interp(
    np.arange(24), (0, 5, 6, 9, 12, 15, 16, 17, 19, 22, 23), (0.1, 0.1, 0.7, 0.8, 0.7, 2.2, 3.4, 3.0, 0.8, 0.2, 0.1)
)
_PAYROLL = 1.8
_BUSY = np.interp(np.arange(24), (0, 6, 9, 15, 18, 23), (0.0, 0.05, 0.9, 1.0, 0.4, 0.0))
"""By the local hour: crews send their time cards at the end of the day, and offices approve them on Monday morning;
APIs are busiest in office hours. Assumptions."""


class Calendar:
    """Local time by tick and zone, from the beginning of the world to some weeks beyond its end.

    Args:
        start: Midnight UTC at which the world begins.
        days: How long it is.
    """

    def __init__(self, start: datetime, days: int) -> None:
        ticks = np.arange((days + BEYOND_DAYS) * TICKS_PER_DAY)
        local = ticks[None, :] * TICK_MINUTES / 60 + np.array(ZONES)[:, None] + 24 * start.weekday()
        self.hour: Floats = local % 24
        self.weekday = (local // 24 % 7).astype(np.int64)
        weekend = self.weekday >= 5
        whole = self.hour.astype(np.int64)
        monday_morning = (self.weekday == 0) & (self.hour >= 8) & (self.hour < 12)
        self.records: Floats = _RECORDS[whole] * np.where(weekend, 0.15, 1.0) * np.where(monday_morning, _PAYROLL, 1)
        self.records /= _RECORDS.sum() * 60 / TICK_MINUTES
        self.busy: Floats = _BUSY[whole] * np.where(weekend, 0.3, 1.0)
        at_work = ~weekend & (self.hour >= WORK_BEGINS) & (self.hour < WORK_ENDS)
        self._worked = np.cumsum(at_work * TICK_MINUTES / 60, axis=1)

    def after_work(self, tick: int, zone: Ints, hours: Floats) -> Ints:
        """Return the tick at which so many working hours have passed since ``tick``, at least the next one."""
        found = np.empty(len(zone), dtype=np.int64)
        for each in np.unique(zone):
            mine = zone == each
            worked = self._worked[each]
            found[mine] = np.searchsorted(worked, worked[tick] + hours[mine])
        return np.maximum(found, tick + 1)
