"""The state behind syncs and retries, which an honest policy never sees."""

from dataclasses import dataclass

from crewflow_assets.arrays import Bools, Floats


@dataclass(frozen=True, slots=True)
class HiddenState:
    """What only the twin knows of each integration as a tick begins.

    ``locked_out``: the grant has ended; ``refused``: records wait that the other side refuses; ``others``: calls a
    minute of the other apps; ``used``: calls that count against the day; ``needed``: calls that a sync would make.
    """

    locked_out: Bools
    refused: Bools
    others: Floats
    used: Floats
    needed: Floats
