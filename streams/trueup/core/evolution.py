"""The columns of a table change at its source while everything runs: what goes on, what stops, what is passed over.

A captured record names its schema; a schema is learned once. Its columns are the registered ones, or the table's policy
(`evolve`) says what that means. Whoever takes the change over is `trueup apply`, which writes a truth schema with the
columns as they are now and, in `trueup.passed`, the ids of all captured schemas that are older: what the log still
holds of them is decided without the columns it does not have, and the rows are read again (`runtime.evolve_plan`).
An id is that of a content, so it comes back when the source does: `trueup.passed_until` tells old from undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from trueup.core.authority import check_authority
from trueup.core.captured_defaults import loses_null
from trueup.core.captured_types import type_difference
from trueup.core.decode import EnvelopeDecoder, decode, epoch_of_headers, schema_ids
from trueup.core.truth_schema import avro_name
from trueup.core.validate import key_values
from trueup.model.columns import CapturedTable
from trueup.model.decision import Reject
from trueup.model.errors import SchemaChanged
from trueup.model.event import ChangeEvent, LogRecord
from trueup.model.registration import Evolve, Table

_KEY_CHANGED: Final = "KeyChanged"  # the error class of `core.validate`


class ColumnChanges(msgspec.Struct, frozen=True):
    """How the columns of a captured row differ from the registered ones. Names are Avro's.

    :param retyped: in words, by column.
    :param moved: columns that were dropped and added again: PostgreSQL puts them behind all others.
    :param defaulted: columns of which a null was written as the column's default (`core.captured_defaults`).
    """

    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    defaulted: tuple[str, ...] = ()

    @property
    def only_additions(self) -> bool:
        return not (self.gone or self.retyped or self.moved or self.defaulted)

    @property
    def without_additions(self) -> ColumnChanges:
        """What is left for whoever does not read the added columns."""
        left = tuple(name for name in self.defaulted if name not in self.added)
        return msgspec.structs.replace(self, added=(), defaulted=left)

    def __bool__(self) -> bool:
        return bool(self.added or self.gone or self.retyped or self.moved or self.defaulted)

    def __str__(self) -> str:
        parts = {
            "added": self.added,
            "gone": self.gone,
            "another type": self.retyped,
            "dropped and added again": self.moved,
            "null cannot be told from the default": self.defaulted,
        }
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def column_changes(registered: CapturedTable, row_schema: dict[str, Any]) -> ColumnChanges:
    """What changed between the registered columns and the row schema of an envelope."""
    fields = {field["name"]: field for field in row_schema["fields"]}
    columns = {avro_name(column.name): column for column in registered.columns}
    kept = [name for name in columns if name in fields]
    changed = (type_difference(columns[name], fields[name]) for name in kept)
    return ColumnChanges(
        added=tuple(name for name in fields if name not in columns),
        gone=tuple(name for name in columns if name not in fields),
        retyped=tuple(difference for difference in changed if difference is not None),
        moved=_moved(kept, [name for name in fields if name in columns]),
        defaulted=tuple(name for name, field in fields.items() if loses_null(field)),
    )


def _moved(before: list[str], after: list[str]) -> tuple[str, ...]:
    """The columns that stand further behind than they did: all from the first place on where the two orders differ."""
    if before == after:
        return ()
    moved, rest = [], list(before)
    for name in after:
        while rest and rest[0] != name and rest[0] in after[after.index(name) :]:
            moved.append(rest.pop(0))
        if rest and rest[0] == name:
            rest.pop(0)
    return tuple(moved)


def table_changes(registered: CapturedTable, now: CapturedTable) -> ColumnChanges:
    """The same between two states of a source table, as its catalog has them."""
    before, after = ({column.name: column for column in t.columns} for t in (registered, now))
    kept = [name for name in before if name in after]
    return ColumnChanges(
        added=tuple(name for name in after if name not in before),
        gone=tuple(name for name in before if name not in after),
        retyped=tuple(
            f"{name} was {before[name].pg_type} and is {after[name].pg_type}"
            for name in kept
            if (before[name].pg_type, before[name].kind) != (after[name].pg_type, after[name].kind)
        ),
        moved=_moved(kept, [name for name in after if name in before]),
    )


def goes_on(changes: ColumnChanges, policy: Evolve) -> bool:
    """Whether records with these columns are decided all the same."""
    return not (changes.without_additions if policy == "ignore" else changes)


def decoder_of(
    schema_id: int, schema: dict[str, Any], table: Table, registered: CapturedTable, passed: Iterable[int]
) -> EnvelopeDecoder:
    """The decoder of a captured schema.

    :param passed: ids of schemas that are older than the registered columns.
    :raises ValueError: the schema is no envelope.
    :raises SchemaChanged: the columns are not the registered ones and the policy does not let them pass.
    """
    decoder = EnvelopeDecoder(schema)
    changes = column_changes(registered, decoder.row_schema)
    if goes_on(changes, table.evolve):
        return decoder
    if schema_id in passed:
        return PassedDecoder(schema, registered)
    raise stopped(table, changes)


class PassedDecoder(EnvelopeDecoder):
    """Reads records of a schema that is older than the registered columns: a column they do not have, have as another
    type, or have with nulls turned into its default, is null, until the row is read again. A value is never taken for
    another one."""

    def __init__(self, writer: dict[str, Any], registered: CapturedTable) -> None:
        super().__init__(writer)
        fields = {field["name"]: field for field in self.row_schema["fields"]}
        columns = {avro_name(column.name): column for column in registered.columns}
        self._kept = {
            name: name in fields and type_difference(column, fields[name]) is None and not loses_null(fields[name])
            for name, column in columns.items()
        }

    def read(self, value: bytes) -> dict[str, Any]:
        """The envelope, its rows with exactly the registered columns."""
        envelope = super().read(value)
        return envelope | {"before": self._fitted(envelope["before"]), "after": self._fitted(envelope["after"])}

    def _fitted(self, row: dict[str, Any] | None) -> dict[str, Any] | None:
        if row is None:
            return None
        return {name: row[name] if kept else None for name, kept in self._kept.items()}


def changed_back(
    records: Iterable[LogRecord],
    decoders: Mapping[int, EnvelopeDecoder],
    table: Table,
    registered: CapturedTable,
    passed_until: Mapping[str, int],
) -> SchemaChanged | None:
    """Why the table stops when a change in an older schema was made after the registered columns were taken over.

    Rows of snapshots have no place in the log and replayed letters keep theirs: neither says that the source went back.

    :param passed_until: by system; one that is missing says nothing.
    """
    older = {schema_id: decoder for schema_id, decoder in decoders.items() if isinstance(decoder, PassedDecoder)}
    if not older:
        return None
    for record in records:
        for schema_id in schema_ids([record]) & older.keys():
            event = decode(record, older)
            if not isinstance(event, ChangeEvent) or event.position is None or event.replay_of is not None:
                continue
            known = passed_until.get(event.system, event.position.change)
            if event.position.change > known and check_authority(event, table) is None:
                why = stopped(table, column_changes(registered, older[schema_id].row_schema))
                again = f"; once the source has the registered columns again: trueup apply --reread {table.table}"
                return SchemaChanged(why.primary, detail=why.detail, hint=f"{why.hint}{again}")
    return None


def stopped(table: Table, changes: ColumnChanges) -> SchemaChanged:
    """Why the table stops, and how it goes on."""
    if changes.defaulted:
        columns = ", ".join(changes.defaulted)
        rebuild = "" if msgspec.structs.replace(changes, defaulted=()).only_additions else " --rebuild"
        hint = (
            f"let {columns} be NOT NULL there (ALTER TABLE {table.source.table} ALTER COLUMN ... SET NOT NULL) or have "
            f"no default (DROP DEFAULT), then run: trueup apply{rebuild}; the table goes on by itself"
        )
    elif changes.only_additions:
        hint = "run: trueup apply; it takes the new columns over, and the table goes on by itself"
    else:
        hint = "see what changed at the source, then take it over: trueup apply --rebuild; the table goes on by itself"
    return SchemaChanged(
        f'the columns of "{table.source.table}" changed at the source',
        detail=f"{changes} (evolve: {table.evolve})",
        hint=hint,
    )


def key_change(
    refused: Iterable[tuple[LogRecord, Reject]], table: Table, registered: CapturedTable, epoch: int
) -> SchemaChanged | None:
    """Whether the key changed at the source: then every record to come would be a dead letter, and a key of other
    columns says nothing about the rows that are held.

    A record with a key of columns the table does not have is a dead letter like others: it is not the connector's.

    :param refused: the dead letters of a batch.
    :param epoch: the partition's; what an earlier one says is over, so that `trueup resync` leads on.
    """
    columns = {avro_name(column.name) for column in registered.columns}
    for record, why in refused:
        if why.error_class != _KEY_CHANGED or epoch_of_headers(record) != epoch:
            continue
        if columns.issuperset(key_values(record.key or b"{}")):
            return SchemaChanged(
                f'the key of "{table.source.table}" changed at the source',
                detail=f"offset {record.offset} of partition {record.partition}: {why.reason}",
                hint=f"make ({', '.join(table.key)}) a key there again, NOT NULL and UNIQUE; "
                f"then: trueup resync {table.reference}",
            )
    return None
