"""`trueup repair`: rows of a copy that are proven different are put right, and compared again."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from trueup.model.errors import Refused
from trueup.model.registration import Copy, Table
from trueup.model.repair import RepairOutcome
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets
from trueup.runtime.cli_verify import RangeOption, RateOption, followed_by, shown_progress, tables_named
from trueup.runtime.repair import CopyRepair, Repaired
from trueup.runtime.verify_pass import RANGE_ROWS, Pace
from trueup.runtime.verify_run import HowToVerify, compared_copies

_KEYS_SHOWN_MAX = 50


@errors_as_text()
def repair(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Registered name of the table.")],
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    replica: Annotated[str | None, typer.Option("--replica", help="Only the copy at this replica.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for a copy that is behind.")] = 60.0,
    rows_per_second: RateOption = None,
    range_rows: RangeOption = RANGE_ROWS,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Put changed, missing and extra rows of a copy right from the truth, while its worker goes on.

    The copy is compared first, and the repaired keys again afterwards: exit 0 says they are proven equal. Where the
    truth is not what the owner has, the key is left alone, and the command is named that puts the truth right. Each
    repaired key is recorded at the replica, in trueup.repairs. Example: trueup repair orders --replica warehouse
    """
    settings, registered = open_project(project)
    (found,) = tables_named(registered, table)
    copies = _copies(found, replica)
    how = HowToVerify(timeout_s=timeout, pace=Pace(range_rows=range_rows, rows_per_s_max=rows_per_second))
    with shown_progress() as progress:
        task = progress.add_task("keys", total=None, visible=False)

        def on_repaired(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, visible=True)

        run = CopyRepair(settings, registered, open_secrets(settings), followed_by(progress, how), on_repaired)
        results = [run.run(found, copy, dry_run=dry_run) for copy in copies]
    if json:
        typer.echo(msgspec.json.encode({"results": results, "mended": sum(r.mended for r in results)}).decode())
    else:
        _show(results)
    if not all(_is_fine(result) for result in results):
        raise typer.Exit(1)


def _copies(table: Table, replica: str | None) -> list[Copy]:
    copies = [copy for copy in compared_copies(table) if replica in {None, copy.replica}]
    if not copies:
        there = ", ".join(copy.replica for copy in compared_copies(table)) or "none"
        what = "no copy" if replica is None else f'no copy at replica "{replica}"'
        raise Refused(f'table "{table.table}" has {what}', hint=f"copies are at: {there}")
    return copies


def _is_fine(result: Repaired) -> bool:
    """Everything that differed is mended and proven equal; a dry run is fine when there is nothing to do."""
    return result.caught_up and (not result.found or (result.left == [] and result.mended >= result.found))


def _show(results: list[Repaired]) -> None:
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in ("table", "replica", "key", "is", "columns", "outcome", "version"):
        grid.add_column(heading, overflow="fold")
    for result in results:
        for key in result.keys[:_KEYS_SHOWN_MAX]:
            outcome = "would be mended" if result.dry_run and key.outcome is RepairOutcome.MENDED else key.outcome.value
            words = outcome.replace("_", " ") + (f": {key.why}" if key.why else "")
            cells = (result.table, result.replica, key.key, key.kind.value, ", ".join(key.columns), words)
            grid.add_row(*map(Text, (*cells, key.version or "")))
    if grid.row_count:
        Console().print(grid)
    for result in results:
        typer.echo(_summary(result))
        for command in dict.fromkeys(key.next for key in result.keys if key.next):
            typer.echo(f"next: {command}", err=True)


def _summary(result: Repaired) -> str:
    place = f"{result.table} at {result.replica}: {result.found} keys differed"
    if result.held:
        place += f", {result.held} more are held by open dead letters or cases"
    if not result.caught_up:
        return f"{place}; the copy did not catch up in time, so more cannot be said"
    if result.dry_run:
        return f"{place}; nothing was changed"
    left = 0 if result.left is None else len(result.left)
    return f"{place}, {result.mended} mended, {left} still differ, {len(result.unproven)} unproven"
