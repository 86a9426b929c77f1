"""Options that several commands share: who decides, and why, and where to write."""

from pathlib import Path
from typing import Annotated

import typer


def said(value: str) -> str:
    """Refuse what says nothing: decisions stand in the history and the audit log for good."""
    if not value.strip() or not value.isprintable():
        raise typer.BadParameter(f"{value!r} is empty or has unprintable characters; write it in one line")
    return value.strip()


def in_a_folder(file: Path | None) -> Path | None:
    """Refuse a place in a folder that is not there, before a command begins the work whose result goes there."""
    if file is not None and not file.parent.is_dir():
        raise typer.BadParameter(f"there is no folder {file.parent}; make it first")
    return file


By = Annotated[str, typer.Option(help="Who decides; recorded in the history and the audit log.", callback=said)]
Why = Annotated[str, typer.Option(help="Why; recorded in the history and the audit log.", callback=said)]
