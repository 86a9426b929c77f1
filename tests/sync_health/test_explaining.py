"""Reasons: the causes that moved the probability, with numbers that stand in the history."""

import numpy as np
import pytest

from crewflow_assets.sync_health.explaining import risk_factors, seconds
from crewflow_assets.sync_health.features import COLUMN, FEATURES


def row(**known: float) -> np.ndarray:
    found = np.full(len(FEATURES), np.nan, np.float32)
    for name, value in known.items():
        found[COLUMN[name]] = value
    return found


def moved(**by: float) -> np.ndarray:
    found = np.zeros(len(FEATURES))
    for name, value in by.items():
        found[COLUMN[name]] = value
    return found


def test_causes_come_largest_first_with_their_numbers() -> None:
    known = row(headroom=0.13, last_latency=2300, usual_latency=800)
    factors = risk_factors(known, moved(headroom=2.0, latency_ratio=0.5, hour_of_day=0.1), 0.75)
    assert [(f.code, f.detail) for f in factors] == [
        ("rate_limit", "87% of the calls used"),
        ("latency", "latency 2.3 s, usually 800 ms"),
    ]
    assert factors[0].contribution > factors[1].contribution > 0
    assert factors[0].contribution == round(0.75 - 1 / (1 + np.exp(-(np.log(3) - 2.0))), 4)


def test_failures_in_a_row_count_for_the_cause_of_the_last_one() -> None:
    known = row(failures_in_a_row=3, last_auth=1)
    [factor] = risk_factors(known, moved(failures_in_a_row=3.0), 0.8)
    assert (factor.code, factor.detail) == ("auth", "3 failures in a row, the last: not authorised")


def test_past_failures_count_for_their_commonest_cause() -> None:
    known = row(failures_in_a_row=0, errors_refused_last_30=4, errors_auth_last_30=1, errors_refused_24h=0)
    [factor] = risk_factors(known, moved(failure_share_last_30=1.0), 0.3)
    assert (factor.code, factor.detail) == ("data_quality", "4 such failures in the last 30 syncs")


def test_what_lowers_the_risk_is_no_reason() -> None:
    assert risk_factors(row(), moved(headroom=-2.0), 0.1) == []


def test_an_api_that_is_down_is_told_by_its_status_or_by_others() -> None:
    by = moved(others_failed_share_60m=2.0)
    [said] = risk_factors(row(api_status=4, others_failed_60m=3, others_n_60m=12), by, 0.5)
    assert said.detail == "the status page says major outage"
    [said] = risk_factors(row(api_status=0, others_failed_60m=3, others_n_60m=12), by, 0.5)
    assert said.detail == "3 of 12 other syncs with this API failed in the last hour"


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"rate_limit_hits_24h": 1}, "1 refusal for too many calls in the last 24 hours"),
        ({"rate_limit_hits_24h": 2}, "2 refusals for too many calls in the last 24 hours"),
        ({"others_limited_60m": 1}, "1 other on this API was refused for too many calls in the last hour"),
        ({"others_limited_60m": 2}, "2 others on this API were refused for too many calls in the last hour"),
    ],
)
def test_one_is_not_said_as_several_are(known: dict[str, float], said: str) -> None:
    [factor] = risk_factors(row(**known), moved(calls_share_1h=2.0), 0.5)
    assert factor.detail == said


def test_every_cause_has_words_even_where_nothing_is_known() -> None:
    by = moved(headroom=1, latency_ratio=1, network_ratio=1, last_auth=1, records_failed_24h=1, others_n_15m=1)
    factors = risk_factors(row(), by, 0.9)
    assert len({factor.code for factor in factors}) == 6
    assert all("nan" not in factor.detail for factor in factors)


def test_latencies_are_said_as_people_say_them() -> None:
    assert (seconds(2300), seconds(41.4)) == ("2.3 s", "41 ms")
