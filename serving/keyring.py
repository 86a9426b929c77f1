"""Which keys are valid, remembered for seconds, and how many requests each may make a minute."""

import logging
import time
from collections import OrderedDict

from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from crewflow_assets.settings import get_settings
from crewflow_assets.store import keys
from crewflow_assets.store.database import reading
from serving.caller import Caller
from serving.known_keys import KnownKeys
from serving.problems import Problem

logger = logging.getLogger("crewflow.serving")

REMEMBERED_SECONDS = 2.0
"""A revoked key works for at most this long in a worker."""
MOST_REMEMBERED = 10_000
LONGEST_TOKEN = 200
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="crewflow"'}


class Keyring:
    """Checks bearer tokens against the database, each at most once in a few seconds.

    While the database is away, keys that it confirmed in the last 24 hours stay valid; a key that is not among them
    cannot be judged, which is a 503 and no 401.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()
        self._away_until = 0.0
        self._confirmed: KnownKeys | None = None

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
                known = (now + REMEMBERED_SECONDS, await to_thread.run_sync(self._look_up, token))
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

    def _look_up(self, token: str) -> Caller | None:
        digest = keys.hash_of(token)
        confirmed = self._on_disk()
        if time.monotonic() < self._away_until and (scope := confirmed.find(digest)) is not None:
            return Caller(scope.key_id, scope.company_id, scope.requests_per_minute)
        try:
            with reading() as session:
                scope = keys.verify(session, token)
        except SQLAlchemyError:
            self._away_until = time.monotonic() + REMEMBERED_SECONDS
            scope = confirmed.find(digest)
            if scope is None:
                raise
            logger.warning("the database is away; key %d is taken as it was confirmed last", scope.key_id)
        else:
            try:
                if scope is not None:
                    confirmed.confirm(digest, scope)
                else:
                    confirmed.forget(digest)
            except OSError as error:  # the database has the say; the file is for when it is away
                logger.warning("what the database says of a key cannot be kept on disk: %s", error)
        return None if scope is None else Caller(scope.key_id, scope.company_id, scope.requests_per_minute)

    def _on_disk(self) -> KnownKeys:
        path = get_settings().root / "gateway" / "keys.json"
        if self._confirmed is None or self._confirmed.path != path:
            self._confirmed = KnownKeys(path)
        return self._confirmed


class RateLimiter:
    """A token bucket for each key: a minute's requests may come at once, then they refill evenly.

    A key's own limit holds before the setting's.
    """

    def __init__(self) -> None:
        self._buckets: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, caller: Caller) -> None:
        """Count one request.

        Raises:
            Problem: 429 with ``Retry-After`` when the key's minute is used up.
        """
        limit, key_id = caller.requests_per_minute or get_settings().requests_per_minute, caller.key_id
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
