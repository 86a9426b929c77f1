"""The learned retries in the simulated world: what the platform would answer to each failure there, many at once.

The plan, its rules, the budget of each customer and the breaker of each API are those of ``retry_strategy``. Of what
a reason tells the caller to do instead only the look-up is done here: whether a write took effect is read before it
is repeated, and until that was answered, whatever else fails meanwhile. What waits for a person is made once more
when its mending shows in the events: by the integration's first good sync, as these worlds have no record versions.
Its retry is taken from the budget at the failure, not at the release; there is no end of 14 days to the waiting.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

import numpy as np
import pandas as pd

from crewflow_assets.arrays import Bools, Floats, Ints, Objects
from crewflow_assets.retry_strategy.contract import ReleaseOn
from crewflow_assets.retry_strategy.delays import release_delay
from crewflow_assets.retry_strategy.features import Failures as Described
from crewflow_assets.retry_strategy.features import class_places
from crewflow_assets.retry_strategy.model import RetryPredictor
from crewflow_assets.retry_strategy.plan import Values, plan
from crewflow_assets.retry_strategy.rules import (
    CAPACITY,
    LOOK_UP,
    PROBE_SECONDS,
    breaker_open,
    forbidden,
    per_minute,
)
from crewflow_assets.retry_strategy.surroundings import LOOK_BACK, WINDOWS
from crewflow_assets.retry_strategy.table import as_table
from crewflow_assets.retry_strategy.taxonomy import CLASSES, classify
from crewflow_assets.twin.retries.bodies import BODIES
from crewflow_assets.twin.retries.chance import mixed, uniform
from crewflow_assets.twin.retries.history import retry_table
from crewflow_assets.twin.retries.play import RetryLog
from crewflow_assets.twin.retries.policy import Decisions, Failures
from crewflow_assets.twin.retries.world import RetryWorld
from crewflow_assets.twin.sync.history import TRANSIT, attempt_table
from crewflow_assets.twin.sync.parameters import SYSTEMS

RELEASES: tuple[ReleaseOn, ...] = get_args(ReleaseOn)
NUMBER = 4711
"""Stands in a message where its words are classified."""
FIRST_SALT = 201
NAMES = np.array(SYSTEMS, object)
STATUS = np.array([np.nan if body.status is None else body.status for body in BODIES])


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered to failures: the probability of success that was said, NaN where no retry was planned."""

    call: Ints
    attempts: Ints
    seconds: Floats
    probability: Floats


class LearnedRetries:
    """Answers failures as the platform does.

    Args:
        world: Whose calls are retried.
        predictor: Fitted on other integrations.
        values: What counts how much.
        resends: Whether calls that wait for a person are made once more when that shows as mended; the platform
            does so for calls that are named to it.
        seed: Of exploration and jitter.
    """

    def __init__(
        self, world: RetryWorld, predictor: RetryPredictor, values: Values, *, resends: bool = True, seed: int = 0
    ) -> None:
        self._world, self._predictor, self._values, self._seed = world, predictor, values, seed
        self._resends = resends
        self._released = {kind: np.zeros(len(world.calls), dtype=bool) for kind in RELEASES}
        size = len(world.fleet)
        self._tokens, self._counted = np.full(size, CAPACITY), np.zeros(size)
        self._rate = np.array([per_minute(name) for name in NAMES[world.fleet.system]])
        self._owed = np.zeros(len(world.calls), dtype=bool)
        self._probes: dict[int, set[int]] = {}
        self.told: list[Told] = []

    def decide(self, failures: Failures) -> Decisions:
        """See ``RetryPolicy``."""
        described = describe(self._world, failures)
        owed = self._owed[failures.call]
        kinds = described.error_class
        rulings = [
            forbidden(
                CLASSES[kind],
                status=None if np.isnan(status) else int(status),
                write=bool(write),
                idempotent=bool(harmless),
                retry_after=None if np.isnan(after) else float(after),
            )
            for kind, status, write, harmless, after in zip(
                kinds,
                described.status,
                failures.write,
                failures.idempotent | owed,  # what failed was the reading
                failures.retry_after_seconds,
                strict=True,
            )
        ]
        unclear = np.array([ruling is not None and ruling.why == LOOK_UP for ruling in rulings], bool)
        looked = self._owed[failures.call] = owed | unclear
        allowed = unclear | np.array([ruling is None for ruling in rulings], bool)
        key = mixed(self._world.calls.key[failures.call], failures.attempts)
        uniforms = np.column_stack([uniform(key, FIRST_SALT + 10 * self._seed + place) for place in range(3)])
        plans = plan(self._predictor, described, self._values, uniforms, allowed=allowed)
        seconds = np.where(plans.retry, self._probed(failures, described, plans.seconds), np.nan)
        waits_for = np.array([None if ruling is None else ruling.release_on for ruling in rulings], object)
        if self._resends:
            seconds = np.where(np.isnan(seconds), self._released_after(failures, waits_for, uniforms), seconds)
        seconds = self._afforded(failures.who, failures.minute, seconds)
        for kind, released in self._released.items():
            released[failures.call[(waits_for == kind) & np.isfinite(seconds)]] = True
        self.told.append(Told(failures.call, failures.attempts, seconds, plans.probability))
        return Decisions(seconds, looked, np.where(np.isnan(seconds), np.nan, plans.propensity))

    def heard(self, who: Ints, minute: Floats, ok: Bools) -> None:
        """See ``RetryPolicy``."""

    def _released_after(self, failures: Failures, kinds: Objects, uniforms: Floats) -> Floats:
        """Return when each call that waits for a person is made once more, in seconds; NaN where it is not.

        What is looked up ahead here, the next good sync, is what the platform waits for: nothing before it is decided
        by it. After the deadline a call is not worth making. Each call is released once by each kind of mending.
        """
        seen = self._world.surroundings.next_success(failures.who, failures.minute)
        passed = (seen - failures.minute) * 60 + TRANSIT.total_seconds() + release_delay(uniforms[:, 2])
        ends = failures.minute + passed / 60 - failures.first_minute
        in_time = np.isfinite(ends) & (ends <= self._values.deadline_hours * 60)
        seconds = np.full(len(failures), np.nan)
        for kind, released in self._released.items():
            mine = (kinds == kind) & in_time & ~released[failures.call]
            seconds[mine] = passed[mine]
        return seconds

    def _afforded(self, who: Ints, minute: Floats, seconds: Floats) -> Floats:
        """Take each retry from its customer's budget; NaN where none is left."""
        passed = np.maximum(minute - self._counted[who], 0)
        tokens = np.minimum(self._tokens[who] + self._rate[who] * passed, CAPACITY)
        is_spent = np.isfinite(seconds) & (tokens >= 1)
        self._tokens[who], self._counted[who] = tokens - is_spent, minute
        return np.where(is_spent, seconds, np.nan)

    def _probed(self, failures: Failures, described: Described, seconds: Floats) -> Floats:
        """Let one retry in a probe's time go to an API that is as good as down."""
        found = seconds.copy()
        around = described.around
        for place in np.flatnonzero(np.isfinite(seconds)):
            kind = CLASSES[described.error_class[place]]
            n, share = around["others_n_15m"][place], around["others_failed_share_15m"][place]
            if not breaker_open(kind, float(n), float(share)):
                continue
            taken = self._probes.setdefault(int(self._world.fleet.server[failures.who[place]]), set())
            now = failures.minute[place] * 60
            slot = int(np.ceil((now + seconds[place]) / PROBE_SECONDS))
            while slot in taken:
                slot += 1
            taken.add(slot)
            found[place] = slot * PROBE_SECONDS - now
        return found


