"""Model cards: what a model is for, what it was trained on, what it scores and where it fails, from the registry."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from crewflow_assets import registry
from crewflow_assets.evaluation.slices import COLUMNS
from crewflow_assets.evaluation.slices import NAME as SLICES
from crewflow_assets.registry import VersionInfo
from crewflow_assets.spec import ModelSpec
from crewflow_assets.store.database import reading

SHOWN_VERSIONS = 10
CANDIDATE = "candidate"


def write_cards(folder: Path, specs: Sequence[ModelSpec], *, scale: str, now: datetime) -> list[Path]:
    """Write a card for each model, and ``README.md`` that lists them; return the files.

    Raises:
        FileNotFoundError: the folder's parent is not there.
    """
    folder.mkdir(exist_ok=True)
    written = []
    for spec in specs:
        path = folder / f"{spec.name}.md"
        path.write_text(card(spec, scale=scale, now=now), encoding="utf-8")
        written.append(path)
    index = folder / "README.md"
    lines = [f"- [{spec.name}]({spec.name}.md): {spec.question}" for spec in specs]
    index.write_text("\n".join(["# Model cards", "", f"Written by `crewflow cards`; scale {scale}.", "", *lines, ""]))
    return [*written, index]


def card(spec: ModelSpec, *, scale: str, now: datetime) -> str:
    """Return a model's card as Markdown; a model that was never trained has a card that says so."""
    versions = registry.describe(spec)
    champion = next((version for version in versions if registry.CHAMPION in version.aliases), None)
    parts = [_purpose(spec, scale)]
    if not versions:
        parts.append("## Versions\nNone is registered: `crewflow demo`, or its training in Dagster, makes one.")
    elif champion is None:
        parts.append(_versions(versions))
        parts.append(
            "None is champion, so none answers by default. One that waits for approval (`crewflow model list`) "
            "becomes it by `crewflow model approve`."
        )
    else:
        parts += [_training(spec, champion), _figures(spec, champion), _slices(champion)]
        parts += [_rejected(spec, champion, versions), _gates(spec, champion)]
        parts.append(_production(spec, now))
        parts.append(_versions(versions))
    parts.append(_limits(spec))
    return "\n\n".join(part for part in parts if part) + "\n"


def _purpose(spec: ModelSpec, scale: str) -> str:
    return "\n".join(
        [
            f"# {spec.name}",
            "Written by `crewflow cards` from the registry; do not edit.",
            "",
            f"**{spec.question}**",
            "",
            f"Asked over HTTP with `POST /v1/{spec.name}/predict` (`docs/http-api.md`).",
            "",
            f"> Figures are of the scale `{scale}`, on the data that this registry was trained with. In an "
            "installation that was filled by the simulated world (`crewflow demo`) they show that the machinery "
            "works, **not what a real customer will see**.",
        ]
    )


def _training(spec: ModelSpec, version: VersionInfo) -> str:
    known = registry.parameters(version)
    packages = ", ".join(
        f"{name.removeprefix('package.')} {value}" for name, value in sorted(known.items()) if "package." in name
    )
    return "\n".join(
        [
            "## Data and training",
            f"- Learns from the events {', '.join(f'`{kind}`' for kind in spec.event_kinds)}; version "
            f"{version.label} from those before {version.data_until:%Y-%m-%d}.",
            "- Three quarters of the companies (sync health, retries, forecasts: integrations) train and calibrate, "
            "the rest test; the split is a hash of the id and never changes.",
            f"- It is a {version.tags[registry.ROLE]}; seed {known['seed']}, "
            f"feature table `{known['feature_hash']}`, code `{known['code_hash']}`.",
            f"- Retrained by the cron `{spec.retrain_cron}` (UTC)"
            + "".join(f"; also by its trigger {trigger.reason.replace('_', ' ')}" for trigger in spec.triggers)
            + ".",
            f"- Packages: {packages}.",
        ]
    )


