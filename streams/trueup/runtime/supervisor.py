"""`trueup worker all`: each worker a child process, started anew with backoff when it ends (demo and laptops)."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from typing import Final

import structlog

from trueup.model.registration import Project
from trueup.model.settings import Settings
from trueup.runtime.backoff import backoff_s

_RESTART_S_MAX: Final = 10.0
_HEALTHY_AFTER_S: Final = 30.0  # a child that lived so long starts its backoff anew
_REFUSED: Final = 2  # a command that cannot run will not be able to the next time either
_TERM_S_MAX: Final = 30.0

log = structlog.get_logger("trueup.supervisor")


async def supervise(settings: Settings, project: Project) -> None:
    """Until SIGTERM or SIGINT; then every child gets SIGTERM and 30 s."""
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    commands = {"decide": ["decide"], "capture": ["capture"]} | {
        f"apply-{r}": ["apply", r] for r in project.replicas if project.tables_copied_to(r)
    }
    children = [_keep_running(name, command, settings, stop) for name, command in commands.items()]
    await asyncio.gather(*children)


async def _keep_running(name: str, command: list[str], settings: Settings, stop: asyncio.Event) -> None:
    arguments = [sys.executable, "-m", "trueup.runtime.cli", "worker", *command, "--project", str(settings.project_dir)]
    failures = 1
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        started = loop.time()
        # start_new_session: a Ctrl-C of the terminal reaches the supervisor alone, which then drains its children.
        child = await asyncio.create_subprocess_exec(*arguments, start_new_session=True)
        ended, stopping = asyncio.create_task(child.wait()), asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            stopping.cancel()
            await _end(child, ended)
            return
        stopping.cancel()
        if child.returncode == _REFUSED:
            log.error("worker refuses to run", name=name)
            stop.set()
            return
        failures = 1 if loop.time() - started > _HEALTHY_AFTER_S else failures + 1
        delay_s = backoff_s(failures, _RESTART_S_MAX)
        log.warning("worker ended, starts anew", name=name, exit_code=child.returncode, in_s=delay_s)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), delay_s)


async def _end(child: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(ended), _TERM_S_MAX)
    except TimeoutError:
        child.kill()
        await ended
