"""The statements that prepare a source for capture, as text. No I/O: `adapters.postgres_source` sends them.

Each may be repeated: a run that was killed is completed by the next. Names come from the registration.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from trueup.adapters.postgres_sql import literal, quoted
from trueup.model.source_table import Filling, Privilege, Publication, ResyncNote, SourceServer, SourceState

SCHEMA: Final = "trueup"
HEARTBEAT: Final = (SCHEMA, "heartbeat")
FILLS: Final = (SCHEMA, "fills")
SIGNAL: Final = (SCHEMA, "signal")
Name = tuple[str, str]

# Columns that came later. Of a project that is older, every table is taken for filled: nobody can tell any more.
_LATER_COLUMNS: Final = {
    ("heartbeat", "filled"): "text",
    ("fills", "filling"): "boolean NOT NULL DEFAULT false",
    ("fills", "notified_from"): "bigint NOT NULL DEFAULT 0",
    ("fills", "source"): "text NOT NULL DEFAULT ''",
}


def _later(table: str) -> str:
    return ", ".join(f"{column} {pg_type}" for (of, column), pg_type in _LATER_COLUMNS.items() if of == table)


_OWN_TABLES: Final = {
    # A row per system. `beat` counts, `config` names the settings of the connector that wrote it, `filled` the
    # registered tables of which all rows that were there before had been read by then (null: an older query wrote it).
    "heartbeat": (
        "CREATE TABLE IF NOT EXISTS trueup.heartbeat (system text PRIMARY KEY, "
        "beat bigint NOT NULL DEFAULT 0, beaten_at timestamptz NOT NULL DEFAULT now(), config text, "
        f"{_later('heartbeat')})"
    ),
    # Debezium's layout: its channel for requests, and the watermarks of incremental snapshots.
    "signal": ("CREATE TABLE IF NOT EXISTS trueup.signal (id text PRIMARY KEY, type text NOT NULL, data text)"),
    # For which tables existing rows were asked, and how: by the first snapshot or by a signal. `filling` until the
    # incremental snapshot was seen complete, in notifications that begin at `notified_from` (`runtime.filling_watch`).
    "fills": (
        "CREATE TABLE IF NOT EXISTS trueup.fills (system text, table_name text, epoch bigint NOT NULL, "
        "how text NOT NULL CHECK (how IN ('initial', 'incremental')), signal_id text, "
        f"requested_at timestamptz NOT NULL DEFAULT now(), {_later('fills')}, PRIMARY KEY (system, table_name))"
    ),
    # How far the last resync is, so that a killed one is completed and not begun anew.
    "resyncs": (
        "CREATE TABLE IF NOT EXISTS trueup.resyncs (system text PRIMARY KEY, epoch bigint NOT NULL, "
        "stage text NOT NULL CHECK (stage IN ('begun', 'snapshot', 'sweep', 'done')), "
        "heartbeat_from bigint NOT NULL DEFAULT 0, noted_at timestamptz NOT NULL DEFAULT now())"
    ),
}


def privileges(server: SourceServer, tables: Iterable[Name]) -> list[Privilege]:
    """What the capture role needs, and no more."""
    tables = sorted(tables)
    schemas = sorted({schema for schema, _ in tables} | {SCHEMA})
    return [
        Privilege(right="CONNECT", kind="DATABASE", name=(server.database,)),
        *(Privilege(right="USAGE", kind="SCHEMA", name=(schema,)) for schema in schemas),
        *(Privilege(right="SELECT", kind="TABLE", name=name) for name in tables),
        *(Privilege(right=right, kind="TABLE", name=HEARTBEAT) for right in ("SELECT", "UPDATE")),
        Privilege(right="SELECT", kind="TABLE", name=FILLS),  # each heartbeat says which tables are filled
        *(Privilege(right=right, kind="TABLE", name=SIGNAL) for right in ("SELECT", "INSERT", "DELETE")),
    ]


def own_schema(system: str, state: SourceState) -> list[str]:
    """Schema trueup with its tables."""
    statements = [] if state.schema else [f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"]
    statements += [statement for name, statement in _OWN_TABLES.items() if name not in state.tables]
    statements += [
        f"ALTER TABLE {_name((SCHEMA, table))} ADD COLUMN IF NOT EXISTS {column} {pg_type}"
        for (table, column), pg_type in _LATER_COLUMNS.items()
        if table in state.tables and (table, column) not in state.columns
    ]
    if not state.heartbeat_row:
        row = f"INSERT INTO trueup.heartbeat (system) VALUES ({literal(system)}) ON CONFLICT DO NOTHING"
        statements.append(row)
    return statements


def grant(role: str, missing: Iterable[Privilege]) -> list[str]:
    """The rights a role lacks."""
    ordered = sorted(missing, key=lambda p: (p.kind, p.name, p.right))
    return [f"GRANT {p.right} ON {p.kind} {'.'.join(map(quoted, p.name))} TO {quoted(role)}" for p in ordered]


def full_identity(schema: str, table: str) -> str:
    """Let the log carry whole rows of a table."""
    return f"ALTER TABLE {_name((schema, table))} REPLICA IDENTITY FULL"


def publish(name: str, tables: Iterable[Name], found: Publication | None, server: SourceServer) -> list[str]:
    """Make the publication carry at least these tables, heartbeat and signals included, and whole."""
    wanted = {*tables, HEARTBEAT, SIGNAL}
    options = {"publish": "'insert, update, delete, truncate'", "publish_via_partition_root": "true"}
    if server.publishes_generated:
        options["publish_generated_columns"] = "stored"
    settings = ", ".join(f"{key} = {value}" for key, value in options.items())
    if found is None:
        listed = ", ".join(_name(table) for table in sorted(wanted))
        return [f"CREATE PUBLICATION {quoted(name)} FOR TABLE {listed} WITH ({settings})"]
    statements = []
    if not (found.complete and found.via_root and found.generated >= server.publishes_generated):
        statements.append(f"ALTER PUBLICATION {quoted(name)} SET ({settings})")
    if added := sorted(wanted - found.tables):
        listed = ", ".join(_name(table) for table in added)
        statements.append(f"ALTER PUBLICATION {quoted(name)} ADD TABLE {listed}")
    return statements


def unpublish(name: str, tables: Iterable[Name], found: Publication | None) -> list[str]:
    """Take tables that are no longer registered out of the publication."""
    if found is None or not (gone := sorted(found.tables - {*tables, HEARTBEAT, SIGNAL})):
        return []
    return [f"ALTER PUBLICATION {quoted(name)} DROP TABLE {', '.join(_name(table) for table in gone)}"]


def fill_by_first_snapshot(system: str, tables: Iterable[str], epoch: int) -> str:
    """Note that the connector's first snapshot brings the rows of these registered tables."""
    rows = ", ".join(f"({literal(system)}, {literal(table)}, {epoch}, 'initial')" for table in sorted(tables))
    return f"INSERT INTO trueup.fills (system, table_name, epoch, how) VALUES {rows} {_AGAIN}"


