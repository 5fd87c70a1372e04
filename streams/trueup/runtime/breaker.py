"""The breaker of a replica: while it is away one partition at a time asks whether it is back, the others wait.

Without it every partition of a worker would connect for itself, each with its own backoff: a replica that comes back is
met by all of them at once, and the last goes on when its own pause ends. Who waits holds nothing in memory: a partition
that is not ready is not fetched.

A replica that refuses (a lock, a full disk) is there: that concerns one partition, which has its own backoff.
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from trueup.model.errors import Unreachable
from trueup.runtime.backoff import backoff_s

_OPEN_S_MAX: Final = 5.0  # how long a replica is back before it is noticed; a probe is one connection


class State(enum.StrEnum):
    """`half_open`: one partition asks, or may ask."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Of one part, in one worker.

    :param part: as `Unreachable` names it.
    """

    def __init__(self, part: str) -> None:
        self.part = part
        self.state = State.CLOSED
        self.opened = 0
        self._failures = 0
        self._asking = False
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[asyncio.Future[None]] = deque()

    def concerns(self, exc: BaseException) -> bool:
        """Whether an error says that the part is away."""
        return isinstance(exc, Unreachable) and exc.part == self.part

    def failed(self) -> None:
        """The part did not answer. Opens it; while it is open, that is known already."""
        if self.state is State.OPEN:
            return
        if self.state is State.CLOSED:
            self.opened += 1
            self._failures = 0
        self._failures += 1
        self._pause()

    def answered(self) -> None:
        """The part answered: whoever waits goes on."""
        if self.state is State.CLOSED:
            return
        self.state, self._asking = State.CLOSED, False
        if self._timer is not None:
            self._timer.cancel()
        while self._waiting:
            _let_go(self._waiting.popleft())

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[None]:
        """Waits for its turn; what is done inside shows whether the part is there."""
        await self._turn()
        asks = self.state is State.HALF_OPEN
        try:
            yield
        except BaseException as exc:
            if self.concerns(exc):
                self.failed()
            elif asks:  # another part is away; or it was cancelled: revoked, or the worker ends
                self._give_up()
            raise
        self.answered()

    async def _turn(self) -> None:
        if self.state is State.CLOSED:
            return
        if self.state is State.HALF_OPEN and not self._asking:
            self._asking = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and self.state is State.HALF_OPEN:
                self._give_up()  # its turn had come
            raise

    def _give_up(self) -> None:
        """Who asked has no answer: the next one asks."""
        if self.state is State.HALF_OPEN and self._asking:
            self._pause()

    def _pause(self) -> None:
        self.state, self._asking = State.OPEN, False
        delay_s = backoff_s(self._failures, _OPEN_S_MAX)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._half_open)

    def _half_open(self) -> None:
        self.state = State.HALF_OPEN
        while self._waiting and not self._asking:
            turn = self._waiting.popleft()
            self._asking = _let_go(turn)


def _let_go(turn: asyncio.Future[None]) -> bool:
    """False when nobody waits there any more."""
    if turn.done():
        return False
    turn.set_result(None)
    return True
