"""A Python client of the prediction routes.

with MLClient("http://127.0.0.1:3100", api_key) as ml:
    answer = ml.predict("cost_code_mapping", "champion", {"crewflow_cost_code": "ELEC-105", ...})
"""

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
TRY_AGAIN = frozenset({429, 503})


class MLProblem(Exception):  # noqa: N818  # named as in RFC 9457
    """The server refused a request: its status, title, detail and the fields that are wrong."""

    def __init__(self, status: int, title: str, detail: str, errors: Sequence[Mapping[str, Any]] = ()) -> None:
        named = "".join(f"; {'.'.join(map(str, error['loc']))}: {error['msg']}" for error in errors[:3])
        super().__init__(f"{status} {title}: {detail}{named}")
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = [dict(error) for error in errors]


class MLClient:
    """Asks one server for predictions.

    A request that could not be delivered, or was answered 429 or 503 with ``Retry-After``, is sent again a few times.
    So the server may answer a request twice. That only costs another row in the log of predictions, except with
    ``retry_strategy``: each of its answers that says to retry takes from the budget of retries.

    Args:
        url: Where the gateway or a model's service is.
        api_key: The key of a company or of the platform.
        timeout: Seconds for one attempt.
        transport: Another way to send than the network, for tests.
    """

    def __init__(
        self, url: str, api_key: str, *, timeout: float = 30.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {api_key}"}, timeout=timeout, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, model: str, version: str | None, input: Mapping[str, Any]) -> dict[str, Any]:  # noqa: A002
        """Ask a model's version ("champion", "challenger" or a label) for one prediction.

        Without a version (None) the champion answers or, while an experiment runs, the company's arm of it.

        Raises:
            MLProblem: the server refused it.
            httpx.TransportError: the server could not be reached.
        """
        return self._post(f"/v1/{model}/predict", _versioned(input, version))

    def predict_batch(
        self, model: str, version: str | None, inputs: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """Ask for up to 1,000 predictions, answered in order; ``version`` as in ``predict``.

        Raises:
            MLProblem: the server refused the batch.
            httpx.TransportError: the server could not be reached.
        """
        body = {"inputs": [_versioned(one, version) for one in inputs]}
        predictions: list[dict[str, Any]] = self._post(f"/v1/{model}/predict_batch", body)["predictions"]
        return predictions

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        for attempt in range(1, ATTEMPTS + 1):
            pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2**attempt)
            try:
                response = self._http.post(path, json=body)
            except httpx.TransportError:
                if attempt == ATTEMPTS:
                    raise
            else:
                if response.is_success:
                    answer: dict[str, Any] = response.json()
                    return answer
                problem = _problem(response)
                wait = response.headers.get("Retry-After", "")
                if problem.status not in TRY_AGAIN or not wait.isdecimal() or attempt == ATTEMPTS:
                    raise problem
                pause = float(wait)
                if pause > LONGEST_PAUSE_SECONDS:
                    raise problem
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def _versioned(asked: Mapping[str, Any], version: str | None) -> dict[str, Any]:
    return dict(asked) if version is None else {**asked, "version": version}


def _problem(response: httpx.Response) -> MLProblem:
    try:
        body = response.json()
        return MLProblem(body["status"], body["title"], body["detail"], body.get("errors", ()))
    except (ValueError, KeyError, TypeError):  # a proxy in between answers in its own way
        return MLProblem(response.status_code, response.reason_phrase, response.text[:500])
