"""A model that says what it is asked, to see how requests are gathered."""

from collections.abc import Sequence

from crewflow_assets.contract import PredictionRequest, PredictionResponse


class Asked(PredictionRequest):
    text: str
    brings: str | None = None

    @property
    def gathers(self) -> bool:
        return super().gathers and self.brings is None

    @property
    def gathers_with(self) -> str | None:
        return self.company_id


class AskedOfAll(Asked):
    @property
    def gathers_with(self) -> str | None:
        return None


class Said(PredictionResponse):
    text: str


class Model:
    """Says what it is asked, and keeps batches and arrivals; fails with ``error`` on a batch with "bad" in it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.batches: list[list[str]] = []
        self.arrivals: list[tuple[str, float]] = []

    def answer(self, requests: Sequence[PredictionRequest], arrived: Sequence[float]) -> list[PredictionResponse]:
        texts = [request.text for request in requests if isinstance(request, Asked)]
        self.batches.append(texts)
        self.arrivals.extend(zip(texts, arrived, strict=True))
        if "bad" in texts and self.error is not None:
            raise self.error
        return [said(text) for text in texts]


def said(text: str) -> Said:
    return Said(prediction_id="p", model_version="1.0", variant="champion", text=text)


def asked(text: str, company_id: str | None = "c-1", version: str = "champion") -> Asked:
    return Asked(text=text, company_id=company_id, version=version)
