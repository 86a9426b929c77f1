"""A backtest from beginning to end."""

from collections.abc import Callable

from crewflow_assets.backtest.conflicts import Size as ConflictSize
from crewflow_assets.backtest.conflicts import resolve_conflicts
from crewflow_assets.backtest.found import Backtest
from crewflow_assets.backtest.models import Models
from crewflow_assets.backtest.syncs import Size as SyncSize
from crewflow_assets.backtest.syncs import play_syncs


def run(
    models: Models,
    syncs: SyncSize,
    conflicts: ConflictSize,
    progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
) -> Backtest:
    """Step, play and resolve all worlds.

    Args:
        models: What acts in them.
        syncs: How many worlds of syncs.
        conflicts: How many worlds of timecards.
        progress: Told what is under way, how much of it is done, and of how much.
    """
    return Backtest(
        syncs,
        conflicts,
        play_syncs(syncs, models, progress),
        resolve_conflicts(conflicts, models.conflict, progress),
        models.versions,
    )
