"""A rebuild as text: what makes a shadow, and the one transaction that swaps it in. No I/O.

`adapters.postgres_rebuild` looks at the old table and sends this; `adapters.postgres_ddl` has the table itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from trueup.adapters import postgres_ddl as ddl
from trueup.adapters.postgres_sql import literal, quoted, table_name
from trueup.model.rebuild import SHADOW_PREFIX, Rebuild, renamed_columns, shadow_progress
from trueup.model.write import CopyPlan

_PROGRESS_COLUMNS: Final = ("next_offset", *ddl.PROGRESS_COLUMNS)


class Grant(msgspec.Struct, frozen=True):
    """A right on the old table. `grantee` None is PUBLIC; `column` None is the whole table."""

    privilege: str
    grantee: str | None
    grantable: bool
    column: str | None


class Index(msgspec.Struct, frozen=True):
    """An index somebody made on the old table for its readers. `definition` begins behind the table's name."""

    name: str
    definition: str
    columns: tuple[str, ...]


class OldTable(msgspec.Struct, frozen=True):
    """What people did to the table that is replaced. The new one keeps all but `obstacles`, which nothing may lose.

    :param owner: None when the role of `trueup apply` owns it.
    :param primary_key: the name of its constraint.
    """

    owner: str | None = None
    primary_key: str | None = None
    grants: tuple[Grant, ...] = ()
    indexes: tuple[Index, ...] = ()
    obstacles: tuple[str, ...] = ()


def make_shadow(rebuild: Rebuild, old: OldTable, writer_role: str) -> list[str]:
    """An empty shadow, recorded as what it is. Its indexes are made while it is empty: the swap then takes no time."""
    shadow = rebuild.shadow
    return [
        ddl.create_copy(shadow),
        *(_index(index, rebuild) for index in kept_indexes(rebuild, old)),
        ddl.grant_writes(table_name(shadow), writer_role),
        ddl.record_copy(shadow),
    ]


def forget_shadow(shadow: CopyPlan) -> list[str]:
    """Remove a shadow with everything that is known of it: its registration changed again, or was taken back."""
    target = literal(shadow.target)
    return [
        f"DROP TABLE IF EXISTS {table_name(shadow)}",
        f"DELETE FROM trueup.progress WHERE topic = {literal(shadow_progress(shadow.truth_topic))}",
        f"DELETE FROM trueup.deleted_keys WHERE target = {target}",
        f"DELETE FROM trueup.dead_letters WHERE target = {target}",
        f"DELETE FROM trueup.flags WHERE target = {target}",
        f"DELETE FROM trueup.copies WHERE target = {target}",
    ]


def swap(rebuild: Rebuild, old: OldTable) -> list[str]:
    """The shadow becomes the copy. In one transaction, which holds the progress rows of the topic already.

    What is known of the copy first, the tables last: readers wait for the last part only. A dropped table takes no view
    along: without CASCADE the server refuses.
    """
    return [
        *_swap_progress(rebuild.new.truth_topic),
        *_swap_keyed("deleted_keys", rebuild),
        *_swap_keyed("flags", rebuild),
        *_swap_dead_letters(rebuild, rebuild.new.truth_topic),
        *_swap_records(rebuild),
        *_forget_proofs(rebuild),
        *_swap_tables(rebuild, old),
    ]


def _forget_proofs(rebuild: Rebuild) -> list[str]:
    """What was proven was proven of the old table."""
    targets = ", ".join(sorted({literal(rebuild.old.target), literal(rebuild.new.target)}))
    return [f"DELETE FROM trueup.{table} WHERE target IN ({targets})" for table in ("proofs", "proof_passes")]


def record_again(old: CopyPlan, new: CopyPlan) -> list[str]:
    """The copy is now made as `new`, which shows the same rows. The token makes its writer ask what the copy is."""
    return [
        f"DELETE FROM trueup.copies WHERE target = {literal(old.target)}",
        ddl.record_copy(new),
        f"UPDATE trueup.progress SET token = token + 1 WHERE topic = {literal(new.truth_topic)}",
    ]


def _swap_progress(topic: str) -> list[str]:
    """Totals are those of the records the new table was filled from. A higher token fences the writer of the old."""
    names = ", ".join(_PROGRESS_COLUMNS)
    taken = ", ".join(f"{name} = excluded.{name}" for name in _PROGRESS_COLUMNS)
    shadow = literal(shadow_progress(topic))
    return [
        f"INSERT INTO trueup.progress AS p (topic, partition, token, {names})"
        f" SELECT {literal(topic)}, partition, 1, {names} FROM trueup.progress WHERE topic = {shadow}"
        f" ON CONFLICT (topic, partition) DO UPDATE SET token = p.token + 1, updated_at = now(), {taken}",
        f"DELETE FROM trueup.progress WHERE topic = {shadow}",
    ]


