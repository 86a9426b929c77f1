"""``crewflow import``: a customer's lists and mappings, from the files that people export."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from crewflow_assets.errors import InvalidInputError
    from crewflow_assets.ingest.columns import Kind
    from crewflow_assets.ingest.files import ImportReport

SHOWN = 50


class What(StrEnum):
    """What a file holds."""

    cost_codes = "cost-codes"
    projects = "projects"
    accounts = "accounts"
    mappings = "mappings"


class System(StrEnum):
    """The accounting systems that charts and mappings belong to."""

    quickbooks = "quickbooks"
    sage = "sage"
    xero = "xero"


class OnDuplicate(StrEnum):
    """What to do with a code that stands in several rows."""

    refuse = "refuse"
    first = "first"
    last = "last"


def import_command(
    what: Annotated[What, typer.Argument(help="What the file holds.", show_default=False)],
    file: Annotated[
        Path,
        typer.Argument(help="A CSV or XLSX file, as exported.", exists=True, dir_okay=False, show_default=False),
    ],
    company: Annotated[str, typer.Option(help="The company's id; its first import creates it.", show_default=False)],
    system: Annotated[
        System, typer.Option(help="The accounting system of the accounts or mappings.")
    ] = System.quickbooks,
    company_name: Annotated[str | None, typer.Option(help="The company's name; by default its id.")] = None,
    industry: Annotated[
        str | None, typer.Option(help='Its trade, such as "electrical"; by default "general contractor".')
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column with an unusual title, as field=Title; repeat for more.", metavar="FIELD=TITLE"),
    ] = None,
    on_duplicate: Annotated[
        OnDuplicate, typer.Option(help="Which row counts where a code occurs twice.")
    ] = OnDuplicate.refuse,
    partial: Annotated[
        bool, typer.Option("--partial", help="The file is a part of the list: keep records that it lacks.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    all_problems: Annotated[
        bool, typer.Option("--all-problems", help=f"List every bad row, not the first {SHOWN}.")
    ] = False,
) -> None:
    """Import cost codes, projects, a chart of accounts, or mappings.

    Columns are recognised by their usual titles. Importing a file again
    changes nothing. A record that a newer file lacks is deactivated, never
    deleted. One bad row refuses the file, and every bad row is named.
    docs/imports.md has the rules and more examples.

    \b
    The cost codes of a company that is new:
      crewflow import cost-codes codes.xlsx --company c-17 --industry electrical

    \b
    A chart of accounts as QuickBooks Online exports it, looked at first:
      crewflow import accounts "Account List.xlsx" --company c-17 --dry-run

    \b
    A chart whose columns have unusual titles:
      crewflow import accounts chart.csv --company c-17 --system sage \\
        --column code=Ref --column name=Label

    \b
    A list of a few new projects, which leaves the others as they are:
      crewflow import projects new.csv --company c-17 --partial

    \b
    What people have mapped already, one row for each cost code or project:
      crewflow import mappings mapped.csv --company c-17 --system quickbooks
    """
    from crewflow_assets.errors import InvalidInputError
    from crewflow_assets.ingest.files import import_file

    errors = Console(stderr=True, highlight=False)
    kinds: dict[What, Kind] = {
        What.cost_codes: "cost_codes",
        What.projects: "projects",
        What.accounts: "accounts",
        What.mappings: "mappings",
    }
    record = None
    if what is What.mappings:
        from crewflow_assets.cost_code_mapping.posted import record_imported

        record = record_imported
    try:
        report = import_file(
            file,
            kind=kinds[what],
            company_id=company,
            system=system.value,
            columns=_columns(column or []),
            on_duplicate=on_duplicate.value,
            partial=partial,
            dry_run=dry_run,
            company_name=company_name,
            industry=industry,
            record=record,
        )
    except InvalidInputError as error:
        _show_problems(error, errors, None if all_problems else SHOWN)
        raise typer.Exit(1) from None
    _show_report(report, file.name, Console(highlight=False), errors)
    if what is What.accounts and not dry_run:
        _encode(company, system.value, errors)


def _encode(company: str, system: str, console: Console) -> None:
    """Encode a large chart's texts now, so that the first question about it need not wait."""
    from rich.progress import Progress

    from crewflow_assets.cost_code_mapping.context import encode_chart

    with Progress(console=console) as progress:
        bar = None
        for done, total in encode_chart(company, system):
            bar = progress.add_task("Reading account names", total=total) if bar is None else bar
            progress.update(bar, completed=done)


def _columns(options: list[str]) -> dict[str, str]:
    """Read ``field=Title`` options."""
    given: dict[str, str] = {}
    for option in options:
        field, equals, title = option.partition("=")
        if not (equals and field.strip() and title.strip()):
            raise typer.BadParameter(
                f'{option!r} is not field=Title, such as code="Account #"', param_hint="--column"
            )
        if field.strip() in given:
            raise typer.BadParameter(f"{field.strip()!r} is given twice", param_hint="--column")
        given[field.strip()] = title.strip()
    return given


def _show_problems(error: "InvalidInputError", console: Console, limit: int | None) -> None:
    """Print the message, and a table of the bad rows where it is about rows."""
    console.print(Text(str(error), style="bold red"))
    rows = [problem for problem in error.problems if problem.loc[:1] == ("row",) and len(problem.loc) > 1]
    if not rows:
        return
    table = Table("Row", "Column", "What is wrong", show_lines=False)
    for problem in rows[:limit]:
        column = str(problem.loc[2]) if len(problem.loc) > 2 else ""
        table.add_row(str(problem.loc[1]), Text(column), Text(problem.msg))
    console.print(table)
    if limit is not None and len(rows) > limit:
        console.print(f"and {len(rows) - limit} more; list them with --all-problems", markup=False)


def _show_report(report: "ImportReport", name: str, console: Console, errors: Console) -> None:
    """Print what was read from where, the counts, and the warnings."""
    read = ", ".join(f'{field} from "{title}"' for field, title in report.columns)
    console.print(Text(f"{name}: read {read}"))
    whose = f"company {report.company_id}" + (f", {report.system}" if report.system else "")
    table = Table(
        "Result", "Records", title=Text(f"{report.kind.replace('_', ' ')} of {whose}"), title_justify="left"
    )
    table.columns[1].justify = "right"
    for result in ("inserted", "updated", "reactivated", "deactivated", "unchanged", "skipped"):
        table.add_row(result, f"{getattr(report, result):,}")
    console.print(table)
    if report.company_created:
        console.print(Text(f"The company {report.company_id} was created."))
    elif report.company_updated:
        console.print(Text("The company's name or industry was changed."))
    if not report.changed:
        console.print("Nothing changed: all of it was there already.")
    for warning in report.warnings:
        errors.print(Text(f"Warning: {warning}", style="yellow"))
    if report.dry_run:
        console.print("This was a dry run: nothing was written.")
