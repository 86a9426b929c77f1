"""What can be known of a wrong option before anything is measured is told then."""

from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

COMMANDS = (
    *("conflicts", "conflicts_throughput", "conflicts_twin", "experiments", "experiments_live", "health_forecast"),
    *("mapping", "retry", "retry_bodies", "retry_twin", "sync_features", "sync_health", "sync_health_twin"),
    *("drift", "serving", "soak", "sync_online", "sync_prevention", "sync_watch"),
)
WITH_PLOTS = (
    *("conflicts", "conflicts_twin", "experiments", "experiments_live", "health_forecast", "mapping", "retry"),
    *("drift", "retry_twin", "serving", "soak", "sync_health", "sync_prevention"),
)
WITH_DATA = ("conflicts", "mapping", "retry", "sync_health")


@pytest.mark.parametrize("name", COMMANDS)
def test_what_cannot_be_written_is_refused_before_anything_is_measured(name: str, tmp_path: Path) -> None:
    module = import_module(f"benchmarks.{name}")
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer()
        app.command()(module.main)
    data = ["--data", str(tmp_path)] if name in WITH_DATA else ["--home", str(tmp_path)] if name == "soak" else []
    (tmp_path / "file").touch()
    wrong = [
        ("--json", tmp_path / "nowhere" / "out.json", "there is no folder"),
        ("--json", tmp_path, "is a directory"),
    ]
    if name in WITH_PLOTS:
        wrong.append(("--plots", tmp_path / "file", "is a file"))
    for option, place, said in wrong:
        found = CliRunner().invoke(app, [*data, option, str(place)], env={"COLUMNS": "400", "TERM": "dumb"})
        assert found.exit_code == 2
        assert said in " ".join(found.output.replace("│", " ").split())
