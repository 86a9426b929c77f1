"""Answering forecast requests: from the stored days, from the metrics that a request carries, or from both."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

from crewflow_assets import clock
from crewflow_assets.arrays import Floats
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.integration_health.contract import SMALLEST_CHANGE, CurrentMetrics, HealthForecastRequest, Trend
from crewflow_assets.integration_health.days import CLASSES, PLACE, metrics_of_sums
from crewflow_assets.integration_health.features import (
    STAYING_DAYS,
    feature_rows,
    given_rows,
    scores_of,
    sums_of,
)
from crewflow_assets.integration_health.model import Forecast, HealthPredictor
from crewflow_assets.integration_health.recent import Recent, recent
from crewflow_assets.integration_health.recommendations import recommendations
from crewflow_assets.integration_health.score import WINDOW_DAYS, Metrics
from crewflow_assets.spec import Answer

STAYS = STAYING_DAYS / WINDOW_DAYS
STALE_DAYS = 2
"""Stored days that end earlier say nothing of now."""


def answer(predictor: HealthPredictor, requests: Sequence[HealthForecastRequest]) -> list[Answer]:
    """Answer requests in order.

    An integration with stored days is forecast from these. Metrics that the request carries as well move the
    forecast by 23 thirtieths of how far their score is from the stored one: so much of a window stays for a week.
    Without stored days the forecast stands on the request's metrics alone.

    Raises:
        InvalidInputError: an integration has no stored days with a latency, and the request carries no metrics.
    """
    at = clock.now()
    stored = recent(at)
    if stored is not None and at.date() - stored.days.last > timedelta(days=STALE_DAYS):
        stored = None
    windows = [_window(stored, request) for request in requests]
    problems = tuple(
        _unknown(place, request)
        for place, (request, window) in enumerate(zip(requests, windows, strict=True))
        if window is None and request.current_metrics is None
    )
    if problems:
        raise InvalidInputError("there is nothing to forecast from", problems)
    known = [place for place, window in enumerate(windows) if window is not None]
    alone = [place for place, window in enumerate(windows) if window is None]
    given = _given(requests)
    answers: dict[int, Answer] = {}
    if known and stored is not None:
        chosen = np.stack([window for window in windows if window is not None])
        forecast, sums = predictor.full.forecast(feature_rows(chosen)), chosen.sum(axis=1)
        now = scores_of(sums)["overall"]
        for number, place in enumerate(known):
            answers[place] = _answer(
                _at(forecast, number), float(now[number]), sums[number], given.get(place), stored.days.last
            )
    if alone:
        forecast = predictor.given.forecast(given_rows([given[place].metrics for place in alone]))
        for number, place in enumerate(alone):
            answers[place] = _answer(_at(forecast, number), given[place].score, None, given[place], None)
    return [answers[place] for place in range(len(requests))]


def metrics_of(given: CurrentMetrics) -> Metrics:
    """Return the metrics of a request as the score takes them."""
    return Metrics(**given.model_dump())


def trend_of(low: float, middle: float, high: float, now: float) -> Trend:
    """Return the trend: the interval must lie to one side of the present score, and the middle a point from it."""
    if low > now and middle - now >= SMALLEST_CHANGE:
        return "improving"
    if high < now and now - middle >= SMALLEST_CHANGE:
        return "declining"
    return "stable"


@dataclass(frozen=True, slots=True)
class _Given:
    """The metrics that a request carries, and their score."""

    metrics: Metrics
    score: float


def _given(requests: Sequence[HealthForecastRequest]) -> dict[int, _Given]:
    """Return what requests carry, by their place."""
    carried = {
        place: metrics_of(request.current_metrics)
        for place, request in enumerate(requests)
        if request.current_metrics is not None
    }
    scores = scores_of(sums_of(list(carried.values())))["overall"]
    return {
        place: _Given(metrics, float(score)) for (place, metrics), score in zip(carried.items(), scores, strict=True)
    }


def _answer(
    said: tuple[float, float, float], now: float, sums: Floats | None, given: _Given | None, last: date | None
) -> Answer:
    """Answer one request.

    Args:
        said: What the model says: low, middle, high.
        now: The score that it starts from.
        sums: Of the stored days, where there are any.
        given: What the request carries; without, there are stored days.
        last: The last stored day.
    """
    classes = None
    if given is not None:
        moved = STAYS * (given.score - now)
        said, now = tuple(min(max(each + moved, 0.0), 100.0) for each in said), given.score  # type: ignore[assignment]
        metrics = given.metrics
    else:
        assert sums is not None
        metrics, classes = metrics_of_sums(sums), {name: float(sums[PLACE[name]]) for name in CLASSES}
    low, middle, high = (round(each, 2) for each in said)
    fields: dict[str, Any] = {
        "score_7d": middle,
        "interval_80": (low, high),
        "trend": trend_of(low, middle, high, round(now, 2)),
        "current_score": round(now, 2),
        "as_of": None if last is None else last.isoformat(),
        "recommendations": recommendations(metrics, classes),
    }
    return Answer(fields)


def _window(stored: Recent | None, request: HealthForecastRequest) -> Floats | None:
    """Return the stored days of a request's integration, where they have a score."""
    if stored is None or request.company_id is None:
        return None
    window = stored.window((request.company_id, request.integration_id))
    return None if window is None or not window[:, PLACE["measured"]].any() else window


def _at(forecast: Forecast, number: int) -> tuple[float, float, float]:
    return float(forecast.low[number]), float(forecast.middle[number]), float(forecast.high[number])


def _unknown(place: int, request: HealthForecastRequest) -> FieldProblem:
    if request.company_id is None:
        return FieldProblem(
            (place, "company_id"),
            f"missing: it is needed to find integration {request.integration_id!r}; send it, or send current_metrics",
        )
    return FieldProblem(
        (place, "integration_id"),
        f"company {request.company_id!r} has no sync of {request.integration_id!r} in the last {WINDOW_DAYS} whole "
        "days with a latency, so that it has no score; send current_metrics, or post its sync_attempt events first",
    )
