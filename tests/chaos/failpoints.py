"""A real worker with one fault planted at one point: `python -m tests.chaos.failpoints POINT SEED worker decide ...`.

The product has no hook for this: one function is patched here, then the worker's own main runs. A worker dies, or
raises, at the nth time it passes the point; n is drawn anew for each process, so that it gets on between two deaths.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from trueup.adapters.postgres_replica import PostgresReplica
from trueup.runtime import apply_agent, cli, decide_agent
from trueup.runtime.decide_agent import DecideHandler
from trueup.runtime.truth_table import TruthTable

PASSES_MAX = 12
PLANTED = "a planted programming error"


class Fuse:
    """Says whether this pass is the last one."""

    def __init__(self, seed: str) -> None:
        self._left = random.Random(f"{seed}/{os.getpid()}").randint(2, PASSES_MAX)

    def burns(self) -> bool:
        self._left -= 1
        return self._left == 0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _dies_after(owner: type, name: str, fuse: Fuse) -> None:
    """The process is gone when a coroutine function has done its work."""
    original = getattr(owner, name)

    async def patched(*args: Any, **kwargs: Any) -> Any:
        result = await original(*args, **kwargs)
        if fuse.burns():
            _die()
        return result

    setattr(owner, name, patched)


def _raises_in(module: Any, name: str, fuse: Fuse) -> None:
    original = getattr(module, name)

    def patched(*args: Any, **kwargs: Any) -> Any:
        if fuse.burns():
            raise TypeError(PLANTED)
        return original(*args, **kwargs)

    setattr(module, name, patched)


def applied(fuse: Fuse) -> None:
    """F-02: the replica has committed; the worker does not know yet."""
    _dies_after(PostgresReplica, "apply", fuse)


def offset_sent(fuse: Fuse) -> None:
    """F-03: the offset is in the transaction, and the transaction is open."""
    _dies_after(AIOKafkaProducer, "send_offsets_to_transaction", fuse)


def committed(fuse: Fuse) -> None:
    """F-03: the transaction is committed; the local store does not follow any more."""
    _dies_after(AIOKafkaProducer, "commit_transaction", fuse)


def stored(fuse: Fuse) -> None:
    """F-21: the local store is written; the worker does not get to the next batch."""
    original = TruthTable.put_many

    def patched(self: TruthTable, *args: Any) -> None:
        original(self, *args)
        if fuse.burns():
            _die()

    TruthTable.put_many = patched  # type: ignore[method-assign, assignment]


def decide_raises(fuse: Fuse) -> None:
    """F-04: a programming error while a batch is decided."""
    _raises_in(decide_agent, "decide_batch", fuse)


def apply_raises(fuse: Fuse) -> None:
    """F-04: a programming error while a batch is applied."""
    _raises_in(apply_agent, "reduce_batch", fuse)


def blocked(fuse: Fuse) -> None:
    """F-26: a batch waits for ever, for something that never comes."""
    original = DecideHandler.process

    async def patched(self: DecideHandler, batch: Any) -> None:
        if fuse.burns():
            await asyncio.Event().wait()
        await original(self, batch)

    DecideHandler.process = patched  # type: ignore[method-assign]


POINTS: dict[str, Callable[[Fuse], None]] = {
    point.__name__.replace("_", "-"): point
    for point in (applied, offset_sent, committed, stored, decide_raises, apply_raises, blocked)
}


def python_arguments(point: Callable[[Fuse], None], seed: str) -> tuple[str, ...]:
    """What Python is started with instead of the worker's own module."""
    return ("-P", str(Path(__file__)), point.__name__.replace("_", "-"), seed)


def main() -> None:
    """Arm the point, then be the worker."""
    point, seed, *arguments = sys.argv[1:]
    POINTS[point](Fuse(seed))
    sys.argv = ["trueup", *arguments]
    cli.main()


if __name__ == "__main__":
    main()
