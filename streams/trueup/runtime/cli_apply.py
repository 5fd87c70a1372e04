"""`trueup apply`: brings sources, Kafka, the registry, Connect and replicas to what is registered."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

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
    json: Annotated[bool, typer.Option("--json", help="The steps as JSON on stdout.")] = False,
) -> None:
    """Bring everything to what is registered. Safe to repeat; a run that was killed is completed by the next.

    Example: trueup apply --dry-run
    """
    from trueup.runtime.provision import Provisioner  # noqa: PLC0415 - clients of five systems, for this command only
    from trueup.runtime.provision_steps import Step, as_json, lines, title  # noqa: PLC0415

    if rebuild:
        raise Refused("--rebuild is not supported yet", hint="register the copy under a new table name at the replica")
    settings, registered = open_project(Path(project))
    if not registered.tables:
        raise Refused("no table is registered", hint="add a file to schemas/tables")
    console = Console(stderr=True, highlight=False)
    began = time.monotonic()
    provisioner = Provisioner(settings, registered, open_secrets(settings), adopt=adopt)
    try:
        with console.status("looking at sources, Kafka, registry, Connect and replicas"):
            steps = provisioner.plan()
        if dry_run:
            if not json:
                for step in steps:
                    typer.echo("\n    ".join([title(step), *lines(step)]))
        else:
            with console.status("") as shown:

                def on_step(step: Step) -> None:
                    console.print(title(step), markup=False, soft_wrap=True)
                    shown.update("")

                provisioner.carry_out(steps, on_step, lambda state: shown.update(f"connector: {state}"))
    finally:
        provisioner.close()
    if json:
        typer.echo(as_json(steps, dry_run=dry_run))
    typer.echo(
        _summary(len(steps), len(registered.tables), dry_run=dry_run, seconds=time.monotonic() - began),
        err=True,
    )


def _summary(steps: int, tables: int, *, dry_run: bool, seconds: float) -> str:
    what = f"{tables} {'table' if tables == 1 else 'tables'}"
    if not steps:
        return f"nothing to do: {what} as registered ({seconds:.1f} s)"
    count = f"{steps} {'step' if steps == 1 else 'steps'}"
    if dry_run:
        return f"{count} would be taken for {what}; nothing was changed ({seconds:.1f} s)"
    return f"applied: {count} for {what} ({seconds:.1f} s)"
