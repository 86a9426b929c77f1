"""Who owns each asset, and how old it may get: said by group, in this one place."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from crewflow_assets.models import MODEL_SPECS
from crewflow_assets.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Upkeep:
    """The owner of a group's assets, and after how long without a materialisation Dagster warns and fails them."""

    owner: str
    warn: timedelta
    fail: timedelta

    @property
    def policy(self) -> dg.FreshnessPolicy:
        """The freshness policy that says so."""
        return dg.FreshnessPolicy.time_window(fail_window=self.fail, warn_window=self.warn)


def of_model(spec: ModelSpec) -> Upkeep:
    """Return a model's upkeep: the time between two trainings, and some to try again."""
    weekly = spec.retrain_cron.split()[4] != "*"
    period = timedelta(days=7 if weekly else 1)
    return Upkeep("team:machine-learning", period + timedelta(hours=3), period + timedelta(hours=24))


WEEKLY = Upkeep("team:machine-learning", timedelta(days=7, hours=3), timedelta(days=8))
"""Of groups that are not named below."""
DAILY = Upkeep("team:machine-learning", timedelta(hours=27), timedelta(hours=48))
GROUPS = {
    # an event kind may be silent for days: a holiday, or nothing to decide
    "lake": Upkeep("team:data-platform", timedelta(days=4), timedelta(days=14)),
    "integrations": Upkeep("team:integrations", timedelta(hours=26), timedelta(hours=50)),
    "experiments": DAILY,
    "monitoring": DAILY,
    # nothing schedules it: it is run by hand, once a month or after a change of policy
    "backtest": Upkeep("team:machine-learning", timedelta(days=31), timedelta(days=62)),
    **{spec.name: of_model(spec) for spec in MODEL_SPECS},
}
ASSETS = {"integrations/watch": Upkeep("team:integrations", timedelta(minutes=45), timedelta(hours=2))}
"""Of assets that go by another rhythm than their group."""


def upkeep_of(spec: dg.AssetSpec) -> Upkeep:
    """Return the upkeep of an asset."""
    return ASSETS.get(spec.key.to_user_string()) or GROUPS.get(spec.group_name or "", WEEKLY)


def with_upkeep(assets: Iterable[dg.AssetsDefinition]) -> list[dg.AssetsDefinition]:
    """Return the assets, each with an owner and a freshness policy."""

    def kept(spec: dg.AssetSpec) -> dg.AssetSpec:
        upkeep = upkeep_of(spec)
        owned = spec.replace_attributes(owners=[upkeep.owner])
        found: dg.AssetSpec = dg.apply_freshness_policy(owned, upkeep.policy)
        return found

    return list(dg.map_asset_specs(kept, assets))
