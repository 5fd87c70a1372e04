"""`trueup worker`: the stream workers. Production runs one process each (systemd, Kubernetes); `all` is for laptops."""

from __future__ import annotations

import asyncio
import os
from typing import Annotated

import typer
import uvloop

from trueup.runtime.cli_errors import errors_as_text
from trueup.runtime.cli_project import PROJECT_DEFAULT, ProjectOption, open_project, open_secrets
from trueup.runtime.logs import configure_logs

worker = typer.Typer(help="Run stream workers.", no_args_is_help=True)

NameOption = Annotated[
    str | None,
    typer.Option("--name", help="Its name, its own on this host. Default: decide, apply-REPLICA, capture."),
]
PortOption = Annotated[
    int | None,
    typer.Option("--metrics-port", min=0, max=65535, help="Port of /metrics on loopback; 0 is any free one."),
]


def _run(main: asyncio.Future[None] | object) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)  # type: ignore[arg-type]
    # Faust leaves daemon threads that would be waited for; everything durable is durable by now.
    os._exit(0)


@worker.command()
@errors_as_text()
def decide(
    project: ProjectOption = PROJECT_DEFAULT, *, name: NameOption = None, metrics_port: PortOption = None
) -> None:
    """Decide captured changes into truth. Example: trueup worker decide"""
    from trueup.runtime.wiring import run_decide  # noqa: PLC0415 - Faust is loaded by workers only

    settings, registered = open_project(project)
    own_name = name or "decide"
    configure_logs(own_name)
    port = settings.worker.metrics_port_base if metrics_port is None else metrics_port
    _run(run_decide(settings, registered, own_name, port))


@worker.command()
@errors_as_text()
def apply(
    replica: Annotated[str, typer.Argument(help="The replica to keep true.")],
    project: ProjectOption = PROJECT_DEFAULT,
    *,
    name: NameOption = None,
    metrics_port: PortOption = None,
) -> None:
    """Apply truth to one replica. Example: trueup worker apply reporting"""
    from trueup.runtime.wiring import run_apply  # noqa: PLC0415 - Faust is loaded by workers only

    settings, registered = open_project(project)
    own_name = name or f"apply-{replica}"
    configure_logs(own_name)
    if metrics_port is None:
        place = list(registered.replicas).index(replica) + 1 if replica in registered.replicas else 0
        metrics_port = settings.worker.metrics_port_base + place
    _run(run_apply(settings, registered, open_secrets(settings), replica, own_name, metrics_port))


@worker.command()
@errors_as_text()
def capture(
    project: ProjectOption = PROJECT_DEFAULT, *, name: NameOption = None, metrics_port: PortOption = None
) -> None:
    """Watch the connectors and restart those that fail, with backoff. Example: trueup worker capture"""
    from trueup.runtime.capture_worker import run_capture  # noqa: PLC0415 - clients of three systems, for workers only

    settings, registered = open_project(project)
    own_name = name or "capture"
    configure_logs(own_name)
    if metrics_port is None:
        metrics_port = settings.worker.metrics_port_base + len(registered.replicas) + 1
    _run(run_capture(settings, registered, open_secrets(settings), own_name, metrics_port))


@worker.command(name="all")
@errors_as_text()
def all_workers(project: ProjectOption = PROJECT_DEFAULT) -> None:
    """Run every worker of the project as a child process and restart those that end. Example: trueup worker all"""
    from trueup.runtime.supervisor import supervise  # noqa: PLC0415 - not needed by a single worker

    settings, registered = open_project(project)
    configure_logs("all")
    asyncio.run(supervise(settings, registered))
