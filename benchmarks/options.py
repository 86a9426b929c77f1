"""Options that several benchmarks have."""

from pathlib import Path
from typing import Any

import typer


def json_option(help_text: str) -> Any:
    """Return the option ``--json``; a place where nothing can be written is refused before anything is measured."""
    return typer.Option("--json", help=help_text, dir_okay=False, callback=_in_a_folder)


def _in_a_folder(file: Path | None) -> Path | None:
    if file is not None and not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"{file}: there is no folder {file.parent}; make it first")
    return file
