"""The backtest in Dagster and in the terminal."""

import errno
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from crewflow_assets.backtest import models, run
from pipelines.backtest import BacktestConfig, policies
from pipelines.cli.main import app
from tests.backtest.invented import backtest


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Champions that nobody registered, and a run that asks none; returns the sizes asked for."""
    asked: list[tuple[Any, ...]] = []

    def runs(_models: Any, *sizes: Any, **_more: Any) -> Any:
        asked.append(sizes)
        return backtest()

    monkeypatch.setattr(models, "champions", lambda: None)
    monkeypatch.setattr(run, "run", runs)
    return asked


def test_the_asset_shows_the_report_the_plot_and_what_is_not_reached(invented: list[tuple[Any, ...]]) -> None:
    config = BacktestConfig(draws=3, integrations=4, days=2, companies=2)
    done = dg.materialize([policies], run_config=dg.RunConfig(ops={"backtest__policies": config}))
    assert done.success
    [event] = done.get_asset_materialization_events()
    metadata = event.materialization.metadata
    assert "| Failures fewer than before |" in str(metadata["report"].value)
    assert str(metadata["plot"].value).startswith("![failures fewer](data:image/png;base64,")
    assert "Failures fewer than before" in metadata["not_reached"].value  # type: ignore[operator]
    [(syncs, conflicts, _)] = invented
    assert (syncs.draws, syncs.integrations, syncs.days, conflicts.companies) == (3, 4, 2, 2)


def test_the_command_prints_and_writes_the_report(invented: list[tuple[Any, ...]], tmp_path: Path) -> None:
    file = tmp_path / "report.md"
    done = CliRunner().invoke(app, ["backtest", "--draws", "2", "--output", str(file), "--plots", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert file.read_text().count("\n| --- |") == 3
    assert (tmp_path / "backtest.png").read_bytes()[:4] == b"\x89PNG"
    assert "2,000 syncs due" in done.output


def test_a_report_that_cannot_be_written_is_printed_all_the_same(
    invented: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: Path, _text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    done = CliRunner().invoke(app, ["backtest", "--draws", "2", "--output", str(tmp_path / "report.md")])
    assert done.exit_code == 1
    assert "2,000 syncs due" in done.output


def test_a_run_of_one_draw_is_refused(invented: list[tuple[Any, ...]]) -> None:
    assert CliRunner().invoke(app, ["backtest", "--draws", "1"]).exit_code == 2
    assert invented == []
