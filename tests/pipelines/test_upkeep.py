"""Every asset has an owner and a freshness policy, whoever added it."""

from datetime import timedelta

import dagster as dg
import pytest

from pipelines.definitions import defs
from pipelines.upkeep import WEEKLY, upkeep_of, with_upkeep


def test_every_asset_has_an_owner_and_a_freshness_policy() -> None:
    graph = defs.resolve_asset_graph()
    without = [
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if not graph.get(key).owners or graph.get(key).freshness_policy is None
    ]
    assert without == []


@pytest.mark.parametrize(
    ("key", "fail"),
    [
        ("sync_health/champion", timedelta(days=2)),  # trained daily
        ("cost_code_mapping/features", timedelta(days=8)),  # weekly
        ("integrations/watch", timedelta(hours=2)),
        ("integrations/daily_scores", timedelta(hours=50)),
        ("lake/sync_attempt", timedelta(days=14)),
        ("backtest/policies", timedelta(days=62)),  # run by hand
    ],
)
def test_an_asset_fails_when_its_rhythm_is_missed(key: str, fail: timedelta) -> None:
    policy = defs.resolve_asset_graph().get(dg.AssetKey(key.split("/"))).freshness_policy
    assert isinstance(policy, dg._core.definitions.freshness.TimeWindowFreshnessPolicy)
    assert policy.fail_window.to_timedelta() == fail


def test_an_asset_of_a_new_group_gets_the_default() -> None:
    @dg.asset(group_name="brand_new")
    def thing() -> None:
        pass

    [kept] = with_upkeep([thing])
    [spec] = kept.specs
    assert upkeep_of(spec) is WEEKLY
    assert spec.owners == [WEEKLY.owner]
    assert spec.freshness_policy == WEEKLY.policy
