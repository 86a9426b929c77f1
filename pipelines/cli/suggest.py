"""``crewflow suggest``: a company's cost codes with the accounts that the model suggests."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipelines.cli.importing import System
from pipelines.cli.options import in_a_folder

PAGE = 500
COLUMNS = ("code", "name", "suggestion", "confidence", "method", "reason")


def suggest(
    company: Annotated[str, typer.Option(help="The company's id.", show_default=False)],
    system: Annotated[System, typer.Option(help="The accounting system.")] = System.quickbooks,
    kind: Annotated[
        Literal["cost_code", "project"], typer.Option(help="What to map: cost codes or projects.")
    ] = "cost_code",
    state: Annotated[
        Literal["review", "mapped", "all"],
        typer.Option(help="Items to list: those to review, those already mapped, or all."),
    ] = "all",
    version: Annotated[
        str, typer.Option(help='The model version: "champion", "challenger" or a label.')
    ] = "champion",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Also write the whole table to this .csv or .xlsx file.",
            show_default=False,
            dir_okay=False,
            callback=in_a_folder,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many rows to print; the export has all.")] = 60,
) -> None:
    """Print suggestions for a company's codes: those to review first, then those already mapped.

    The method says where a suggestion comes from: [bold]person[/bold] (already decided), [bold]memory[/bold] (every
    code of that name was mapped there), [bold]model[/bold] (confident enough to be automatic), [bold]ask[/bold] (a
    person decides).

    \b
    Examples:
      crewflow suggest --company c-1
      crewflow suggest --company c-1 --system sage --state review --output suggestions.xlsx
    """
    from rich.console import Console

    console = Console()
    if output is not None and output.suffix.lower() not in (".csv", ".xlsx"):
        raise typer.BadParameter(f"{output}: write to a .csv or .xlsx file", param_hint="--output")
    rows, mapped, total = suggestion_rows(company, system=system, kind=kind, state=state, version=version)
    _print(console, rows[:limit], company, mapped, total)
    if len(rows) > limit:
        console.print(f"{len(rows) - limit} more; use --limit or --output to see them")
    if output is not None:
        _export(rows, output)
        console.print(f"{len(rows)} rows written to {output}")


def suggestion_rows(
    company_id: str, *, system: str, kind: str, state: Literal["review", "mapped", "all"], version: str
) -> tuple[list[dict[str, Any]], int, int]:
    """Return the table's rows, those to review first, and how many of all items are mapped.

    Raises:
        NotFoundError: company or version unknown.
        NotReadyError: no model is registered.
        InvalidInputError: the company has no chart of that system.
    """
    from crewflow_assets import registry
    from crewflow_assets.cost_code_mapping.contract import MappingRequest
    from crewflow_assets.cost_code_mapping.queue import review_queue
    from crewflow_assets.models import spec_named
    from crewflow_assets.store.database import reading
    from crewflow_assets.store.tables import Company

    items: list[dict[str, Any]] = []
    with reading() as session:
        after: str | None = None
        while True:
            page = review_queue(
                session, company_id=company_id, kind=kind, system=system, state=state, limit=PAGE, after=after
            )
            items += page["items"]
            after = page["next"]
            if after is None:
                break
        found = session.get(Company, company_id)
        industry = found.industry if found else ""
    items.sort(key=lambda item: item["state"] == "mapped")
    spec = spec_named("cost_code_mapping")
    model = registry.load(spec, version)
    requests = [
        MappingRequest.model_validate(
            {
                "kind": kind,
                "crewflow_cost_code": item["source_code"],
                "cost_code_name": item["name"],
                "cost_code_description": item["description"],
                "cost_code_group": item["group"],
                "crewflow_project_type": item["project_type"],
                "company_industry": industry,
                "company_id": company_id,
                "target_system": system,
                "top_k": 1,
            }
        )
        for item in items
    ]
    answers = spec.code().answer(model.predictor, requests)
    return (
        [_row(item, answer.fields) for item, answer in zip(items, answers, strict=True)],
        page["mapped"],
        page["total"],
    )


def _row(item: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    first = fields["suggestions"][0]
    blind = fields["withheld"]
    return {
        "code": item["source_code"],
        "name": item["name"],
        "suggestion": "" if blind else _account(first["target_code"], first["target_name"]),
        "confidence": None if blind else first["confidence"],
        "method": fields["method"],
        "reason": "Held back on purpose: please decide without a suggestion" if blind else first["reason"],
    }


def _account(code: str, name: str) -> str:
    """Return number and name; a chart without numbers has full names for codes, which say all."""
    return code if code.endswith(name) else f"{code} {name}"


def _print(console: Any, rows: list[dict[str, Any]], company: str, mapped: int, total: int) -> None:
    from rich.table import Table

    table = Table(title=f"{company}: {mapped} of {total} mapped", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="right" if column == "confidence" else "left", overflow="fold")
    for row in rows:
        confidence = "" if row["confidence"] is None else f"{row['confidence']:.0%}"
        table.add_row(*(confidence if c == "confidence" else str(row[c]) for c in COLUMNS))
    console.print(table)


def _export(rows: list[dict[str, Any]], output: Path) -> None:
    import pandas as pd  # only for an export

    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    if output.suffix.lower() == ".csv":
        frame.to_csv(output, index=False, encoding="utf-8-sig")  # Excel needs the BOM
        return
    with pd.ExcelWriter(output, engine="openpyxl") as writer:
        frame.to_excel(writer, index=False)
        for row in next(iter(writer.sheets.values())).iter_rows(min_row=2):
            for cell in row:
                if cell.data_type == "f":  # a name that begins with "=" would be computed
                    cell.data_type = "s"
