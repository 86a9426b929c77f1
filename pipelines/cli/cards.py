"""``crewflow cards``: model cards from the registry."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import in_a_folder


def cards(
    output: Annotated[Path, typer.Option(help="The folder to write them into.", callback=in_a_folder)] = Path(
        "docs/models"
    ),
) -> None:
    """Write a card for each model: purpose, data, figures with intervals by slice, gates, versions, limits.

    They are generated from the registry and the prediction log of this installation.

    \b
    Examples:
      crewflow cards
      crewflow cards --output /tmp/cards
    """
    from rich.console import Console

    from crewflow_assets import clock
    from crewflow_assets.models import MODEL_SPECS
    from crewflow_assets.monitoring.cards import write_cards
    from crewflow_assets.settings import get_settings

    for path in write_cards(output, MODEL_SPECS, scale=get_settings().scale, now=clock.now()):
        Console().print(f"written: {path}", highlight=False)