def _swap_keyed(table: str, rebuild: Rebuild) -> list[str]:
    """What is known of keys: that of the old table goes, that of the shadow takes its name."""
    targets = ", ".join(literal(target) for target in sorted({rebuild.old.target, rebuild.new.target}))
    return [
        f"DELETE FROM trueup.{table} WHERE target IN ({targets})",
        f"UPDATE trueup.{table} SET target = {literal(rebuild.new.target)}"
        f" WHERE target = {literal(rebuild.shadow.target)}",
    ]


def _swap_dead_letters(rebuild: Rebuild, topic: str) -> list[str]:
    """A letter of the old table is superseded: its record was tried again. Refused again, it is the shadow's letter."""
    old, new, shadow = (literal(plan.target) for plan in (rebuild.old, rebuild.new, rebuild.shadow))
    progress = literal(shadow_progress(topic))
    statements = [
        f"DELETE FROM trueup.dead_letters l USING trueup.dead_letters s WHERE l.target = {old}"
        f" AND s.target = {shadow} AND l.topic = {literal(topic)} AND s.topic = {progress}"
        " AND (l.partition, l.record_offset) = (s.partition, s.record_offset)",
        f"UPDATE trueup.dead_letters SET target = {new}, superseded_at = coalesce(superseded_at, now())"
        f" WHERE target = {old}",
        f"UPDATE trueup.dead_letters SET target = {new}, topic = {literal(topic)} WHERE target = {shadow}",
    ]
    if not rebuild.new.whole:  # whoever may read the new copy may not read whole records any more
        statements.append(
            f"UPDATE trueup.dead_letters SET value = NULL WHERE target = {new} AND value IS NOT NULL",
        )
    return statements


def _swap_records(rebuild: Rebuild) -> list[str]:
    targets = sorted({rebuild.old.target, rebuild.new.target, rebuild.shadow.target})
    return [
        f"DELETE FROM trueup.copies WHERE target IN ({', '.join(map(literal, targets))})",
        ddl.record_copy(rebuild.new),
    ]


def _swap_tables(rebuild: Rebuild, old: OldTable) -> list[str]:
    new, shadow = rebuild.new, rebuild.shadow
    moved = f"{quoted(new.target_schema)}.{quoted(shadow.target_table)}"
    table = table_name(new)
    statements = [
        f"DROP TABLE IF EXISTS {table_name(rebuild.old)}",
        f"ALTER TABLE {table_name(shadow)} SET SCHEMA {quoted(new.target_schema)}",
        f"ALTER TABLE {moved} RENAME TO {quoted(new.target_table)}",
    ]
    if old.primary_key is not None:
        present = quoted(f"{SHADOW_PREFIX}{new.table}_pkey")
        statements.append(f"ALTER TABLE {table} RENAME CONSTRAINT {present} TO {quoted(old.primary_key)}")
    statements += grants(rebuild, old.grants)
    if old.owner is not None:  # last: afterwards the table is somebody else's
        statements.append(f"ALTER TABLE {table} OWNER TO {quoted(old.owner)}")
    return statements


def grants(rebuild: Rebuild, found: Sequence[Grant]) -> list[str]:
    """The rights on the new table. A right on a column that was renamed goes with it; one on a column that is gone is
    gone."""
    names = {column.name: column.name for column in rebuild.new.columns} | renamed_columns(rebuild.old, rebuild.new)
    statements = []
    for grant in found:
        if grant.column is not None and grant.column not in names:
            continue
        on_column = "" if grant.column is None else f" ({quoted(names[grant.column])})"
        grantee = "PUBLIC" if grant.grantee is None else quoted(grant.grantee)
        option = " WITH GRANT OPTION" if grant.grantable else ""
        statements.append(f"GRANT {grant.privilege}{on_column} ON {table_name(rebuild.new)} TO {grantee}{option}")
    return statements


def kept_indexes(rebuild: Rebuild, old: OldTable) -> list[Index]:
    """Those whose columns are still there under the same names."""
    present = {column.name for column in rebuild.new.columns}
    return [index for index in old.indexes if present.issuperset(index.columns)]


def _index(index: Index, rebuild: Rebuild) -> str:
    return f"CREATE INDEX {quoted(index.name)} ON {table_name(rebuild.shadow)}{index.definition}"
