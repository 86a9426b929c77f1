"""What the API's other customers saw, against counting one by one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crewflow_assets.retry_strategy.surroundings import LOOK_BACK, MINUTE, SURROUNDINGS, Asked, Seen, surroundings

ROW = st.tuples(
    st.sampled_from(["quickbooks", "xero"]),
    st.sampled_from(["c-1", "c-2", "c-3"]),
    st.integers(0, 150),
    st.booleans(),
)


def seen_of(rows: list[tuple[str, str, int, bool]]) -> Seen:
    return Seen(
        system=np.array([r[0] for r in rows], object),
        company=np.array([r[1] for r in rows], object),
        integration=np.array([f"i-{r[0]}" for r in rows], object),
        micros=np.array([r[2] * MINUTE for r in rows], float),
        ok=np.array([r[3] for r in rows], bool),
        calls_left=np.full(len(rows), 30.0),
        calls_limit=np.full(len(rows), 120.0),
    )


def asked_of(*moments: tuple[str, str, str, float]) -> Asked:
    return Asked(
        np.array([m[0] for m in moments], object),
        np.array([m[1] for m in moments], object),
        np.array([m[2] for m in moments], object),
        np.array([m[3] * MINUTE for m in moments], float),
    )


@settings(max_examples=60)
@given(st.lists(ROW, max_size=30), st.integers(0, 200))
def test_windows_equal_counting(rows: list[tuple[str, str, int, bool]], at: int) -> None:
    found = surroundings(asked_of(("xero", "c-1", "i-xero", at), ("xero", "", "", at)), seen_of(rows))
    for place, own in enumerate(("c-1", "")):
        for window in (15, 60):
            theirs = [r for r in rows if r[0] == "xero" and r[1] != own and at - window <= r[2] < at]
            assert found[f"others_n_{window}m"][place] == len(theirs)
            share = found[f"others_failed_share_{window}m"][place]
            assert np.isnan(share) if not theirs else share == np.mean([not r[3] for r in theirs])
    mine = [r for r in rows if r[:2] == ("xero", "c-1") and at - LOOK_BACK <= r[2] < at]
    fine = [at - r[2] for r in mine if r[3]]
    trouble = found["trouble_minutes"]
    assert np.isnan(trouble[1])
    assert np.isnan(trouble[0]) if not mine else trouble[0] == min(fine, default=LOOK_BACK)
    assert np.isnan(found["headroom"][0]) if not mine else found["headroom"][0] == 0.25


def test_nothing_seen_is_nothing_known() -> None:
    found = surroundings(asked_of(("sage", "c-1", "i-1", 5)), seen_of([]))
    assert set(found) == set(SURROUNDINGS)
    assert found["others_n_15m"].tolist() == [0]
    assert np.isnan(found["trouble_minutes"]).all()
