"""Model cards: made from a small registry, one for every spec, honest about where figures come from."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine

from crewflow_assets import promotion, registration, registry
from crewflow_assets.batch import MODEL_NAME
from crewflow_assets.evaluation.slices import NAME, sliced
from crewflow_assets.models import MODEL_SPECS, spec_named
from crewflow_assets.monitoring.cards import card, write_cards
from crewflow_assets.spec import Evaluation, Figure
from tests.registering import record
from tests.worlds import start_registry

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CARDS = Path(__file__).parents[2] / "docs" / "models"


@pytest.fixture
def champion(sqlite_store: Engine, tmp_path: Path) -> str:
    """A registered champion of one model; the others were never trained."""
    start_registry()
    spec = spec_named("sync_health")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / MODEL_NAME).write_text(spec.name)
    version = registration.register(spec, folder, record(packages={"numpy": "2.4"}))
    values, clusters = np.array([0.1, 0.2, 0.3, 0.4]), np.array(["a", "b", "a", "c"], object)
    table = sliced("live_brier", values, clusters, {"system": np.array(["xero", "xero", "sage", "sage"])})
    figure = Figure(name="live_brier", value=0.25, low=0.2, high=0.3, n=4, baseline="the last", baseline_value=0.4)
    other = Figure(name="unseen_brier", value=0.5, n=4)
    registry.log_evaluation(version, Evaluation((other, figure), tables={NAME: table}))
    registry.promote(version, registry.CHAMPION)
    registry.tag(version, "crewflow.decision", "all gates met, and there was no champion | seen by dana")
    return version.label


def test_a_card_says_what_it_is_for_what_it_scores_and_where_it_fails(champion: str) -> None:
    spec = spec_named("sync_health")
    text = card(spec, scale="demo", now=NOW)
    assert spec.question in text
    assert "| live_brier | 0.250 [0.200, 0.300] (the last 0.400, n=4) |" in text
    assert text.index("| live_brier | 0.250") < text.index("| unseen_brier"), "the headline comes first"
    assert "| system: xero | live_brier | 0.150 | 0.100 to 0.200 | 2 |" in text
    assert "`live_ece <= 0.02`" in text
    assert f"| {champion} | champion | candidate |" in text
    assert "all gates met, and there was no champion | seen by dana." in text
    assert "| all gates met, and there was no champion \\| seen by dana |" in text, "a bar would end the table's cell"
    assert "seed 7" in text
    assert "numpy 2.4" in text
    assert "from those before 2026-02-01" in text
    assert all(limit in text for limit in spec.limits)
    assert "scale `demo`" in text
    assert "not what a real customer will see" in text
    assert "No prediction was logged" in text


def test_where_a_baseline_stands_in_the_failed_candidate_is_shown(champion: str, tmp_path: Path) -> None:
    spec = spec_named("sync_health")
    candidate = registry.find(spec, champion)
    registry.tag(candidate, "crewflow.decision", "gates not met: live_ece <= 0.02")
    registry.promote(
        registration.register(spec, tmp_path / "model", record(role="baseline: the last")), registry.CHAMPION
    )
    text = card(spec, scale="demo", now=NOW)
    assert f"The candidate {champion}, which is not champion" in text
    assert "gates not met: live_ece <= 0.02" in text
    assert "It is a baseline: the last" in text


def test_every_model_has_a_card_trained_or_not(champion: str, tmp_path: Path) -> None:
    files = write_cards(tmp_path / "cards", MODEL_SPECS, scale="demo", now=NOW)
    assert [file.name for file in files] == [*(f"{spec.name}.md" for spec in MODEL_SPECS), "README.md"]
    untrained = (tmp_path / "cards" / "cost_code_mapping.md").read_text()
    assert "None is registered" in untrained
    assert "## Limits" in untrained
    assert all(spec.name in files[-1].read_text() for spec in MODEL_SPECS)


def test_versions_of_which_none_is_champion_are_shown(versions: None) -> None:
    spec = spec_named("cost_code_mapping")
    promotion.require_approval(spec, True, by="dana", why="audit")
    promotion.propose(spec, "1.2", why="all gates met", run_id="run-1", instead_of=promotion.Expected(None))
    text = card(spec, scale="demo", now=NOW)
    assert "None is registered" not in text
    assert "None is champion" in text
    assert "`crewflow model approve`" in text
    assert all(f"| {label} |" in text for label in ("1.0", "1.1", "1.2"))


def test_the_cards_in_the_docs_name_every_model_and_their_scale() -> None:
    for spec in MODEL_SPECS:
        text = (CARDS / f"{spec.name}.md").read_text(encoding="utf-8")
        assert spec.question in text
        assert "scale `demo`" in text
        assert "/tmp" not in text


def test_slices_have_intervals_where_there_are_several_clusters() -> None:
    found = sliced(
        "x", np.array([1.0, 0.0, 1.0]), np.array(["a", "a", "b"], object), {"by": np.array(["p", "p", "q"])}
    )
    assert found.columns.tolist() == ["slice", "figure", "n", "value", "low", "high"]
    assert found["value"].tolist() == [0.5, 1.0]
    assert pd.isna(found["low"]).all(), "one company has no interval"


def test_of_many_slices_the_largest_are_kept() -> None:
    labels = np.repeat(np.arange(30), np.arange(1, 31)).astype(str)
    found = sliced("x", np.ones(len(labels)), labels.astype(object), {"n": labels})
    assert len(found) == 12
    assert found["n"].min() == 19
