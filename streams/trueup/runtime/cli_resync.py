"""`trueup resync` and `trueup resnapshot`: rows are read at their source again, in a new epoch or the present one."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from trueup.model.errors import Refused
from trueup.model.registration import Project
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets

_JsonOption = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@errors_as_text()
def resync(
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="The system that lost its slot, or was restored.")],
    table: Annotated[str | None, typer.Argument(metavar="[TABLE]", help="Not supported: see resnapshot.")] = None,
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    timeout: Annotated[
        int, typer.Option(min=1, help="Seconds a step may stand still before waiting is given up.")
    ] = 300,
    take_columns: Annotated[
        bool, typer.Option("--take-columns", help="Also where columns changed; then run trueup apply --rebuild.")
    ] = False,
    json: _JsonOption = False,
) -> None:
    """Begin a new epoch of a system: new slot, snapshot, and deletion of rows that are gone at the source.

    The cure for a lost slot, a restored source and a capture topic that lost records. A run that was killed is
    completed by the next one. Example: trueup resync shop
    """
    from trueup.runtime.resync import Resync  # noqa: PLC0415 - clients of five systems, for this command only
    from trueup.runtime.resync_steps import ResyncStep  # noqa: PLC0415

    settings, registered = open_project(project)
    _refuse(registered, system, table)
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    run = Resync(settings, registered, open_secrets(settings), system, timeout, take_columns=take_columns)
    try:
        epoch, what = run.run_note.epoch, "go on with" if run.resumed else "begin"
        tables = ", ".join(t.table for t in registered.tables_owned_by(system))
        console.print(f"{what} epoch {epoch} of {system}: every row of {tables} is read again", markup=False)
        if not yes and not typer.confirm("The slot and its position are given up. Go on?", err=True):
            raise typer.Exit(1)
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
            task = progress.add_task("", total=None)

            def on_step(step: ResyncStep) -> None:
                progress.console.print(step.value, markup=False)
                progress.reset(task, description=step.value, total=None)

            def on_progress(what: str, done: int, total: int) -> None:
                # An estimate may be too low; a bar beyond its end says nothing.
                progress.update(task, description=what, completed=done, total=max(done, total) if total else None)

            epoch = run.run(on_step, on_progress)
    finally:
        run.close()
    seconds = time.monotonic() - began
    if json:
        typer.echo(msgspec.json.encode({"system": system, "epoch": epoch, "seconds": round(seconds, 1)}).decode())
    typer.echo(f"{system} is in epoch {epoch} ({seconds:.1f} s); compare: trueup verify", err=True)


def _refuse(registered: Project, system: str, table: str | None) -> None:
    if system not in registered.systems:
        raise Refused(f'system "{system}" is not registered', hint=f"registered are: {', '.join(registered.systems)}")
    if not registered.tables_owned_by(system):
        raise Refused(f'system "{system}" owns no table', hint="nothing is captured from it")
    if table is not None:
        raise Refused(
            "a single table cannot be resynced",
            detail="the epoch belongs to the connector: what the other tables send meanwhile would be older than it",
            hint=f"changed and missing rows: trueup resnapshot {table}; rows that are gone: trueup resync {system}",
        )


@errors_as_text()
def resnapshot(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Registered name of the table.")],
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="One row: a value, or JSON as deadletters list shows it.")
    ] = None,
    json: _JsonOption = False,
) -> None:
    """Read a table, or one row, from its source again while everything goes on; no new epoch, no deletions.

    Example: trueup resnapshot orders --key 4711
    """
    from trueup.runtime.resnapshot import Resnapshot  # noqa: PLC0415 - clients of Connect and the source

    settings, registered = open_project(project)
    signal_id = Resnapshot(settings, registered, open_secrets(settings)).ask(table, key)
    if json:
        typer.echo(msgspec.json.encode({"table": table, "signal": signal_id}).decode())
    typer.echo("asked for: the rows come through the pipeline; see trueup status", err=True)