def fill_by_signal(system: str, table: str, source: Name, epoch: int, digest: str) -> list[str]:
    """Ask the running connector for the rows of a table, and note it; to be run in one transaction.

    Until `note_filled` no heartbeat says that the table is filled. `note_asked_at` belongs to the transaction, too.

    :param digest: what tells this request from an earlier one: that of the connector's settings.
    """
    signal_id = _signal_id(table, epoch, digest)
    return [
        snapshot_again(signal_id, source, None),
        "INSERT INTO trueup.fills (system, table_name, epoch, how, signal_id, filling, source) VALUES "
        f"({literal(system)}, {literal(table)}, {epoch}, 'incremental', {literal(signal_id)}, true, "
        f"{literal('.'.join(source))}) {_AGAIN}",
    ]


def note_asked_at(system: str, table: str, notified_from: int) -> str:
    """Note where the notifications began before the rows of a table were asked for."""
    return (
        f"UPDATE trueup.fills SET notified_from = {notified_from} "
        f"WHERE system = {literal(system)} AND table_name = {literal(table)}"
    )


def ask_again(system: str, filling: Filling, attempt: str, notified_from: int) -> str:
    """Ask for the rows of a table that could not be read; nothing if there was another request meanwhile, or a resync.

    :param attempt: drawn anew: an id that was used is refused.
    """
    signal_id = literal(_signal_id(filling.table, filling.epoch, attempt))
    schema, table = filling.source.split(".", 1)
    data = literal(json.dumps(_incremental((schema, table))))
    return (
        f"WITH asked AS (UPDATE trueup.fills SET signal_id = {signal_id}, notified_from = {notified_from}, "
        f"requested_at = now() WHERE system = {literal(system)} AND table_name = {literal(filling.table)} "
        f"AND signal_id = {literal(filling.signal_id)} AND filling RETURNING signal_id) "
        f"INSERT INTO trueup.signal (id, type, data) SELECT signal_id, 'execute-snapshot', {data} FROM asked"
    )


