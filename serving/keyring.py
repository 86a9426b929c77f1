"""Which keys are valid, remembered for seconds, and how many requests each may make a minute."""

import time
from collections import OrderedDict

from anyio import to_thread

from crewflow_assets.settings import get_settings
from crewflow_assets.store import keys
from crewflow_assets.store.database import reading
from serving.caller import Caller
from serving.problems import Problem

REMEMBERED_SECONDS = 2.0
"""A revoked key works for at most this long in a worker."""
MOST_REMEMBERED = 10_000
LONGEST_TOKEN = 200
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="crewflow"'}


class Keyring:
    """Checks bearer tokens against the database, each at most once in a few seconds."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()

    async def caller(self, authorization: str | None) -> Caller:
        """Return who the ``Authorization`` header speaks for.

        Raises:
            Problem: 401 without a valid key.
            SQLAlchemyError: the database cannot be asked.
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "no API key; send it as `Authorization: Bearer <key>`", headers=CHALLENGE)
        caller = None
        if len(token) <= LONGEST_TOKEN:
            now = time.monotonic()
            known = self._known.get(token)
            if known is None or known[0] < now:
                known = (now + REMEMBERED_SECONDS, await to_thread.run_sync(_look_up, token))
                self._known[token] = known
                self._known.move_to_end(token)
                if len(self._known) > MOST_REMEMBERED:
                    self._known.popitem(last=False)
            caller = known[1]
        if caller is None:
            raise Problem(
                401, "the API key is unknown or revoked; `crewflow key create` makes one", headers=CHALLENGE
            )
        return caller


def _look_up(token: str) -> Caller | None:
    with reading() as session:
        scope = keys.verify(session, token)
    return None if scope is None else Caller(scope.key_id, scope.company_id)


class RateLimiter:
    """A token bucket for each key: a minute's requests may come at once, then they refill evenly."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, key_id: int) -> None:
        """Count one request.

        Raises:
            Problem: 429 with ``Retry-After`` when the key's minute is used up.
        """
        limit = get_settings().requests_per_minute
        now = time.monotonic()
        left, at = self._buckets.pop(key_id, (float(limit), now))
        left = min(float(limit), left + (now - at) * limit / 60)
        allowed = left >= 1
        self._buckets[key_id] = (left - 1 if allowed else left, now)
        if len(self._buckets) > MOST_REMEMBERED:
            self._buckets.popitem(last=False)
        if not allowed:
            wait = max(1, round((1 - left) * 60 / limit + 0.5))
            raise Problem(
                429,
                f"this key made more than {limit:,} requests a minute; wait {wait} s, or send batches",
                headers={"Retry-After": str(wait)},
            )
