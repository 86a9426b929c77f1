"""Options that several commands share: who decides, and why."""

from typing import Annotated

import typer


def said(value: str) -> str:
    """Refuse what says nothing: decisions stand in the history and the audit log for good."""
    if not value.strip() or not value.isprintable():
        raise typer.BadParameter(f"{value!r} says nothing that can be read; write it in one line")
    return value.strip()


By = Annotated[str, typer.Option(help="Who decides; it stands in the history and the audit log.", callback=said)]
Why = Annotated[str, typer.Option(help="Why; it stands in the history and the audit log.", callback=said)]
