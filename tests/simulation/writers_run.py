"""A run of a table with two writers. What must come of it is what an undisturbed worker makes of the same log.

That two writers end equal whatever they do is for tests/properties; here it is shown that no crash, no zombie and no
lost state makes another thing of what they did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tests.simulation import tables
from tests.simulation.database import Database
from tests.simulation.desk import newest_cases
from tests.simulation.director import Run
from tests.simulation.invariants import ApplyChecks, check_copy
from tests.simulation.log import SimulatedLog
from tests.simulation.source import Captured, Write
from tests.simulation.undisturbed import decided_undisturbed, newest, published
from tests.simulation.writers import Known, Writers
from trueup.model.registration import Table
from trueup.runtime.partition_memory import DECIDE_GROUP

Sides = list[tuple[str | None, tables.Row | None]]


class WritersRun(Run):
    """One seed."""

    def _registered(self) -> Table:
        return self.rng.choice(tables.SHARED)

    def _prepare(self) -> None:
        self._writers = Writers(self.rng, self.table, Known(self._accepted, self._decided))

    def _accepted(self, order_id: int) -> tables.Row | None:
        truth = newest(published(self.log)).get(tables.key_of(order_id))
        return None if truth is None else truth.row

    def _decided(self, partition: int) -> int:
        return self.log.committed.get((DECIDE_GROUP, self.table.capture_topic, partition), (0, ""))[0]

    def _captures(self) -> Mapping[str, Iterable[Write]]:
        return self._writers.captures()

    def _appended(self, write: Write, written: list[tuple[Captured, int]]) -> None:
        self._writers.appended(written)

    def _checks(self, database: Database) -> ApplyChecks:
        return ApplyChecks(self.log, database, lambda: None)

    def _compare(self) -> None:
        """Every truth is one of the undisturbed, and the newest of each key is the same."""
        undisturbed = decided_undisturbed(self.log, self.table)
        found, due = published(self.log), published(undisturbed)
        for truth in sorted(set(found) - set(due)):
            self.world.finding(f"published was {truth}, which nobody does who is not disturbed")
        accepted, must = newest(found), newest(due)
        for key in sorted(accepted.keys() | must.keys()):
            if accepted.get(key) != must.get(key):
                self.world.finding(f"{key.decode()} is {accepted.get(key)}, undisturbed {must.get(key)}")
        waiting, wait = self._waiting(self.log), self._waiting(undisturbed)
        for key in sorted(waiting.keys() | wait.keys()):
            if waiting.get(key) != wait.get(key):
                self.world.finding(f"the case of {key.decode()} is {waiting.get(key)}, undisturbed {wait.get(key)}")
        rows = {tables.order_id_of(key): truth.row for key, truth in accepted.items()}
        for database in self.databases.values():
            check_copy(self.log, database, rows)

    def _waiting(self, log: SimulatedLog) -> dict[bytes, Sides]:
        """What people are shown of the open cases, by key."""
        cases = newest_cases(log, self.table.cases_topic)
        return {
            key: [(side.origin, tables.row_of(side.row)) for side in case.sides]
            for key, case in cases.items()
            if case.is_open
        }
