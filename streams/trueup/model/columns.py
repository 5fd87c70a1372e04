"""Columns of a captured table: what the source's catalog said when `trueup apply` last ran."""

from __future__ import annotations

import msgspec


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column.

    :param name: as in the source.
    :param pg_type: PostgreSQL's own text for the type (`format_type`), such as `numeric(12,2)` or `text[]`.
    :param kind: `pg_type.typtype` of the (element) type: b base, e enum, d domain, c composite, r range, m multirange.
    :param generated: GENERATED ALWAYS AS (...) STORED: read, never written at the replica by hand.
    """

    name: str
    pg_type: str
    nullable: bool
    kind: str = "b"
    generated: bool = False


class CapturedTable(msgspec.Struct, frozen=True, kw_only=True):
    """The columns of a registered table in catalog order, and its key in registered order."""

    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    def column(self, name: str) -> Column:
        """Raises KeyError when the table has no such column."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)
