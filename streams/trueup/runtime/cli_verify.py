"""`trueup verify`: is each copy equal to its owner? Exit 1 for differences nothing explains."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from rich.text import Text

from trueup.core.verify import Comparison, cure_of
from trueup.model.errors import Refused
from trueup.model.registration import Project, Table
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets
from trueup.runtime.logs import configure_logs
from trueup.runtime.verify_pass import RANGE_ROWS, Pace
from trueup.runtime.verify_run import HowToVerify, Verification

FOLLOW_ROWS_PER_S: Final = 5_000.0  # a million rows in 200 s; readers of both databases should not notice
RateOption = Annotated[float | None, typer.Option("--rows-per-second", min=1, help="Read no faster than this.")]
RangeOption = Annotated[int, typer.Option("--range-rows", min=10, max=100_000, help="Rows per statement.")]


@errors_as_text()
def verify(
    table: Annotated[str | None, typer.Argument(help="Only this table.")] = None,
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for copies that are behind.")] = 60.0,
    rows_per_second: RateOption = None,
    range_rows: RangeOption = RANGE_ROWS,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an ended run was.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on for ever, as a worker with metrics.")] = False,
    every: Annotated[float, typer.Option(min=1, help="With --follow: seconds from round to round.")] = 300.0,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="With --follow: port of /metrics; 0 is any free one.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Compare every copy with its owner, range by range, down to the differing keys, while everything goes on.

    Keys that differ are looked at again until they are proven different; keys that never rest are unproven. What is
    proven is recorded at the replica, in trueup.proofs. Example: trueup verify orders
    """
    settings, registered = open_project(project)
    tables = tables_named(registered, table)
    rate = rows_per_second or (FOLLOW_ROWS_PER_S if follow else None)
    how = HowToVerify(timeout_s=timeout, pace=Pace(range_rows=range_rows, rows_per_s_max=rate), resume=resume)
    if follow:
        from trueup.runtime.verify_follow import Following, run_follow  # noqa: PLC0415 - a worker's parts

        configure_logs("verify")
        port = (
            settings.worker.metrics_port_base + len(registered.replicas) + 2 if metrics_port is None else metrics_port
        )
        following = Following(tables=tables, how=how, every_s=every)
        asyncio.run(run_follow(settings, registered, open_secrets(settings), following, port))
        return
    with shown_progress() as progress:
        how = followed_by(progress, how)
        results = Verification(settings, registered, open_secrets(settings), how).run(tables)
    differing, caught_up = sum(r.differing for r in results), all(r.caught_up for r in results)
    if json:
        answer = {"results": results, "differing": differing, "caught_up": caught_up}
        typer.echo(msgspec.json.encode(answer).decode())
    else:
        Console().print(_grid(results))
        typer.echo(f"differing rows {differing}" + ("" if caught_up else ", and copies that did not catch up in time"))
        for r in results:
            if r.differing:
                typer.echo(f"next: {cure_of(registered.tables[r.table], r.replica)}", err=True)
    if differing or not caught_up:
        raise typer.Exit(1)


def tables_named(registered: Project, table: str | None) -> list[Table]:
    """One table, or all. Raises Refused."""
    if table is not None and table not in registered.tables:
        hint = f"registered are: {', '.join(registered.tables)}"
        raise Refused(f'table "{table}" is not registered', hint=hint)
    return [t for t in registered.tables.values() if table in {None, t.table}]


def shown_progress() -> Progress:
    """A line on stderr that moves while a copy is compared."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,.0f} rows"))
    return Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True)


def followed_by(progress: Progress, how: HowToVerify) -> HowToVerify:
    """The same run, shown."""
    task = progress.add_task("waiting for a heartbeat", total=None)

    def on_copy(what: str) -> None:
        progress.reset(task, description=what, total=None)

    def on_rows(rows: int) -> None:
        progress.update(task, completed=rows)

    return msgspec.structs.replace(how, on_copy=on_copy, on_rows=on_rows)


def _grid(results: list[Comparison]) -> Grid:
    grid = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in ("table", "replica", "rows", "at replica", "differing", "explained", "unproven", "keys"):
        grid.add_column(heading, overflow="fold")
    for r in results:
        numbers = (r.rows_source, r.rows_replica, r.differing, r.explained, r.unproven)
        grid.add_row(*map(Text, (r.table, r.replica, *map(str, numbers), _keys(r))))
    return grid


def _keys(result: Comparison) -> str:
    return " ".join(f"{kind} {' '.join(keys)}" for kind, keys in result.shown_keys().items())
