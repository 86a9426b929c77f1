from dataclasses import replace

import numpy as np

from benchmarks.sync_prevention import START
from crewflow_assets.backtest.scoring import ModelScorer, fit_on_twin
from crewflow_assets.sync_health.contract import AT_RISK
from crewflow_assets.sync_health.policy import FORECAST_ACTS_ABOVE
from crewflow_assets.twin.sync.outages import Kind, Phase
from crewflow_assets.twin.sync.world import SyncWorld, standard_draw

BEGIN = 3 * 96
"""The tick at which an outage of ten hours begins, after three days of history."""


def test_the_model_finds_those_that_are_due_in_an_outage() -> None:
    predictor = fit_on_twin(3, 12, 12, START, lambda _done, _total: None)
    down = Phase(Kind.OUTAGE, 15.0 * BEGIN, 15.0 * BEGIN + 600, failing=1.0, latency=3.0, announced=True)
    draw = replace(standard_draw(2001, 12), injected={"quickbooks": [down]})
    world = SyncWorld([draw], start=START, days=4)
    scorer = ModelScorer(world, predictor, from_tick=BEGIN)
    named = hit = failed = early = 0
    just_failed: set[int] = set()
    for tick in range(BEGIN + 16):
        world.begin_tick()
        view = world.view()
        scorer.see(view)
        risks = scorer.risks(view) if tick >= BEGIN else {}
        running = set(world.schedule.running(tick).tolist())
        assert set(risks) <= running | just_failed
        early += len(set(risks) - running)
        for risk in risks.values():
            forecast = risk.forecast
            may_act = forecast is not None and forecast.probability > FORECAST_ACTS_ABOVE
            assert risk.probability > FORECAST_ACTS_ABOVE or may_act
        ran = world.finish_tick()
        just_failed = set(ran.who[~ran.ok].tolist())
        sure = [who for who, risk in risks.items() if who in running and risk.probability > AT_RISK]
        named += len(sure)
        hit += int((~ran.ok & np.isin(ran.who, sure)).sum())
        failed += int((~ran.ok).sum()) if tick > BEGIN + 4 else 0
    assert hit / named > 0.8
    assert hit > failed / 2
    assert early > 0  # people are asked before the next sync is due
    assert scorer.looked > 0
