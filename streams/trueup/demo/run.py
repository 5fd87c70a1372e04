"""`trueup demo`: brings the stack up, lets the performance happen, tells what came of it, takes all down.

The acts are in performance.py.
"""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import msgspec
import psycopg
import typer
from rich.console import Console

from trueup.demo.folder import DemoFolder
from trueup.demo.options import DemoOptions
from trueup.demo.performance import Performance
from trueup.demo.progress import Steps
from trueup.demo.summary import (
    Summary,
    copies_view,
    negative_order_view,
    stdout_console,
    story_view,
    summary_view,
)
from trueup.demo.summing_up import sum_up
from trueup.demo.waiting import CannotGoOn
from trueup.demo.workers import stop_left_behind
from trueup.model.errors import Refused
from trueup.stack.local_stack import LocalStack
from trueup.stack.progress import StackProgress
from trueup.stack.settings import LOOPBACK, prometheus_port

_SEED_BITS = 32
_MARK = "made-by-trueup-demo"  # a folder without it is not the demo's, and is not removed
_EXIT_SIGTERM = 128 + signal.SIGTERM


def demo(options: DemoOptions) -> bool:
    """The whole pipeline on live databases, with kills and a proof. Return whether everything held.

    1. remove what a former demo left; bring up a stack of its own;
    2. perform; a failure is a promise not held, not the end of the report;
    3. tell;
    4. stop everything, unless asked to keep it; remove the state if everything held.
    """
    seed = secrets.randbits(_SEED_BITS) if options.seed is None else options.seed
    folder = DemoFolder(options.state_dir, options.port_base, observe=options.observe)
    steps = Steps(Console(stderr=True))
    summary: Summary | None = None
    performance: Performance | None = None
    with _sigterm_as_exit():
        try:
            _bring_up(folder, steps)  # 1
            steps.say(f"seed of the writers: {seed}")
            performance = Performance(
                folder, steps, seconds=options.seconds, rows=options.rows, rate=options.rate, seed=seed
            )
            try:
                performance.perform()  # 2
            except (CannotGoOn, psycopg.Error) as error:
                performance.checks.add("the demo came to its end", False, f"{type(error).__name__}: {error}")
            summary = sum_up(performance, seed=seed, seconds=steps.seconds)
            _tell(performance, summary, as_json=options.json)  # 3
        finally:
            held = summary is not None and summary.held
            _leave(folder, performance, steps, options, remove=held)  # 4
    if not summary.held:
        for check in performance.checks.failed:
            steps.say(f"not held: {check.claim}")
        steps.say(f"logs are in {folder.log_dir} and {folder.stack.state_dir / 'logs'}")
    return summary.held


def _bring_up(folder: DemoFolder, steps: Steps) -> None:
    """Clear the folder and start the stack."""
    state_dir = folder.state_dir
    if state_dir.exists() and any(state_dir.iterdir()):
        if not (state_dir / _MARK).exists():
            msg = f'folder "{state_dir}" is not empty and was not made by trueup demo'
            raise Refused(msg, hint="name another one: --state-dir DIR")
        steps.say("removing what a former demo left")
        _remove(folder)
    state_dir.mkdir(parents=True, exist_ok=True)
    (state_dir / _MARK).touch()
    prometheus = ", Prometheus" if folder.observed is not None else ""
    steps.say(f"the stack: Kafka, Kafka Connect, registry, three Postgres servers{prometheus}")
    with StackProgress(steps.console) as progress:
        LocalStack(folder.stack).up(progress)


def _remove(folder: DemoFolder) -> None:
    """Stop what still runs and remove all state."""
    stop_left_behind(folder.state_dir)
    if LocalStack.exists_at(folder.stack.state_dir):
        LocalStack.at(folder.stack.state_dir).down(purge=True)
    shutil.rmtree(folder.state_dir)


def _tell(performance: Performance, summary: Summary, *, as_json: bool) -> None:
    """Write to stdout."""
    if as_json:
        parts = {
            "held": summary.held,
            "summary": summary,
            "story": performance.story,
            "negative_order": performance.negative_order,
            "copies": performance.status.tables if performance.status else [],
            "verify": performance.verification.results if performance.verification else [],
        }
        typer.echo(msgspec.json.format(msgspec.json.encode(parts)).decode())
        return
    console = stdout_console()
    if performance.refusal is not None:
        console.rule("a table without a key")
        console.print(performance.refusal, markup=False)
    if performance.negative_order is not None:
        console.print(negative_order_view(performance.negative_order))
    if performance.story is not None:
        console.print(story_view(performance.story))
    if performance.status is not None and performance.verification is not None:
        console.print(copies_view(performance.status, performance.verification))
    console.print(summary_view(summary))


def _leave(
    folder: DemoFolder, performance: Performance | None, steps: Steps, options: DemoOptions, *, remove: bool
) -> None:
    """Stop everything, or say what goes on running."""
    if performance is not None:
        performance.close()
    if options.keep and performance is not None:
        performance.workers.release()
        _say_how_to_go_on(folder, performance, as_json=options.json)
        return
    steps.say("stopping")
    if performance is not None:
        performance.workers.stop()
    if remove:
        _remove(folder)
    elif LocalStack.exists_at(folder.stack.state_dir):
        LocalStack.at(folder.stack.state_dir).down()


def _say_how_to_go_on(folder: DemoFolder, performance: Performance, *, as_json: bool) -> None:
    """Name addresses, and commands to try; on stderr where JSON alone is on stdout."""
    addresses = LocalStack(folder.stack).addresses()
    lines = [
        f"Kafka     {addresses.bootstrap_servers}",
        f"Connect   {addresses.connect_url}",
        f"registry  {addresses.registry_url}",
        *(f'{name:<9} psql "${name.upper()}_DSN"' for name in addresses.databases),
        *([f"metrics   http://{LOOPBACK}:{prometheus_port(folder.stack)}"] if folder.observed is not None else []),
        *(f"worker    {command}" for command in performance.workers.commands().values()),
        "",
        f"cd {folder.project_dir}; set -a; . {folder.stack.state_dir / 'stack.env'}; set +a",
        "trueup status --watch",
        "trueup authority",
        "trueup deadletters list",
        "trueup verify orders",
        f"kill {' '.join(map(str, performance.workers.pids()))}   # the workers, when you have seen enough",
        "trueup stack down --purge",
    ]
    typer.echo("\n".join(lines), err=as_json)


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that what was started is stopped."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(_EXIT_SIGTERM)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
