"""A run of a table with two writers. What must come of it is what an undisturbed worker makes of the same log.

That two writers end equal whatever they do is for tests/properties; here it is shown that no crash, no zombie and no
lost state makes another thing of what they did.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.simulation import tables
from tests.simulation.database import Database
from tests.simulation.director import Run
from tests.simulation.invariants import ApplyChecks, check_copy
from tests.simulation.source import Write
from tests.simulation.undisturbed import decided_undisturbed, open_cases, published
from tests.simulation.writers import Writers
from trueup.model.case import Case
from trueup.model.registration import Table


class WritersRun(Run):
    """One seed."""

    def _registered(self) -> Table:
        return self.rng.choice(tables.SHARED)

    def _prepare(self) -> None:
        self._writers = Writers(self.rng, self.table, lambda order_id: published(self.log).get(tables.key_of(order_id)))

    def _writes(self) -> Iterable[Write]:
        return self._writers.capture()

    def _checks(self, database: Database) -> ApplyChecks:
        return ApplyChecks(self.log, database, lambda: None)

    def _compare(self) -> None:
        undisturbed = decided_undisturbed(self.log, self.table)
        accepted, must = published(self.log), published(undisturbed)
        for key in sorted(accepted.keys() | must.keys()):
            if accepted.get(key) != must.get(key):
                self.world.finding(f"{key.decode()} is {accepted.get(key)}, undisturbed {must.get(key)}")
        found, waiting = open_cases(self.log, self.table), open_cases(undisturbed, self.table)
        for key in sorted(found.keys() | waiting.keys()):
            if _sides(found.get(key)) != _sides(waiting.get(key)):
                self.world.finding(f"the case of {key.decode()} is {found.get(key)}, undisturbed {waiting.get(key)}")
        rows = {int(key.removeprefix(b'{"order_id":').removesuffix(b"}")): row for key, row in accepted.items()}
        for database in self.databases.values():
            check_copy(self.log, database, rows)


def _sides(case: Case | None) -> list[tuple[str | None, object]]:
    """What a person is shown."""
    return [] if case is None else [(side.origin, side.row) for side in case.sides]
