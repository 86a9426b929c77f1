"""Experiments over HTTP, for the platform's own keys: start, list, show and stop."""

from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Response
from pydantic import AwareDatetime, Field
from sqlalchemy.orm import Session

from crewflow_assets.contract import Contract, Identifier, Name
from crewflow_assets.errors import CrewflowError, NotReadyError
from crewflow_assets.experiments import ledger
from crewflow_assets.experiments.config import ExperimentConfig
from crewflow_assets.experiments.views import view, views
from crewflow_assets.models import spec_named
from crewflow_assets.store.database import reading
from serving.caller import current
from serving.decisions import Act, IdempotencyKey, KeyedRequest
from serving.problems import Problem
from serving.runtime import Runtime

AREA = "experiments"
PLATFORM = "platform"
"""Stands for the company in the scope of idempotency keys."""

NameInPath = Annotated[Identifier, Path(alias="name", description="The experiment.", examples=["mapping-model-v2"])]


class ExperimentStart(ExperimentConfig):
    """What to compare, and who starts it."""

    decided_by: Name = Field(examples=["u-1"])


class ExperimentStop(Contract):
    """Why an experiment ends before its time, and who ends it."""

    reason: Name = Field(examples=["the treatment's account names confuse customers"])
    decided_by: Name = Field(examples=["u-1"])


class Variant(Contract):
    """An arm; its companies are those of the last look, null before the first."""

    name: str = Field(examples=["control"])
    model_version: str = Field(examples=["1.3"])
    percentage: float = Field(examples=[50.0])
    companies: int | None = Field(description="That it answered.", examples=[61])
    companies_with_outcome: int | None = Field(
        description="Of these, with an outcome of the first metric.", examples=[48]
    )


class Result(Contract):
    """An arm beside the control by one metric; the bounds hold at every look at once."""

    metric: str = Field(examples=["mapping_accuracy"])
    variant: str = Field(examples=["treatment"])
    unit: str = Field(
        description="share, minutes (differences are then relative: -0.2 is 20 % less), points or squared error.",
        examples=["share"],
    )
    control: float | None = Field(examples=[0.612])
    treatment: float | None = Field(examples=[0.664])
    difference: float | None = Field(examples=[0.052])
    low: float | None = Field(examples=[0.011])
    high: float | None = Field(examples=[0.093])
    reading: Literal["better", "worse", "open", "too few companies"] = Field(examples=["better"])
    companies: int = Field(examples=[93])
    outcomes: int = Field(examples=[1840])


class ExperimentState(Contract):
    """An experiment with what its last look showed."""

    name: str = Field(examples=["mapping-model-v2"])
    model: str = Field(examples=["cost_code_mapping"])
    state: Literal["running", "ended"] = Field(examples=["running"])
    started_at: AwareDatetime = Field(examples=["2026-03-02T14:00:00Z"])
    started_by: str = Field(examples=["u-1"])
    ends_at: AwareDatetime = Field(examples=["2026-04-01T14:00:00Z"])
    ended_at: AwareDatetime | None = Field(examples=[None])
    ended_by: str | None = Field(examples=[None])
    ended_reason: Literal["stopped", "harm", "duration", "approved"] | None = Field(examples=[None])
    ended_why: str | None = Field(examples=[None])
    variants: list[Variant]
    metrics: list[str] = Field(examples=[["mapping_accuracy", "user_acceptance_rate", "setup_time"]])
    looked_at: AwareDatetime | None = Field(
        description="When the data was looked at last, which happens daily.", examples=["2026-03-20T04:00:00Z"]
    )
    verdict: Literal["harm", "winner", "ratio", "over", "open"] | None = Field(examples=["winner"])
    why: str | None = Field(examples=["mapping_accuracy of treatment +0.052 [+0.011, +0.093], better"])
    sample_ratio_ok: bool | None = Field(
        description="False: companies by arm are not as planned, and the results mean nothing.", examples=[True]
    )
    results: list[Result]
    winner: str | None = Field(
        description="Proposed; `crewflow experiment approve` promotes it.", examples=["treatment"]
    )
    approved_by: str | None = Field(examples=[None])


class ExperimentList(Contract):
    """All experiments, the running ones first."""

    experiments: list[ExperimentState]


def add_routes(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes about experiments."""

    @app.get("/v1/experiments", tags=["experiments"], summary="All experiments, the running ones first")
    def list_experiments() -> ExperimentList:
        """List every experiment with what its last look showed. Platform keys only."""
        _platform_only()
        with reading() as session:
            found = views(session, ledger.every(session))
        return ExperimentList.model_validate({"experiments": found})

    @app.post("/v1/experiments", tags=["experiments"], summary="Start an experiment")
    def start(body: ExperimentStart, response: Response, idempotency_key: IdempotencyKey = None) -> ExperimentState:
        """Compare versions of a model by company, from now on; services follow within seconds. Platform keys only.

        409 where the name is taken, or the model has a running experiment.
        """
        _platform_only()
        config = ExperimentConfig.model_validate(body.model_dump(exclude={"decided_by"}))

        def look() -> Act:
            versions = _versions(runtime, config.model)
            champion = next((label for label, aliases in versions.items() if "champion" in aliases), None)

            def act(session: Session) -> dict[str, Any]:
                row = ledger.start(session, config, versions=versions, champion=champion, by=body.decided_by)
                return view(session, row)

            return act

        asked = KeyedRequest(AREA, "start", PLATFORM, body, idempotency_key, response)
        return ExperimentState.model_validate(asked.prepared(look))

    @app.get("/v1/experiments/{name}", tags=["experiments"], summary="One experiment")
    def show(name: NameInPath) -> ExperimentState:
        """Show an experiment with what its last look showed. Platform keys only."""
        _platform_only()
        with reading() as session:
            return ExperimentState.model_validate(view(session, ledger.find(session, name)))

    @app.post("/v1/experiments/{name}/stop", tags=["experiments"], summary="Stop an experiment")
    def stop(
        name: NameInPath, body: ExperimentStop, response: Response, idempotency_key: IdempotencyKey = None
    ) -> ExperimentState:
        """End an experiment before its time: the champion answers again within seconds. Platform keys only."""
        _platform_only()

        def act(session: Session) -> dict[str, Any]:
            return view(session, ledger.stop(session, name, by=body.decided_by, why=body.reason))

        asked = KeyedRequest(AREA, f"stop/{name}", PLATFORM, body, idempotency_key, response)
        return ExperimentState.model_validate(asked.once(act))


def _platform_only() -> None:
    own = current().company_id
    if own is not None:
        raise Problem(403, f"experiments concern every company; this key belongs to {own!r}, use a platform key")


def _versions(runtime: Runtime, model: str) -> dict[str, tuple[str, ...]]:
    """Return the labels of the versions that the registry has of a model, with their aliases.

    Raises:
        NotFoundError: there is no such model.
        NotReadyError: the registry cannot be read.
    """
    spec = spec_named(model)
    try:
        return {version.label: version.aliases for version in runtime.predictors.source.describe(spec)}
    except CrewflowError:
        raise
    except Exception as error:  # the registry's backend may throw anything
        raise NotReadyError("the model registry cannot be read at present; send the request again") from error
