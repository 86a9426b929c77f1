"""Loads the code location once, before the tests import it."""

import warnings

from dagster_shared.utils.warnings import BetaWarning

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Parameter `backfill_policy`", BetaWarning)  # Dagster 1.13 calls it beta
    import pipelines.definitions  # noqa: F401
