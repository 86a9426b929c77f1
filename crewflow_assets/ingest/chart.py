"""What an account's code, name and parent are, out of the number, name and parent columns of a chart.

The rules, in order (``docs/imports.md`` shows them by example):

1. A name is nested where it has a colon that no blank follows, or " : " or " > ": "Job Expenses:Materials".
2. A parent column is read the same way, or as the number of another account; its levels go before the name's,
   unless the name begins with them already.
3. A name carries a number if its last level begins with one ("50110 Materials", "50110 · Materials"), in a row with
   a number column with that very one. Where at least half of a chart's names do, every level loses its number;
   elsewhere only a last level that begins with the number column's value does.
4. The code is the number column; without one, the number that the name carried; without either, the full name with
   colons between its levels. The parent is the full name without its last level.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NESTED = re.compile(r"\s+:\s+|\s*:(?=\S)|\s+>\s+")
NUMBERED = re.compile(r"(?P<number>\d+(?:[.\-]\d+)*)(?:\s*[·–—|]\s*|\s*-\s+|\s+)(?P<name>\S.*)")


@dataclass(frozen=True, slots=True)
class ChartLine:
    """What one row of a chart says: empty text where a column is empty or missing."""

    number: str
    name: str
    parent: str = ""


@dataclass(frozen=True, slots=True)
class NamedAccount:
    """An account's own code, name, and the full name of the account above it."""

    code: str
    name: str
    parent: str | None


def levels_of(name: str) -> tuple[str, ...]:
    """Split a nested name into its levels, outermost first."""
    return tuple(level for level in (part.strip() for part in NESTED.split(name)) if level)


def name_accounts(lines: Sequence[ChartLine]) -> list[NamedAccount]:
    """Return the code, name and parent of each row, by the rules above; an empty name stays empty."""
    named = [levels_of(line.name) for line in lines]
    leaves = [(line.number, levels[-1]) for line, levels in zip(lines, named, strict=True) if levels]
    carrying = sum(bool(_take_apart(leaf, number, not number)[0]) for number, leaf in leaves)
    carried = 2 * carrying >= max(1, len(leaves))
    by_number = {line.number: index for index, line in enumerate(lines) if line.number}
    return [_account(index, lines, named, by_number, carried) for index in range(len(lines))]


def _account(
    index: int,
    lines: Sequence[ChartLine],
    named: Sequence[tuple[str, ...]],
    by_number: Mapping[str, int],
    carried: bool,
) -> NamedAccount:
    line = lines[index]
    if not named[index]:
        return NamedAccount(line.number, "", None)
    *outer, leaf = named[index]
    carried_number, name = _take_apart(leaf, line.number, carried and not line.number)
    number = line.number or carried_number
    own = (*(_take_apart(level, "", carried)[1] for level in outer), name)
    above = _above(index, lines, named, by_number, carried)
    path = own if own[: len(above)] == above and len(own) > len(above) else above + own
    return NamedAccount(number or ":".join(path), path[-1], ":".join(path[:-1]) or None)


def _above(
    index: int,
    lines: Sequence[ChartLine],
    named: Sequence[tuple[str, ...]],
    by_number: Mapping[str, int],
    carried: bool,
) -> tuple[str, ...]:
    """Return the levels of the parent column; a number stands for the path of the account that has it."""
    path: tuple[str, ...] = ()
    visited = {index}
    parent = lines[index].parent
    while parent in by_number and by_number[parent] not in visited:
        at = by_number[parent]
        visited.add(at)
        *outer, leaf = named[at] or ("",)
        names = [_take_apart(level, "", carried)[1] for level in outer]
        path = (*names, _take_apart(leaf, parent, False)[1], *path)
        parent = lines[at].parent
    if parent in by_number:  # accounts that name each other, or themselves, as parents
        return path
    given = tuple(_take_apart(level, "", carried)[1] for level in levels_of(parent))
    return path if path[: len(given)] == given else given + path


def _take_apart(level: str, number: str, carried: bool) -> tuple[str, str]:
    match = NUMBERED.fullmatch(level)
    if match and (carried or match["number"] == number):
        return match["number"], match["name"]
    return "", level
