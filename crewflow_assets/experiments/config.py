"""What an experiment is asked for with: the PRD's ``ABTestConfig`` and the model that it is about."""

from collections.abc import Collection
from typing import Annotated

from pydantic import Field

from crewflow_assets.contract import NUMBER, Contract, Identifier
from crewflow_assets.errors import FieldProblem, InvalidInputError
from crewflow_assets.experiments.metrics import metrics_of
from crewflow_assets.spec import ModelSpec

CONTROL = "control"
RESERVED = ("champion", "challenger", "pinned")
"""What a prediction's ``variant`` says outside of experiments."""
ROUNDING = 1e-6

ExperimentName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Names it for ever; unique.")
]
ArmName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,49}$")]


class VariantConfig(Contract):
    """One arm: the version that answers, and the share of companies that get it."""

    model_version: str = Field(
        pattern=r"^[0-9]{1,4}\.[0-9]{1,6}$", description="A version label, no alias.", examples=["1.0"]
    )
    percentage: Annotated[float, Field(gt=0, lt=100), NUMBER] = Field(
        description="Of companies; the sum is 100.", examples=[50.0]
    )


class ExperimentConfig(Contract):
    """An experiment as the PRD has it (6.2), about one model."""

    name: ExperimentName = Field(examples=["mapping-model-v2"])
    model: Identifier = Field(examples=["cost_code_mapping"])
    variants: dict[ArmName, VariantConfig] = Field(
        min_length=2,
        max_length=10,
        description=f"The arms by name; {CONTROL!r} is what the others are compared with.",
        examples=[
            {
                CONTROL: {"model_version": "1.0", "percentage": 50},
                "treatment": {"model_version": "1.1", "percentage": 50},
            }
        ],
    )
    metrics: list[Identifier] = Field(
        min_length=1,
        max_length=10,
        description="What is compared; the first decides the winner, all are watched for harm.",
        examples=[["mapping_accuracy", "user_acceptance_rate", "setup_time"]],
    )
    duration_days: Annotated[int, Field(ge=1, le=365), NUMBER] = Field(examples=[30])


def check(config: ExperimentConfig, spec: ModelSpec, versions: Collection[str], champion: str | None) -> None:
    """Check what the fields alone do not tell.

    Args:
        config: The experiment.
        spec: Its model.
        versions: The labels that the registry has of it.
        champion: The label of the version that is champion.

    Raises:
        InvalidInputError: names every field that is wrong.
    """
    problems = [
        *_arm_problems(config),
        *_version_problems(config, spec, versions),
        *_champion_problems(config, spec, champion),
        *_metric_problems(config, spec),
    ]
    if problems:
        said = "; ".join(f"{'.'.join(map(str, one.loc))}: {one.msg}" for one in problems)
        raise InvalidInputError(f"the experiment was not started: {said}", tuple(problems))


def _arm_problems(config: ExperimentConfig) -> list[FieldProblem]:
    problems = [
        FieldProblem(("variants", name), f"{name!r} means something else in predictions; choose another name")
        for name in config.variants
        if name in RESERVED
    ]
    if CONTROL not in config.variants:
        named = ", ".join(map(repr, config.variants))
        problems.append(FieldProblem(("variants",), f"none of {named} is {CONTROL!r}; name the arm to compare with"))
    total = sum(arm.percentage for arm in config.variants.values())
    if abs(total - 100) > ROUNDING:
        problems.append(FieldProblem(("variants",), f"the percentages have the sum {total:g}; make it 100"))
    return problems


def _version_problems(config: ExperimentConfig, spec: ModelSpec, versions: Collection[str]) -> list[FieldProblem]:
    problems = []
    for name, arm in config.variants.items():
        loc, label = ("variants", name, "model_version"), arm.model_version
        if label not in versions:
            known = ", ".join(sorted(versions, key=_order)) or "none yet"
            problems.append(FieldProblem(loc, f"{spec.name} has no version {label!r}; there are {known}"))
        elif label.split(".")[0] != str(spec.contract_version):
            problems.append(
                FieldProblem(
                    loc, f"{label!r} answers another contract than {spec.contract_version}.x, the one that is served"
                )
            )
    return problems


def _champion_problems(config: ExperimentConfig, spec: ModelSpec, champion: str | None) -> list[FieldProblem]:
    if champion is None:
        said = f"{spec.name} has no champion that a winner could replace; train it first ({spec.name}_training)"
    elif champion not in {arm.model_version for arm in config.variants.values()}:
        said = (
            f"no arm is {champion}, the champion of {spec.name}, so no winner could be approved; make it an arm, "
            f"such as {CONTROL!r}, or make an arm's version champion first "
            f"(`crewflow model rollback {spec.name} --to VERSION`)"
        )
    else:
        return []
    return [FieldProblem(("variants",), said)]


def _metric_problems(config: ExperimentConfig, spec: ModelSpec) -> list[FieldProblem]:
    known = [metric.name for metric in metrics_of(spec)]
    problems = [
        FieldProblem(("metrics", place), f"{spec.name} has no metric {name!r}; there are {', '.join(known)}")
        for place, name in enumerate(config.metrics)
        if name not in known
    ]
    twice = sorted({name for name in config.metrics if config.metrics.count(name) > 1})
    return problems + [FieldProblem(("metrics",), f"{name!r} is named twice; once is enough") for name in twice]


def _order(label: str) -> tuple[int, ...]:
    return tuple(int(part) for part in label.split("."))
