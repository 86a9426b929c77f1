"""How soon failures pass in the twin, beside what was measured on public endpoints."""

from collections.abc import Mapping

import numpy as np

from crewflow_assets.arrays import Bools
from crewflow_assets.twin.retries.bodies import BODIES
from crewflow_assets.twin.retries.play import once
from crewflow_assets.twin.retries.world import RetryWorld

DELAYS: Mapping[str, float] = {
    "3 s": 3,
    "2.5 min": 150,
    "10 min": 600,
    "1 h": 3600,
    "4 h": 4 * 3600,
    "next day": 86400,
}
MEASURED: Mapping[str, Mapping[str, float]] = {
    "5xx": {"3 s": 0.22, "2.5 min": 0.36, "10 min": 0.66, "next day": 0.78},
    "timeout": {"next day": 0.93},
    "connection error": {"next day": 0.81},
    "429": {"next day": 0.90},
}
"""Shares of another call to the same host that succeeded: within 5 s, after 1 to 5 and 5 to 15 minutes of any 5xx,
and a day after a first failure of each kind."""
KINDS: Mapping[str, tuple[str, ...]] = {
    "5xx": ("server_error",),
    "timeout": ("timeout",),
    "connection error": ("connection_error",),
    "429": ("rate_limit",),
}


def passed(world: RetryWorld, counted: Bools) -> dict[str, dict[str, tuple[float, float, int]]]:
    """Return for each kind of error and delay the share of retries that succeed: of all, of first failures, and how
    many failures there are. A first failure is one whose integration's sync before it was good."""
    calls = world.calls
    names = np.array([body.error_class for body in BODIES])[calls.body]
    is_first = world.surroundings.trouble_minutes(calls.who, calls.minute) == 0
    ok = {name: once(world, np.full(len(calls), seconds)) for name, seconds in DELAYS.items()}
    found = {}
    for kind, classes in KINDS.items():
        mine = counted & np.isin(names, classes)
        found[kind] = {
            name: (_share(ok[name][mine]), _share(ok[name][mine & is_first]), int(mine.sum())) for name in DELAYS
        }
    return found


def _share(ok: Bools) -> float:
    return float(ok.mean()) if len(ok) else float("nan")


def print_facts(found: Mapping[str, Mapping[str, tuple[float, float, int]]]) -> None:
    """Print the twin's shares and the measured ones as Markdown."""
    print("\nShare of retries that succeed after a delay: all failures / first failures in the twin (measured)\n")
    print(f"| error | failures | {' | '.join(DELAYS)} |\n|---|---|{'---|' * len(DELAYS)}")
    for kind, shares in found.items():
        cells = []
        for name, (every, first, _) in shares.items():
            known = MEASURED[kind].get(name)
            cells.append(f"{every:.2f} / {first:.2f}" + ("" if known is None else f" ({known:.2f})"))
        print(f"| {kind} | {next(iter(shares.values()))[2]:,} | {' | '.join(cells)} |")
