"""`trueup alerts` and `trueup dashboards`: what SREs give to Prometheus and Grafana, made from the registrations."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from trueup.core.alert_rules import RUNBOOKS, SCRAPE_S
from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project

_FINDINGS: Final = 1


@errors_as_text()
def alerts(
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write here instead of stdout.")] = None,
    tests: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write tests of the rules here, for promtool."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Write nothing: let promtool check and test the rules. Exit 1 if it finds something."
        ),
    ] = False,
    runbooks: Annotated[
        str, typer.Option(metavar="URL", help="Where infra/README.md is for those who are woken.")
    ] = RUNBOOKS,
    scrape_interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="How often Prometheus scrapes the workers.")
    ] = SCRAPE_S,
) -> None:
    """Write Prometheus' recording and alert rules for the registered tables.

    Example: trueup alerts --output rules.yml
    """
    from trueup.adapters.promtool import Promtool, program  # noqa: PLC0415 - for this command only
    from trueup.adapters.whole_file import write_whole  # noqa: PLC0415
    from trueup.runtime.alert_files import prove, rules_text, tests_text  # noqa: PLC0415
    from trueup.stack.settings import StackSettings  # noqa: PLC0415

    _, registered = open_project(project)
    if check:
        problem = prove(registered, Promtool(program("promtool", cache_dir=StackSettings().cache_dir)))
        typer.echo(problem or "promtool: the rules are well-formed, and every alert fires where it must and only there")
        if problem is not None:
            raise typer.Exit(_FINDINGS)
        return
    if tests is not None and output is None:
        raise typer.BadParameter("--tests needs --output: the tests name the file of the rules")
    text = rules_text(registered, runbooks, scrape_interval)
    if output is None:
        typer.echo(text, nl=False)
        return
    write_whole(output, text)
    typer.echo(f"written: {output}", err=True)
    if tests is not None:
        rules_file = os.path.relpath(output.resolve(), tests.resolve().parent)
        write_whole(tests, tests_text(registered, rules_file, runbooks, scrape_interval))
        typer.echo(f"written: {tests}", err=True)


@errors_as_text()
def dashboards(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go, one per dashboard.")],
    project: ProjectOption = PROJECT_DEFAULT,
) -> None:
    """Write Grafana's dashboards for the registered tables. Example: trueup dashboards infra/grafana"""
    from trueup.adapters.whole_file import write_whole  # noqa: PLC0415 - for this command only
    from trueup.core.dashboards import dashboard_documents  # noqa: PLC0415
    from trueup.runtime.alert_files import dashboard_text  # noqa: PLC0415

    _, registered = open_project(project)
    documents = dashboard_documents(registered)
    for name, document in documents.items():
        write_whole(folder / name, dashboard_text(document))
    typer.echo(f"wrote {', '.join(documents)} into {folder}", err=True)
