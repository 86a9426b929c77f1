"""The operations guide names every setting and every command."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from crewflow_assets.settings import Settings
from pipelines.cli.main import app

GUIDE = Path(__file__).parents[1] / "docs" / "operations.md"


def commands(command: Any, path: str) -> Iterator[str]:
    """Yield the full name of every command that does something; a group has ``commands``."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from commands(child, f"{path} {name}")


COMMANDS = sorted(commands(typer.main.get_command(app), "crewflow"))


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_every_setting_has_a_heading_or_a_table_row(name: str) -> None:
    variable = f"CREWFLOW_{name.upper()}"
    pattern = rf"^(?:#+ .*`?{variable}\b|\| *`?{variable}`? *\|)"
    assert re.search(pattern, GUIDE.read_text(), re.MULTILINE), f"{GUIDE.name} has no row or heading for {variable}"


def test_the_commands_are_found() -> None:
    assert {"crewflow demo", "crewflow import", "crewflow suggest", "crewflow deliver"} < set(COMMANDS)
    assert any(command.startswith("crewflow db ") for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_heading(command: str) -> None:
    assert re.search(rf"^### `?{re.escape(command)}\b", GUIDE.read_text(), re.MULTILINE), (
        f"{GUIDE.name} has no heading '### {command}'"
    )
