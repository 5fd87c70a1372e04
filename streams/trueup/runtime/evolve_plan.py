"""The columns of an applied table changed at its source: what `trueup apply` does then, beside what it always does.

The registry is the witness of what was applied, and of every schema that was captured. The order is the guarantee: a
run that was killed after any step is completed by the next one.

    1. replicas: added columns          a truth record with the column meets a copy that has it
    2. the table is read again          rows nobody touched since have the default too; asked for before the schema, or
                                        a kill between the two would lose it
    3. truth schema: registry           refuses what readers of the topic could not read
    4. truth schema: project            the decide worker sees it, and goes on with the record it stopped at
    5. rebuilds of copies               where more than added columns changed, and `--rebuild` allows it
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from trueup.adapters.postgres_source import PostgresSource
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.core.decode import EnvelopeDecoder
from trueup.core.evolution import ColumnChanges, column_changes, goes_on, table_changes
from trueup.core.truth_schema import canonical_text, captured_table, passed_ids, passed_until, truth_schema
from trueup.model.columns import CapturedTable
from trueup.model.errors import SchemaChanged
from trueup.model.registration import Table
from trueup.runtime.provision_steps import RegisterSchema, Step, WriteSchema

# A reader with the newest schema can read every record of a compacted topic, whatever it was written with.
_TRUTH_COMPATIBILITY: Final = "BACKWARD_TRANSITIVE"


class Applied(msgspec.Struct, frozen=True):
    """What the registry has of a table.

    :param truth: the truth schema that was applied last; None: the table never was.
    :param captured: schemas of its capture topic by id.
    """

    truth: dict[str, Any] | None
    captured: Mapping[int, dict[str, Any]]

    def registered(self, now: CapturedTable, table: Table) -> CapturedTable:
        """The columns to register: those of the source, without what the policy ignores."""
        if self.truth is None or table.evolve != "ignore":
            return now
        known = {column.name for column in captured_table(self.truth).columns}
        columns = tuple(column for column in now.columns if column.name in known or column.name in table.key)
        return msgspec.structs.replace(now, columns=columns)

    def changes(self, columns: CapturedTable) -> ColumnChanges:
        """What changed since the table was applied."""
        return ColumnChanges() if self.truth is None else table_changes(captured_table(self.truth), columns)

    def schema(
        self, table: Table, columns: CapturedTable, log_ends: Mapping[str, int], *, reread: bool = False
    ) -> dict[str, Any]:
        """The truth schema of these columns; captured schemas that differ are older, for the source was asked later.

        :param log_ends: where the logs of systems ended, asked after the columns. They count when something changed:
            looking again would let pass what was changed back meanwhile.
        :param reread: they count in any case: the columns were others for a while, and the rows are read again.
        """
        passed = set() if self.truth is None else set(passed_ids(self.truth))
        passed |= {
            schema_id
            for schema_id, changes in self._captured_changes(columns).items()
            if not goes_on(changes, table.evolve)
        }
        until: dict[str, int] = {} if self.truth is None else passed_until(self.truth)
        if reread or self.truth is None or passed != passed_ids(self.truth) or self.changes(columns):
            until |= {system: log_ends[system] for system in table.systems if system in log_ends}
        return truth_schema(table, columns, passed, until)

    def loses_nulls(self, columns: CapturedTable) -> bool:
        """Whether schemas are passed for the first time whose values may stand for nulls: other values of theirs are
        not read either, so even a column that is null in every row now may have to be read again."""
        passed = frozenset() if self.truth is None else passed_ids(self.truth)
        return any(c.defaulted for schema_id, c in self._captured_changes(columns).items() if schema_id not in passed)

    def _captured_changes(self, columns: CapturedTable) -> dict[int, ColumnChanges]:
        found = {}
        for schema_id, schema in self.captured.items():
            try:
                found[schema_id] = column_changes(columns, EnvelopeDecoder(schema).row_schema)
            except ValueError:
                continue
        return found

    def evolved(self, table: Table, columns: CapturedTable) -> bool:
        """Whether the columns are others than the applied ones, or the log has older records than were known."""
        if self.truth is None:
            return False
        return bool(self.changes(columns)) or passed_ids(self.schema(table, columns, {})) != passed_ids(self.truth)

    def added(self, columns: CapturedTable) -> frozenset[str]:
        """Columns of the source that no truth record can have yet."""
        if self.truth is None:
            return frozenset()
        known = {column.name for column in captured_table(self.truth).columns}
        return frozenset(column.name for column in columns.columns if column.name not in known)


def look_at_applied(table: Table, registry: SchemaRegistry) -> Applied:
    """To be asked before the source's catalog: what is captured later is not older than that."""
    latest = registry.latest(f"{table.truth_topic}-value")
    ids = registry.ids_of(f"{table.capture_topic}-value")
    captured = {schema_id: registry.schema_by_id(schema_id) for schema_id in ids}
    return Applied(truth=None if latest is None else latest[1], captured=captured)


def must_be_read_again(table: Table, applied: Applied, columns: CapturedTable, source: PostgresSource) -> bool:
    """Whether rows have values the log did not bring: all but a column that was added and is null everywhere."""
    changes = applied.changes(columns)
    if not changes or not changes.only_additions or applied.loses_nulls(columns):
        return True
    return source.has_values(table.source.schema_name, table.source.table_name, sorted(applied.added(columns)))


def schema_steps(table: Table, schema: dict[str, Any], path: Path, registry: SchemaRegistry) -> list[Step]:
    """The registry first: a worker that starts refuses a schema of the project that is not registered.

    :param path: of the schema in the project.
    :raises SchemaChanged: before anything is changed: the truth topic holds records the new schema could not read.
    """
    subject = f"{table.truth_topic}-value"
    steps: list[Step] = []
    known = registry.id_of(subject, schema) is not None
    if not known and (problem := registry.incompatibility(subject, schema)) is not None:
        raise SchemaChanged(
            f'the columns of "{table.source.table}" changed in a way the truth of table "{table.table}" cannot follow',
            detail=problem,
            hint="give the column its former type back at the source; or keep the new one under another name, as an "
            "added column; or register the table under a new name, which begins a new truth topic",
        )
    if not known or registry.compatibility(subject) != _TRUTH_COMPATIBILITY:
        steps.append(RegisterSchema(subject=subject, schema=schema, compatibility=_TRUTH_COMPATIBILITY))
    if not path.exists() or path.read_text(encoding="utf-8") != canonical_text(schema):
        steps.append(WriteSchema(table=table.table, path=path, schema=schema))
    return steps
