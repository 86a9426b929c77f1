"""``GET /v1/models``, and the 404 of a prediction route whose model does not exist."""

from typing import Annotated, Literal

from fastapi import FastAPI, Path
from pydantic import AwareDatetime, Field

from crewflow_assets.contract import Contract, Identifier
from crewflow_assets.errors import NotFoundError, RegistryAwayError
from crewflow_assets.spec import ModelSpec
from serving.runtime import Runtime


class LoadedVersion(Contract):
    """A version in this server's memory."""

    version: str = Field(examples=["1.3"])
    asked_as: str = Field(description="The `version` of a request that it answers.", examples=["champion"])


class RegisteredVersion(Contract):
    """A version of the registry, with its headline figures."""

    version: str = Field(examples=["1.3"])
    number: int = Field(examples=[4])
    aliases: list[str] = Field(examples=[["champion"]])
    created_at: AwareDatetime = Field(examples=["2026-03-02T14:00:00Z"])
    figures: dict[str, str] = Field(
        examples=[{"top1": "0.713 [0.680, 0.740] (nearest neighbour 0.520, n=412)"}],
    )


class ModelState(Contract):
    """One model: what it answers, and which versions there are."""

    name: str = Field(examples=["cost_code_mapping"])
    question: str = Field(examples=["Which account of the customer's chart does this cost code belong to?"])
    ready: bool = Field(description="Whether predictions are answered; otherwise `problem` says why not.")
    problem: str | None = Field(None, examples=[None])
    source: Literal["registry", "cache"] | None = Field(
        description="Where the aliases were read; `cache`: the registry is away or names no champion, so that what "
        "it gave last is served.",
        examples=["registry"],
    )
    source_at: AwareDatetime | None = Field(
        description="When the registry was last reached.", examples=["2026-03-02T14:00:00Z"]
    )
    loaded: list[LoadedVersion]
    versions: list[RegisteredVersion] | None = Field(description="Null while the registry cannot be read.")


class ModelList(Contract):
    """The models of this service."""

    models: list[ModelState]


def add_routes(app: FastAPI, runtime: Runtime) -> None:
    """Add the routes about models."""

    @app.get("/v1/models", tags=["models"], summary="The models served here, their versions and aliases")
    def list_models() -> ModelList:
        """List every model with the versions in memory and those of the registry, newest first."""
        return ModelList(models=[_state(runtime, spec) for spec in runtime.specs])

    @app.post("/v1/{model}/predict", include_in_schema=False)
    @app.post("/v1/{model}/predict_batch", include_in_schema=False)
    def no_such_model(model: Annotated[Identifier, Path()]) -> None:
        served = ", ".join(spec.name for spec in runtime.specs)
        raise NotFoundError(f"no model {model!r} is served here; there are {served}")


def _state(runtime: Runtime, spec: ModelSpec) -> ModelState:
    loaded = runtime.predictors.loaded(spec)
    origin = runtime.predictors.source.origin(spec)
    return ModelState(
        name=spec.name,
        question=spec.question,
        ready="champion" in loaded,
        problem=runtime.predictors.problem(spec),
        source=None if origin is None else origin.source,
        source_at=None if origin is None else origin.read_at,
        loaded=[LoadedVersion(version=model.label, asked_as=asked) for asked, model in loaded.items()],
        versions=_versions(runtime, spec),
    )


def _versions(runtime: Runtime, spec: ModelSpec) -> list[RegisteredVersion] | None:
    try:
        described = runtime.predictors.source.describe(spec)
    except RegistryAwayError:
        return None
    return [
        RegisteredVersion(
            version=version.label,
            number=version.number,
            aliases=list(version.aliases),
            created_at=version.created_at,
            figures=dict(version.figures),
        )
        for version in described
    ]
