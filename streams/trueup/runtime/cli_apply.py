"""`trueup apply`: brings sources, Kafka, the registry, Connect and replicas to what is registered."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from trueup.model.errors import Refused
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets


@errors_as_text()
def apply(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show every SQL statement, topic and connector setting; change nothing."),
    ] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="Let existing tables at replicas become copies.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Fill replica tables anew whose registered content changed.")
    ] = False,
    reread: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TABLE",
            help="Read a table again whose columns were others for a while and are the registered ones again.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The steps as JSON on stdout.")] = False,
) -> None:
    """Bring everything to what is registered. Safe to repeat; a run that was killed is completed by the next.

    Example: trueup apply --dry-run
    """
    from trueup.runtime.logs import configure_logs  # noqa: PLC0415
    from trueup.runtime.provision import Provisioner  # noqa: PLC0415 - clients of five systems, for this command only
    from trueup.runtime.provision_steps import Step, as_json, lines, title  # noqa: PLC0415

    settings, registered = open_project(Path(project))
    if not registered.tables:
        raise Refused("no table is registered", hint="add a file to schemas/tables")
    if unknown := set(reread or ()) - registered.tables.keys():
        raise Refused(
            f'table "{min(unknown)}" is not registered', hint=f"registered are: {', '.join(registered.tables)}"
        )
    configure_logs("trueup apply", logging.WARNING)  # a rebuild fills with the code of workers, which log each claim
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    secrets = open_secrets(settings)
    provisioner = Provisioner(settings, registered, secrets, adopt=adopt, rebuild=rebuild, reread=reread or ())
    try:
        with console.status("looking at sources, Kafka, registry, Connect and replicas"):
            steps = provisioner.plan()
        if dry_run:
            if not json:
                for step in steps:
                    typer.echo("\n    ".join([title(step), *lines(step)]))
        else:
            with _progress(console) as shown:
                task = shown.add_task("", total=None)

                def on_step(step: Step) -> None:
                    console.print(title(step), markup=False, soft_wrap=True)
                    shown.reset(task, description="", total=None)

                def on_fill(done: int, total: int) -> None:
                    shown.update(task, description="records", completed=done, total=total)

                provisioner.carry_out(
                    steps, on_step, lambda state: shown.update(task, description=f"connector: {state}"), on_fill
                )
    finally:
        provisioner.close()
    if json:
        typer.echo(as_json(steps, dry_run=dry_run))
    typer.echo(
        _summary(len(steps), len(registered.tables), dry_run=dry_run, seconds=time.monotonic() - began),
        err=True,
    )


def _progress(console: Console) -> Progress:
    """One line: what is waited for, and how far a rebuild is."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


def _summary(steps: int, tables: int, *, dry_run: bool, seconds: float) -> str:
    what = f"{tables} {'table' if tables == 1 else 'tables'}"
    if not steps:
        return f"nothing to do: {what} as registered ({seconds:.1f} s)"
    count = f"{steps} {'step' if steps == 1 else 'steps'}"
    if dry_run:
        return f"{count} would be taken for {what}; nothing was changed ({seconds:.1f} s)"
    return f"applied: {count} for {what} ({seconds:.1f} s)"
