"""Tables of plain text, as commands print them: a heading, then rows, each column as wide as its widest cell."""

from collections.abc import Sequence

import typer


def print_columns(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Print rows of cells, all of the same number, in aligned columns; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo(indent + "  ".join(cells).rstrip())
