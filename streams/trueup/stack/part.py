"""What every part of the stack can be asked, and how one is brought up. The parts: postgres, kafka, ..."""

from __future__ import annotations

import signal
import socket
import time
from functools import cache
from typing import Protocol

import httpx

from trueup.model.errors import PartFailed
from trueup.stack.process import Launch, ServerProcess
from trueup.stack.settings import LOOPBACK

_READY_POLL_S = 0.1  # a look costs a local request; servers take seconds
_ANSWER_WITHIN_S = 2.0


class Part(Protocol):
    """A server of the stack. Everything it knows follows from the settings; nothing is kept in memory."""

    @property
    def name(self) -> str:
        """Name in commands, files and messages: `postgres-shop`, `kafka-1`, `connect`, `registry`."""

    @property
    def process(self) -> ServerProcess:
        """Its process, running or not."""

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports it listens on."""

    @property
    def stop_signal(self) -> signal.Signals:
        """What asks it to end in good order."""

    def prepare(self) -> Launch:
        """Make folders, files and first-time state, and return how to start. Safe to repeat."""

    def is_ready(self) -> bool:
        """Tell whether it does its work now. Returns quickly, never raises for a server that is not up."""

    def finish(self) -> None:
        """Do what needs the running server (roles, databases). Safe to repeat."""


def start(part: Part, timeout_s: float) -> None:
    """Bring a part up and wait until it works.

    1. leave it alone if it runs and answers;
    2. refuse if a port is taken;
    3. prepare, spawn;
    4. wait until it answers, dies, or the deadline passes;
    5. finish.
    """
    deadline = time.monotonic() + timeout_s
    log_start = part.process.log_size()
    if part.process.pid() is None:  # 1
        for port in part.ports:  # 2
            if _port_taken(port):
                raise PartFailed(
                    part.name,
                    detail=f"port {port} of {LOOPBACK} is taken by another program",
                    hint=f"end the program that listens on port {port}, or choose another port base",
                )
        launch = part.prepare()  # 3
        part.process.spawn(launch)
    while not part.is_ready():  # 4
        if part.process.pid() is None:
            raise _failure(part, "its process ended while starting", log_start)
        if time.monotonic() >= deadline:
            part.process.kill()
            raise _failure(part, f"it did not answer within {timeout_s:g} s", log_start)
        time.sleep(_READY_POLL_S)
    part.finish()  # 5


def _failure(part: Part, reason: str, log_start: int) -> PartFailed:
    """Describe a part that did not start, with the end of what it wrote since then."""
    tail = part.process.log_tail(since=log_start) or "(nothing was logged)"
    return PartFailed(
        part.name, detail=f"{reason}; end of its log:\n{tail}", hint=f"whole log: {part.process.log_file}"
    )


def replies(port: int, path: str, method: str = "GET") -> bool:
    """Tell whether a server on a loopback port does what is requested, now."""
    try:
        return _client().request(method, f"http://{LOOPBACK}:{port}{path}").is_success
    except httpx.HTTPError:
        return False


@cache
def _client() -> httpx.Client:
    """One for all looks: making one loads the system's certificates, which costs more than the look."""
    return httpx.Client(timeout=_ANSWER_WITHIN_S, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))


def _port_taken(port: int) -> bool:
    """Tell whether a port cannot be bound on the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def answers(port: int) -> bool:
    """Tell whether something accepts connections on a loopback port."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0):
            return True
    except OSError:
        return False
