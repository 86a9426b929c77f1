"""Grants that end and records that are refused, and the people who put both right, sooner when they are asked."""

from collections.abc import Mapping, Sequence

import numpy as np

from crewflow_assets.arrays import Bools, Floats, Ints, Singles
from crewflow_assets.twin.sync.calendar import Calendar
from crewflow_assets.twin.sync.fleet import Fleet
from crewflow_assets.twin.sync.luck import DayLuck
from crewflow_assets.twin.sync.parameters import TICK_MINUTES, TICKS_PER_DAY, SyncParameters

NEVER = np.iinfo(np.int64).max
DELAY_SIGMA = 0.8
"""Spread of the logarithm of the time until someone acts: an assumption."""


class People:
    """The grants and the refused records of all integrations, and who is about to see to them.

    Attributes:
        is_locked_out: Whose grant has ended.
        refused: Records that the other side refuses until someone mends them.
    """

    def __init__(
        self,
        fleet: Fleet,
        parameters: Sequence[SyncParameters],
        calendar: Calendar,
        revoked: Mapping[int, Sequence[int]],
    ) -> None:
        size = len(fleet)
        self.is_locked_out: Bools = np.zeros(size, dtype=bool)
        self.refused: Ints = np.zeros(size, dtype=np.int64)
        self._fleet, self._calendar, self._revoked = fleet, calendar, revoked
        self._life = np.where(fleet.rigid, fleet.limit("token_days") * TICKS_PER_DAY, np.inf)
        self._granted: Floats = -fleet.granted_days * TICKS_PER_DAY
        self._grants_at: Ints = np.full(size, NEVER)
        self._mends_at: Ints = np.full(size, NEVER)
        self._grant_luck = np.zeros((2, size), dtype=np.float32)
        self._mend_luck = np.zeros((2, size), dtype=np.float32)
        self._bad_rate = fleet.spread(parameters, lambda p: p.bad_record_rate)
        self._unasked = fleet.spread(parameters, lambda p: p.notice_hours)
        self._asked = fleet.spread(parameters, lambda p: p.asked_hours)
        self._heed = fleet.spread(parameters, lambda p: p.heed_share)

    def live(self, tick: int, luck: DayLuck, records: Ints) -> None:
        """Let a tick begin: people act, grants end, and some of its new records are of the refused kind."""
        row = tick % TICKS_PER_DAY
        granted = self._grants_at == tick
        self.is_locked_out[granted] = False
        self._granted[granted] = tick
        self._grants_at[granted] = NEVER
        mended = self._mends_at == tick
        self.refused[mended] = 0
        self._mends_at[mended] = NEVER

        ends = self._granted + self._life <= tick
        ends[list(self._revoked.get(tick, ()))] = True
        ends &= ~self.is_locked_out
        if ends.any():
            self.is_locked_out |= ends
            self._grant_luck[:, ends] = luck.normal["delay"][row, ends], luck.uniform["heed"][row, ends]
            self._hurry(self._grants_at, tick, np.flatnonzero(ends), self._grant_luck, self._unasked)
        refused = luck.uniform["bad"][row] < 1 - (1 - self._bad_rate) ** records
        if refused.any():
            fresh = refused & (self.refused == 0)
            self._mend_luck[:, fresh] = luck.normal["delay"][row, fresh], luck.uniform["heed"][row, fresh]
            self.refused[refused] += 1
            self._hurry(self._mends_at, tick, np.flatnonzero(fresh), self._mend_luck, self._unasked)

    def ask(self, tick: int, *, grants: Bools, records: Bools) -> None:
        """Ask people to renew a grant or to look at refused records.

        Whether and how fast they act belongs to the trouble, so that asking earlier is never worse and asking again
        moves nobody. Who is asked to renew a grant that has not ended does so as readily as the last time.
        """
        heeds = self._grant_luck[1] < self._heed
        asked = np.flatnonzero(grants & heeds & ((self._grants_at == NEVER) | self.is_locked_out))
        self._hurry(self._grants_at, tick, asked, self._grant_luck, self._asked)
        asked = np.flatnonzero(records & (self._mend_luck[1] < self._heed) & (self.refused > 0))
        self._hurry(self._mends_at, tick, asked, self._mend_luck, self._asked)

    def ends_within(self, tick: int, ticks: Floats | float) -> Bools:
        """Say whose grant ends of age within so many ticks: known to the ceiling alone."""
        ends: Bools = self._granted + self._life <= tick + ticks
        return ends

    def grant_seconds(self, tick: int, who: Ints) -> Floats:
        """Return how long grants hold unless they are renewed: a whole life where syncs renew them, NaN if ended."""
        life = self._fleet.limit("token_days")[who] * TICKS_PER_DAY
        left = np.where(self._fleet.rigid[who], self._granted[who] + life - tick, life)
        seconds: Floats = np.where(self.is_locked_out[who], np.nan, left * TICK_MINUTES * 60.0)
        return seconds

    def _hurry(self, moments: Ints, tick: int, who: Ints, luck: Singles, median_hours: Floats) -> None:
        if len(who):
            delay = np.exp(DELAY_SIGMA * luck[0, who].astype(np.float64))
            at = self._calendar.after_work(tick, self._fleet.zone[who], median_hours[who] * delay)
            moments[who] = np.minimum(moments[who], at)
