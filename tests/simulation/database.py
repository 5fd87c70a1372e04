"""A replica's server: committed state, row locks of the progress rows, sessions that end, a crash that forgets.

What a statement does is `database_session`. The version fence and the deleted keys are switches here, so that a test
can take them away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from tests.simulation.schedule import World
from trueup.adapters import postgres_sql as sql
from trueup.model.decision import Outcome
from trueup.model.version import Version
from trueup.model.write import REPLICA_OUTCOMES, CopyPlan

IDLE_IN_TRANSACTION_S = 15.0
LOCK_TIMEOUT_S = 4.0


class Row(NamedTuple):
    """A row of the copy."""

    version: Version
    values: tuple[Any, ...]


class Mark(NamedTuple):
    """What a partition is as of: epoch and position of the beat, and the truncate it carried out last."""

    epoch: int
    position: int
    truncated: int = 0


class ProgressRow(NamedTuple):
    """trueup.progress of one partition."""

    token: int
    next_offset: int | None
    totals: tuple[int, ...]
    mark: Mark | None = None
    topic_identity: str | None = None

    def claimed(self, topic_identity: str) -> ProgressRow:
        """What a claim makes of it."""
        mark, kept = (None, None) if self.next_offset is None else (self.mark, self.topic_identity)
        return self._replace(token=self.token + 1, mark=mark, topic_identity=kept or topic_identity)


class Letter(NamedTuple):
    """trueup.dead_letters."""

    key: bytes
    version: Version
    superseded: bool


NO_PROGRESS = ProgressRow(0, None, (0,) * len(REPLICA_OUTCOMES))


class Tables(msgspec.Struct):
    """The tables. In a transaction the same, holding what it changed; None is a row that is gone.

    :ivar changes: by partition, how many rows were written or removed: what readers could have seen.
    """

    rows: dict[bytes, Row | None] = {}
    deleted: dict[bytes, Version | None] = {}
    progress: dict[tuple[str, int], ProgressRow] = {}
    letters: dict[tuple[str, int, int], Letter] = {}
    flags: dict[bytes, Version | None] = {}
    changes: int = 0

    def copy(self) -> Tables:
        return Tables(
            dict(self.rows),
            dict(self.deleted),
            dict(self.progress),
            dict(self.letters),
            dict(self.flags),
            self.changes,
        )

    def take(self, other: Tables) -> None:
        self.rows.update(other.rows)
        self.deleted.update(other.deleted)
        self.progress.update(other.progress)
        self.letters.update(other.letters)
        self.flags.update(other.flags)
        self.changes += other.changes


class Database:
    """One replica's server.

    :param refuses: a CHECK constraint of the copy, over its values.
    :ivar on_commit: told of every transaction that committed, with what it changed.
    """

    def __init__(
        self, world: World, plan: CopyPlan, refuses: Callable[[tuple[Any, ...]], bool], *, may_crash: bool
    ) -> None:
        self.world, self.plan, self.refuses = world, plan, refuses
        self.tables = Tables()
        self.is_fenced = True
        self.keeps_deleted_keys = True
        self.on_commit: Callable[[Database, Tables], None] = lambda _database, _changed: None
        self.on_crash: Callable[[Database], None] = lambda _: None
        self.sessions: list[Any] = []
        self.locks: dict[tuple[str, int], Any] = {}
        self.statements = {statement.encode(): name for name, statement in _statements(plan)}
        self._may_crash = may_crash
        self._unsynced: list[Tables] = []

    def lock(self, place: tuple[str, int], session: Any) -> bool:
        holder = self.locks.setdefault(place, session)
        if holder is not session:
            holder.end_if_idle()
            holder = self.locks.setdefault(place, session)
        return holder is session

    def unlock_all(self, session: Any) -> None:
        self.locks = {place: holder for place, holder in self.locks.items() if holder is not session}

    def commit(self, changed: Tables, *, synchronous: bool) -> None:
        if self._may_crash:
            self._unsynced = [] if synchronous else [*self._unsynced, self.tables.copy()]
        self.tables.take(changed)
        self.on_commit(self, changed)

    def forget_progress(self, place: tuple[str, int]) -> None:
        """The replica reads a partition anew: everything comes once more, and nothing of it may go back."""
        held = self.tables.progress.get(place)
        if held is not None:
            self.tables.changes -= held.totals[REPLICA_OUTCOMES.index(Outcome.APPLIED)]
            self.commit(Tables(progress={place: NO_PROGRESS._replace(token=held.token + 1)}), synchronous=True)

    def crash(self) -> None:
        """Restarted at once; commits since the latest synchronous one may be lost, in the order they were made."""
        for session in list(self.sessions):
            session.broken()
        if self._unsynced:
            self.tables = self.world.rng.choice(self._unsynced)
        self._unsynced = []
        self.world.note(self.plan.replica, "crash of the database")
        self.on_crash(self)


def _statements(plan: CopyPlan) -> list[tuple[str, str]]:
    statements = sql.batch_statements(plan)
    named = [(name, getattr(statements, name)) for name in statements.__struct_fields__]
    return [
        *named,
        ("claim", sql.CLAIM),
        ("lock", sql.LOCK),
        ("advance", sql.ADVANCE),
        ("advance_marked", sql.ADVANCE_MARKED),
        ("hold", sql.HOLD),
        ("recorded", sql.RECORDED),
        ("dead_letter", sql.DEAD_LETTER),
        ("open_dead_letters", sql.OPEN_DEAD_LETTERS),
    ]
