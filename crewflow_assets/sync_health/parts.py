"""Describing more attempts than fit into memory: some integrations at a time, on DuckDB.

What an integration's attempts say of each other needs no other integration; what all say of the API is counted by
minute beforehand. So memory does not grow with the number of attempts, only the file does in which they wait.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from crewflow_assets.sync_health.events import ATTEMPT_COLUMNS, history, outcomes
from crewflow_assets.sync_health.neighbours import COUNTS

if TYPE_CHECKING:
    import ibis
    import pyarrow as pa

ATTEMPTS_A_PART = 1_000_000
"""Described at once, in some 1.5 GB."""


def history_in_parts(
    attempts: "ibis.Table", statuses: "ibis.Table", attempts_a_part: int = ATTEMPTS_A_PART
) -> "Iterator[ibis.Table]":
    """Yield ``events.history`` of the attempts in parts; each is to be read before the next is asked for.

    Args:
        attempts: Of ``ATTEMPT_COLUMNS``.
        statuses: Of ``STATUS_COLUMNS``, on the same DuckDB connection.
        attempts_a_part: About as many, of whole integrations.
    """
    number = -(-int(attempts.count().to_pyarrow().as_py()) // attempts_a_part)
    if number <= 1:
        yield history(attempts, statuses)
        return
    connection: Any = attempts.get_backend()
    with TemporaryDirectory(prefix="crewflow-attempts-") as folder:
        remainder = attempts.company_id.concat("/", attempts.integration_id).hash() % number  # may be below 0
        divided = attempts.select(*ATTEMPT_COLUMNS).mutate(part=(remainder + number) % number)
        divided.to_parquet(folder, partition_by="part", overwrite=True)
        files = sorted(Path(folder).glob("part=*"))
        parts = [connection.read_parquet(str(file / "*.parquet"), hive_partitioning=False) for file in files]
        counted = connection.create_table("outcomes_of_all", _counted(parts), temp=True, overwrite=True)
        for part in parts:
            yield history(part, statuses, counted=counted)
        connection.drop_table("outcomes_of_all")


def _counted(parts: "list[ibis.Table]") -> "pa.Table":
    """Count how the attempts of all parts came out; see ``events.outcomes``."""
    import pyarrow as pa

    keys, total = ["system", "minute"], outcomes(parts[0]).to_pyarrow()
    for part in parts[1:]:
        both = pa.concat_tables([total, outcomes(part).to_pyarrow()])
        total = both.group_by(keys).aggregate([(name, "sum") for name in COUNTS])
        total = total.rename_columns([*keys, *COUNTS])
    return total
