"""Definitions at a replica as text: schema trueup, the copies, the writer's rights. No I/O.

`adapters.postgres_replica_ddl` compares them with the catalog; `adapters.postgres_sql` has the statements that write.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from trueup.adapters.postgres_sql import literal, quoted, table_name, type_name
from trueup.model.version import VERSION_BYTES
from trueup.model.write import REPLICA_OUTCOMES, VERSION_COLUMN, CopyPlan, TargetColumn

_COPY_FILLFACTOR: Final = 90
"""Room for updates on the same page (HOT: no index is written). 80 to 90 is usual; more costs whole reads."""

_PROGRESS_FILLFACTOR: Final = 50
"""One row per partition, updated with every batch."""

SCHEMA: Final = "CREATE SCHEMA trueup"

AS_OF_COLUMNS: Final = {
    "as_of": "timestamptz",
    "as_of_position": "bigint",
    "as_of_epoch": "bigint",
    "dead_lettered_keys": "bigint NOT NULL DEFAULT 0",
    "held_keys": "bigint NOT NULL DEFAULT 0",
}
"""Of progress: what the last watermark of a partition says. `adapters.postgres_freshness` shows them to readers."""

TABLES: Final[dict[str, tuple[str, ...]]] = {
    "progress": (
        f"""CREATE TABLE trueup.progress (
    topic text NOT NULL,
    partition int NOT NULL,
    token bigint NOT NULL,
    next_offset bigint,
    {" ".join(f"{name} {kind}," for name, kind in AS_OF_COLUMNS.items())}
    {" ".join(f"{outcome.value} bigint NOT NULL DEFAULT 0," for outcome in REPLICA_OUTCOMES)}
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = {_PROGRESS_FILLFACTOR})""",
    ),
    "deleted_keys": (
        """CREATE TABLE trueup.deleted_keys (
    target text NOT NULL,
    key bytea NOT NULL,
    version bytea NOT NULL,
    PRIMARY KEY (target, key)
)""",
    ),
    "dead_letters": (
        """CREATE TABLE trueup.dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    record_offset bigint NOT NULL,
    key bytea NOT NULL,
    value bytea,
    version bytea NOT NULL,
    stage text NOT NULL,
    error_class text NOT NULL,
    sqlstate text,
    reason text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    superseded_at timestamptz,
    UNIQUE (target, topic, partition, record_offset)
)""",
        "CREATE INDEX dead_letters_open ON trueup.dead_letters (target, key) WHERE superseded_at IS NULL",
    ),
    "flags": (
        """CREATE TABLE trueup.flags (
    target text NOT NULL,
    key bytea NOT NULL,
    version bytea NOT NULL,
    flags text[] NOT NULL,
    flagged_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (target, key)
)""",
    ),
    "copies": (
        """CREATE TABLE trueup.copies (
    target text PRIMARY KEY,
    fingerprint text NOT NULL,
    plan jsonb NOT NULL
)""",
    ),
}


PROGRESS_COLUMNS: Final = {
    **{outcome.value: "bigint NOT NULL DEFAULT 0" for outcome in REPLICA_OUTCOMES},
    **AS_OF_COLUMNS,
}
"""Columns that came with time: a replica that was provisioned earlier gets them by `add_progress_column`."""

ROW_VERSIONS: Final = """CREATE TABLE trueup.row_versions (
    target text NOT NULL,
    key bytea NOT NULL,
    version bytea NOT NULL,
    written_at pg_lsn,
    PRIMARY KEY (target, key)
) WITH (fillfactor = 80)"""
"""Versions of users' tables, beside them: at writers only. One row per key, deleted keys included."""

WRITER_RIGHTS: Final = {
    "pg_replication_origin_session_setup(text)": "GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup(text)",
    "pg_replication_origin_create(text)": "GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text)",
    "session_replication_role": "GRANT SET ON PARAMETER session_replication_role",
}
"""What a role needs to write without an echo, and how a superuser gives it: the owner of a database may not."""


def add_progress_column(name: str) -> str:
    """For a replica that was provisioned before the column was kept there."""
    return f"ALTER TABLE trueup.progress ADD COLUMN {name} {PROGRESS_COLUMNS[name]}"


def create_copy(plan: CopyPlan) -> str:
    """CREATE TABLE of a copy. Nothing but the key is NOT NULL: that is the source's promise, not ours."""
    lines = [f"    {quoted(column.name)} {type_name(column.target_type)}" for column in plan.columns]
    lines.append(f"    {VERSION_COLUMN} bytea NOT NULL")
    lines.append(f"    PRIMARY KEY ({', '.join(quoted(name) for name in plan.key)})")
    return f"CREATE TABLE {table_name(plan)} (\n" + ",\n".join(lines) + f"\n) WITH (fillfactor = {_COPY_FILLFACTOR})"


def add_columns(plan: CopyPlan, columns: Iterable[TargetColumn]) -> str:
    """The ALTER that gives a copy columns that came at the source. No default: values come with the rows."""
    added = ", ".join(f"ADD COLUMN {quoted(column.name)} {type_name(column.target_type)}" for column in columns)
    return f"ALTER TABLE {table_name(plan)} {added}"


def adopt_copy(plan: CopyPlan) -> str:
    """The ALTER that makes an existing table a copy: its rows get the lowest version, so that every change is newer."""
    lowest = literal("\\x" + bytes(VERSION_BYTES).hex())
    return f"ALTER TABLE {table_name(plan)} ADD COLUMN {VERSION_COLUMN} bytea NOT NULL DEFAULT {lowest}::bytea"


def record_copy(plan: CopyPlan) -> str:
    """Remember what a copy was made as."""
    values = (plan.target, plan.fingerprint, msgspec.json.encode(plan).decode())
    return f"INSERT INTO trueup.copies (target, fingerprint, plan) VALUES ({', '.join(map(literal, values))})"


def create_schema(schema: str) -> str:
    return f"CREATE SCHEMA {quoted(schema)}"


def grant_usage(schema: str, role: str) -> str:
    return f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(role)}"


def grant_writes(table: str, role: str) -> str:
    """Rows only: the writer of a copy can neither change nor empty a table. `table` is quoted."""
    return f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {quoted(role)}"


def grant_reads(table: str, role: str) -> str:
    return f"GRANT SELECT ON {table} TO {quoted(role)}"
