"""What assets hand on is JSON under the home folder."""

import json
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.resources import json_io


def test_values_travel_as_json_files_and_never_as_pickles(home: Path) -> None:
    value = {"version": "1.0", "seed": 7, "compared": None, "failed": ["ece <= 0.05"], "name": "é"}

    @dg.asset(key_prefix="m", io_manager_key="json_io")
    def first() -> dict[str, Any]:
        return value

    @dg.asset(key_prefix="m", io_manager_key="json_io", ins={"first": dg.AssetIn(key_prefix="m")})
    def second(first: dict[str, Any]) -> dict[str, Any]:
        return {"got": first}

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([first, second], resources={"json_io": json_io}, instance=instance)
    assert result.success
    assert json.loads((home / "assets" / "m" / "first.json").read_text()) == value
    assert json.loads((home / "assets" / "m" / "second.json").read_text()) == {"got": value}
    assert sorted(file.name for file in home.rglob("*") if file.is_file()) == ["first.json", "second.json"]
