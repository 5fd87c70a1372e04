"""Live load by the owners of the data: a thread per system that commits transactions at a steady pace.

The seed decides which transactions come in which order. What they do: shop_writer.py, warehouse_writer.py.
"""

from __future__ import annotations

import abc
import random
import threading
import time
from collections.abc import Callable, Sequence

import psycopg

from trueup.demo.ledger import Ledger

ROLLED_BACK = "rolled back"  # the reason that rows of rolled-back transactions carry; no copy may ever show it
_STATEMENT_TIMEOUT_MS = 10_000  # a writer that hangs is a failure to be shown, not waited for

Cursor = psycopg.Cursor[tuple[object, ...]]
Changes = dict[str, int]
Action = Callable[[Cursor], Changes]


class Writer(threading.Thread, abc.ABC):
    """Commits transactions until stopped. A failure ends it and is kept for whoever asks."""

    def __init__(self, name: str, dsn: str, ledger: Ledger, *, seed: str, changes_per_s: float) -> None:
        super().__init__(name=f"writer-{name}", daemon=True)
        self.random = random.Random(seed)  # noqa: S311 - chance that can be repeated is what is wanted
        self.rolled_back = 0
        self.failure: Exception | None = None
        self._dsn = dsn
        self._ledger = ledger
        self._changes_per_s = changes_per_s
        self._stopped = threading.Event()

    @abc.abstractmethod
    def actions(self) -> Sequence[tuple[int, Action]]:
        """Return kinds of transactions, with weights. An action that returns no changes has rolled back."""

    def run(self) -> None:
        """Commit, count, pause."""
        weights, actions = zip(*self.actions(), strict=True)
        options = f"-c statement_timeout={_STATEMENT_TIMEOUT_MS}"
        try:
            with psycopg.connect(self._dsn, autocommit=True, options=options) as connection:
                due = time.monotonic()
                while not self._stopped.wait(max(0.0, due - time.monotonic())):
                    (action,) = self.random.choices(actions, weights)
                    due += max(1, self._commit(connection, action)) / self._changes_per_s
        except psycopg.Error as error:
            self.failure = error

    def stop(self) -> None:
        """End after the present transaction, and raise what went wrong."""
        self._stopped.set()
        self.join(2 * _STATEMENT_TIMEOUT_MS / 1000)
        if self.failure is not None:
            raise self.failure

    def _commit(self, connection: psycopg.Connection[tuple[object, ...]], action: Action) -> int:
        """Run one transaction. Return how many changes it made durable."""
        changes: Changes = {}
        with connection.transaction(), connection.cursor() as cursor:
            changes = action(cursor)
            if not changes:
                raise psycopg.Rollback
        self.rolled_back += not changes
        self._ledger.add(changes)
        return sum(changes.values())


class Ids:
    """Identifiers of rows that exist, to take one of at random."""

    def __init__(self, generator: random.Random, known: range) -> None:
        self._random = generator
        self._known = list(known)

    def add(self, new: int) -> None:
        """Remember a new one."""
        self._known.append(new)

    def any(self) -> int:
        """Return one."""
        return self._random.choice(self._known)

    def take(self) -> int:
        """Return one and forget it."""
        place = self._random.randrange(len(self._known))
        self._known[place], self._known[-1] = self._known[-1], self._known[place]
        return self._known.pop()