def note_filled(system: str, table: str, signal_id: str) -> str:
    """Note that all rows a request was for are in Kafka; nothing is changed when there is another request meanwhile."""
    return (
        f"UPDATE trueup.fills SET filling = false WHERE system = {literal(system)} "
        f"AND table_name = {literal(table)} AND signal_id = {literal(signal_id)}"
    )


def note_resync(system: str, note: ResyncNote) -> str:
    """Note how far a resync is."""
    return (
        "INSERT INTO trueup.resyncs (system, epoch, stage, heartbeat_from) VALUES "
        f"({literal(system)}, {note.epoch}, {literal(note.stage)}, {note.heartbeat_from}) "
        "ON CONFLICT (system) DO UPDATE SET epoch = excluded.epoch, stage = excluded.stage, "
        "heartbeat_from = excluded.heartbeat_from, noted_at = now()"
    )


def drop_slot(name: str) -> str:
    """Drop a slot nobody reads."""
    return f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {literal(name)}"


def snapshot_again(signal_id: str, source: Name, key: Mapping[str, str | bytes] | None) -> str:
    """Ask the running connector for the rows of a table, or for one row, without a new epoch.

    :param key: column to value, as text that PostgreSQL reads as the column's type, or as bytes. Of a value that it
        cannot read nobody hears: Debezium passes over the request.
    """
    data = _incremental(source)
    if key is not None:
        row = " AND ".join(f"{quoted(column)} = {_constant(value)}" for column, value in sorted(key.items()))
        data["additional-conditions"] = [{"data-collection": _pattern(source), "filter": row}]
    return (
        "INSERT INTO trueup.signal (id, type, data) VALUES "
        f"({literal(signal_id)}, 'execute-snapshot', {literal(json.dumps(data))})"
    )


def forget_fills(system: str, tables: Iterable[str]) -> list[str]:
    """Tables that are no longer registered: were they registered anew, they would be filled anew."""
    owned = f"system = {literal(system)}"
    statements = []
    for table in sorted(tables):
        signals = literal(f"fill-{table}-")
        statements.append(f"DELETE FROM trueup.signal WHERE starts_with(id, {signals})")
        statements.append(f"DELETE FROM trueup.fills WHERE {owned} AND table_name = {literal(table)}")
    return statements


def _incremental(source: Name) -> dict[str, Any]:
    """What a signal says: read all rows of a table."""
    return {"type": "incremental", "data-collections": [_pattern(source)]}


def _signal_id(table: str, epoch: int, digest: str) -> str:
    """Derived, not drawn: when two runs ask at once, the second is refused by the primary key."""
    return f"fill-{table}-{epoch}-{digest}"


_AGAIN: Final = (
    "ON CONFLICT (system, table_name) DO UPDATE SET epoch = excluded.epoch, how = excluded.how, "
    "signal_id = excluded.signal_id, requested_at = now(), filling = excluded.filling, source = excluded.source"
)


def _constant(value: str | bytes) -> str:
    # Without a backslash: one that a server with standard_conforming_strings off would take for an escape.
    return f"decode('{value.hex()}', 'hex')" if isinstance(value, bytes) else literal(value)


def _name(name: Name) -> str:
    return ".".join(map(quoted, name))


def _pattern(name: Name) -> str:
    """A table as Debezium's signals name it. Names that can name topics hold nothing a pattern would read."""
    return ".".join(name)
