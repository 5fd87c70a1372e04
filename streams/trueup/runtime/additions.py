"""Columns added at a source are taken over by themselves where the table's policy allows it (`evolve: additive`).

The decide worker has stopped the table at the first record that has the column; it may change nothing outside Kafka.
The capture worker looks at sources and registry already, so it is the one that carries out what `trueup apply` would do
for these tables: the column at the copies, the rows read again, the truth schema (`runtime.evolve_plan`). Everything
else that is to be applied waits for a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import structlog

from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.core.decode import EnvelopeDecoder
from trueup.core.evolution import column_changes
from trueup.core.truth_schema import captured_table, passed_ids
from trueup.model.errors import Refused, TrueUpError
from trueup.model.registration import Project, Table
from trueup.model.settings import Settings
from trueup.runtime.provision import Provisioner
from trueup.runtime.provision_steps import Fill, PutConnector, RegisterSchema, ReplicaSql, Step, WriteSchema
from trueup.runtime.truth_schema_file import read_truth_schema

_LOOK_S: Final = 5.0  # one request per table; a stopped table looks as often whether it may go on
_REFUSED_S: Final = 60.0  # a take-over that failed asks five systems: not again at once

log = structlog.get_logger("trueup.capture")


class Additions:
    """Looks for added columns again and again.

    :param take_over: carries out what has to be done for some tables.
    """

    def __init__(
        self,
        settings: Settings,
        tables: Iterable[Table],
        registry: SchemaRegistry,
        take_over: Callable[[Sequence[str]], None],
    ) -> None:
        self._settings, self._registry, self._take_over = settings, registry, take_over
        self._tables = [table for table in tables if table.evolve == "additive"]
        self._refusal: str | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_REFUSED_S if self._refusal else _LOOK_S)
            await self.look()

    async def look(self) -> None:
        """One look; a take-over that fails is a matter for people, who see the stopped table and the same hint."""
        try:
            if waiting := await asyncio.to_thread(self.waiting):
                await asyncio.to_thread(self._take_over, waiting)
                log.info("added columns taken over", tables=waiting)
        except TrueUpError as exc:
            if exc.primary != self._refusal:
                log.warning("added columns wait for trueup apply", error=exc.primary, detail=exc.detail, hint=exc.hint)
            self._refusal = exc.primary
        else:
            self._refusal = None

    def waiting(self) -> list[str]:
        """Tables whose newest captured records have more columns than are applied, and differ in nothing else."""
        return [table.table for table in self._tables if self._has_additions(table)]

    def _has_additions(self, table: Table) -> bool:
        newest = self._registry.latest(f"{table.capture_topic}-value")
        if newest is None:
            return False
        truth = read_truth_schema(self._settings, table.table)
        schema_id, schema = newest
        try:
            changes = column_changes(captured_table(truth), EnvelopeDecoder(schema).row_schema)
        except ValueError:
            return False
        return bool(changes) and changes.only_additions and schema_id not in passed_ids(truth)


def take_over(settings: Settings, project: Project, secrets: Secrets, tables: Sequence[str]) -> None:
    """What `trueup apply` would do for these tables. Raises whatever it raises, and Refused when more is to be applied:
    a connector that waits for other settings cannot say when it knows the column."""
    provisioner = Provisioner(settings, project, secrets)
    try:
        steps = provisioner.plan()
        if any(isinstance(step, PutConnector) for step in steps):
            raise Refused("registrations were changed and not applied", hint="run: trueup apply")
        provisioner.carry_out([step for step in steps if _concerns(step, tables)], lambda _: None, lambda _: None)
    finally:
        provisioner.close()


def _concerns(step: Step, tables: Sequence[str]) -> bool:
    match step:
        case WriteSchema() | Fill():
            return step.table in tables
        case RegisterSchema():
            return step.schema["trueup.table"] in tables
        case ReplicaSql():
            return True
        case _:
            return False
