"""One row for each retry, with what was known when its delay was chosen, and nothing later."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from crewflow_assets.evaluation.splits import fold_of
from crewflow_assets.retry_strategy.features import COLUMN, CONTEXT, FEATURES, with_delay
from crewflow_assets.retry_strategy.table import as_table
from tests.retry_strategy.failing import BEGIN, attempts, no_attempts, retries, table


def one_call() -> pd.DataFrame:
    frame = retries(1, seed=3).iloc[[0]].copy()
    return frame.assign(event_id="r-1", company_id="c-1", integration_id="i-1", system="quickbooks", call_id="a")


def three_retries() -> pd.DataFrame:
    """Failed at 0 s; retried after 10 s and 40 s more, in vain, and after 100 s more with success."""
    seconds, delays = (10, 50, 150), (10.0, 40.0, 100.0)
    return pd.concat(
        [
            one_call().assign(
                event_id=f"r-{n}",
                attempt=n + 1,
                delay_seconds=delays[n],
                occurred_at=BEGIN + timedelta(seconds=seconds[n]),
                ok=n == 2,
            )
            for n in range(3)
        ]
    )


def test_a_call_says_between_which_moments_its_trouble_ended() -> None:
    found = as_table(three_retries(), no_attempts())
    assert found["attempts"].tolist() == [1, 2, 3]
    assert found["since_first_failure"].tolist() == [0, 10, 50]
    assert found["recovered_after"].tolist() == [10, 40, 0]
    assert found["recovered_by"].tolist() == [150, 140, 100]
    assert found["decided_at"].iloc[1] == BEGIN + timedelta(seconds=10)


def test_a_call_that_never_succeeded_has_no_end() -> None:
    found = as_table(three_retries().assign(ok=False), no_attempts())
    assert np.isinf(found["recovered_by"]).all()


def test_a_name_that_is_used_again_after_a_success_is_another_call() -> None:
    before = one_call().assign(event_id="r-0", delay_seconds=5.0, occurred_at=BEGIN - timedelta(days=1), ok=True)
    found = as_table(pd.concat([before, three_retries()]), no_attempts())
    assert found["recovered_by"].tolist() == [5, 150, 140, 100]
    assert found["since_first_failure"].tolist() == [0, 0, 10, 50]
    never = as_table(pd.concat([before, three_retries().assign(ok=False)]), no_attempts())
    assert never["recovered_by"].tolist() == [5, np.inf, np.inf, np.inf]


def test_what_comes_after_the_failure_is_not_seen() -> None:
    failed = timedelta(seconds=0)
    before = attempts(
        {"company_id": "c-2", "occurred_at": BEGIN - timedelta(minutes=5), "ok": False},
        {"company_id": "c-1", "occurred_at": BEGIN - timedelta(minutes=7), "latency_ms": 400.0},
    )
    after = attempts(
        {"company_id": "c-3", "occurred_at": BEGIN + failed, "ok": False},
        {"company_id": "c-1", "occurred_at": BEGIN + timedelta(seconds=1), "latency_ms": 9000.0},
    )
    one = three_retries().iloc[[0]]
    clean, seen = as_table(one, before), as_table(one, pd.concat([before, after]))
    assert clean["others_n_15m"].tolist() == [1]
    assert clean["others_failed_share_15m"].tolist() == [1]
    assert clean["latency_24h"].tolist() == [400]
    assert clean["trouble_minutes"].tolist() == [7]
    pd.testing.assert_frame_equal(clean, seen)


def test_the_split_is_by_integration_and_time() -> None:
    found = table(300)
    assert (found["fold"] == found["entity"].map(fold_of)).all()
    assert found.loc[found["in_test"], "decided_at"].min() > found.loc[~found["in_test"], "decided_at"].max()
    assert 0.1 < found["in_test"].mean() < 0.35


def test_fields_that_older_events_lack_are_unknown() -> None:
    bare = three_retries().assign(call_id=None, status_code=None, write=None, idempotent=None, propensity=np.nan)
    found = as_table(bare, no_attempts())
    assert found["call"].nunique() == 3
    assert found["idempotent"].tolist() == [1, 1, 1]
    assert found["since_first_failure"].isna().tolist() == [False, True, True]
    assert found["status"].isna().all()


def test_rows_are_those_of_the_one_function() -> None:
    found = table(50)
    context = found[list(CONTEXT)].to_numpy(np.float32)
    again = with_delay(context, found["delay_seconds"].to_numpy(float))
    np.testing.assert_array_equal(again, found[list(FEATURES)].to_numpy(np.float32))
    assert again[:, COLUMN["log_delay"]] == pytest.approx(np.log1p(found["delay_seconds"]), rel=1e-6)
