import numpy as np

from benchmarks.sync_prevention import Loop
from crewflow_assets.backtest.moments import RecentHistory, tables, ticks_of
from crewflow_assets.sync_health.events import describe
from crewflow_assets.sync_health.features import FEATURES, columns_of, feature_rows
from crewflow_assets.twin.sync.attempts import joined
from crewflow_assets.twin.sync.history import names_of

LOOP = Loop(draws=2, integrations=12, warm_up=8, days=1)
ASKED = 8 * 96 + 37


def test_a_sync_that_is_due_is_described_as_its_attempt_is_later() -> None:
    world = LOOP.world()
    history = RecentHistory(world)
    parts = []
    for _ in range(ASKED):
        world.begin_tick()
        parts.append(world.finish_tick())
        history.add(parts[-1])
    world.begin_tick()
    ran = world.finish_tick()
    late = ran.minute - ASKED * 15 - world.fleet.minute[ran.who]
    assert (late >= 0).all()
    who, found = history.described(ran.who, ASKED, late)

    attempts, statuses = tables(world, joined([*parts, ran]))
    table = describe(attempts, statuses)
    columns = columns_of(table)
    rows = dict(zip(table["event_id"].to_pylist(), feature_rows(columns), strict=True))
    assert (ticks_of(world, columns["micros"]) == ASKED).sum() == len(who) > 5
    integrations = names_of(world)[0]
    for place, row in zip(who, feature_rows(found), strict=True):
        known = rows[f"{integrations[place]}-sync-{ASKED}"]
        differs = ~np.isclose(row, known, rtol=1e-4, atol=1e-5, equal_nan=True)
        assert not differs.any(), [FEATURES[number] for number in np.flatnonzero(differs)]