def _figures(spec: ModelSpec, version: VersionInfo) -> str:
    found = version.figures
    rows = [f"| {name} | {found[name]} |" for name in found if name in spec.headline]
    others = [f"| {name} | {found[name]} |" for name in found if name not in spec.headline]
    head = [
        f"## Figures of version {version.label}",
        "On companies or times that no fit has seen: value [95 % interval] (best baseline on the same rows, number "
        "of rows).",
        "",
        "| figure | value |",
        "|---|---|",
    ]
    return "\n".join([*head, *rows, *others])


def _rejected(spec: ModelSpec, champion: VersionInfo, versions: Sequence[VersionInfo]) -> str:
    """Say what the newest candidate scored where a baseline stands in for it."""
    candidate = next((version for version in versions if version.tags[registry.ROLE] == CANDIDATE), None)
    if champion.tags[registry.ROLE] == CANDIDATE or candidate is None:
        return ""
    found = candidate.figures
    gated = {gate.figure for gate in spec.gates}
    rows = [f"| {name} | {found[name]} |" for name in found if name in spec.headline or name in gated]
    head = [
        f"### The candidate {candidate.label}, which is not champion",
        "**A baseline answers, as the fitted model failed:** "
        f"{candidate.tags.get(registry.DECISION, 'nothing was noted')}. It scored",
        "",
        "| figure | value |",
        "|---|---|",
    ]
    return "\n".join([*head, *rows])


def _slices(version: VersionInfo) -> str:
    table = registry.logged_table(version, SLICES)
    if table is None:
        return ""
    rows = [
        f"| {name} | {figure} | {value:.3f} | {_interval(low, high)} | {n} |"
        for name, figure, n, value, low, high in table[list(COLUMNS)].values.tolist()
    ]
    return "\n".join(
        ["### By slice", "| slice | figure | value | 95 % interval | rows |", "|---|---|---|---|---|", *rows]
    )


def _interval(low: float, high: float) -> str:
    return "one company or integration" if low != low else f"{low:.3f} to {high:.3f}"


def _gates(spec: ModelSpec, version: VersionInfo) -> str:
    lines = ["## Gates", "A candidate becomes champion if all hold:", ""]
    lines += [f"- `{gate}`" + (" (or nothing was measured)" if gate.or_none else "") for gate in spec.gates]
    lines.append(
        f"- on the same rows, the lower 95 % bound of its gain over the champion is above −{spec.tolerance:g}"
    )
    lines += ["", f"Decided about {version.label}: {version.tags.get(registry.DECISION, 'nothing was noted')}."]
    return "\n".join(lines)


def _production(spec: ModelSpec, now: datetime) -> str:
    from crewflow_assets.monitoring.report import accuracy_report

    if spec.monitored is None:
        return ""
    with reading() as session:
        found = accuracy_report(session, spec, now)
    lines = [
        f"## In production, the last 26 weeks until {now:%Y-%m-%d}",
        f"Right: {spec.monitored().right_means}.",
        "",
    ]
    known = [f"- {figure.name}: {figure}" for figure in found.figures if figure.value is not None]
    return "\n".join([*lines, *(known or ["No prediction was logged, or no outcome is known."])])


def _versions(versions: Sequence[VersionInfo]) -> str:
    rows = [
        f"| {v.label} | {', '.join(v.aliases)} | {v.tags[registry.ROLE]} | {v.created_at:%Y-%m-%d} | "
        f"{_in_a_cell(v.tags.get(registry.DECISION, ''))} |"
        for v in versions[:SHOWN_VERSIONS]
    ]
    head = ["## Versions", "| version | alias | role | made | decided |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _in_a_cell(text: str) -> str:
    return text.replace("|", "\\|")


def _limits(spec: ModelSpec) -> str:
    said = spec.limits or ("Nobody has written down what it cannot do.",)
    return "\n".join(["## Limits", *(f"- {limit}" for limit in said)])
