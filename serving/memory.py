"""Memory that is free again goes back to the system.

glibc keeps what was freed. Arrays of many sizes that come and go in several threads leave ever more of it between
what is in use: a worker's memory grows by tens of MiB an hour, although nothing that lives does.
"""

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], int] | None:
    """Return ``malloc_trim(3)``, which glibc alone has."""
    if sys.platform != "linux":
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found


def give_back() -> bool:
    """Hand the pages back that nothing lies on, some milliseconds' work; answer whether there were any."""
    trim = _trim()
    return trim is not None and trim(0) == 1