def describe(world: RetryWorld, failures: Failures) -> Described:
    """Return failures as the model takes them; no more than what events would tell is used."""
    who, minute = failures.who, failures.minute
    around = world.surroundings
    seen: dict[str, Floats] = {}
    for window in WINDOWS:
        failed, n = around.others(who, minute, window)
        seen[f"others_n_{window}m"] = n.astype(np.float64)
        seen[f"others_failed_share_{window}m"] = np.divide(failed, n, out=np.full(len(n), np.nan), where=n > 0)
    _, recent = around.own(who, minute, LOOK_BACK)
    since = np.minimum(around.since_success(who, minute), LOOK_BACK)
    seen["trouble_minutes"] = np.where(recent > 0, since, np.nan)
    seen["headroom"] = np.where(recent > 0, around.headroom(who, minute, world.limits.per_day[who]), np.nan)
    system = world.fleet.system[who]
    started = world.recorded.world.start.hour * 60
    return Described(
        error_class=_classes()[system, failures.body],
        system=NAMES[system],
        attempts=failures.attempts.astype(np.float64) + 1,
        hour=np.floor((started + minute) / 60) % 24,
        latency=failures.latency_ms,
        latency_24h=around.latency_24h(who, minute),
        status=STATUS[failures.body],
        retry_after=failures.retry_after_seconds,
        since_first_failure=(minute - failures.first_minute) * 60,
        write=failures.write.astype(np.float64),
        idempotent=failures.idempotent.astype(np.float64),
        around=seen,
    )


def feature_rows(world: RetryWorld, log: RetryLog) -> pd.DataFrame:
    """Return logged retries as the model's feature table, each draw of the world described by itself."""
    plain = {f"{system}_d{draw}": system for draw in range(len(world.recorded.world.draws)) for system in SYSTEMS}
    retries = retry_table(world, log).to_pandas().replace({"system": plain})
    attempts = attempt_table(world.recorded.world, world.recorded.attempts).to_pandas().replace({"system": plain})
    draw = world.fleet.draw
    of_retry, of_attempt = draw[world.calls.who[log.call]], draw[world.recorded.attempts.who]
    parts = [
        as_table(retries[of_retry == one].reset_index(drop=True), attempts[of_attempt == one].reset_index(drop=True))
        for one in np.unique(of_retry)
    ]
    return pd.concat(parts, ignore_index=True)


def _class_of(system: str, place: int) -> int:
    body = BODIES[place]
    return int(class_places([classify(system, body.status, body.code, body.text(NUMBER), body.error_class).name])[0])


@lru_cache(maxsize=1)
def _classes() -> Ints:
    """Return the class of each body by system."""
    return np.array([[_class_of(system, place) for place in range(len(BODIES))] for system in SYSTEMS])
