"""Who owns which table, who has copies, in which window: as rows, as JSON data and as a Mermaid flowchart.

The pipeline step that checks an event's origin is `core.authority`; drawing on a terminal is
`runtime.cli_authority`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from trueup.core.table_rules import plain_rule
from trueup.model.registration import ColumnVersion, Copy, Project, Table


class CopyRow(msgspec.Struct, frozen=True, kw_only=True):
    """One copy. `masked`: columns of the replica that hold a mask, not the clear value."""

    replica: str
    table: str
    window: str | None
    masked: tuple[str, ...]


class AuthorityRow(msgspec.Struct, frozen=True, kw_only=True):
    """One table, its authority and its copies. `owner` is empty where several `writers` share it."""

    table: str
    owner: str
    writers: tuple[str, ...] = ()
    conflicts: str | None = None
    team: str | None
    source_table: str
    order: str
    copies: tuple[CopyRow, ...]


def authority_rows(project: Project) -> list[AuthorityRow]:
    """Rows in the order of owners, then tables."""
    tables = sorted(project.tables.values(), key=lambda table: (table.reference, table.table))
    return [
        AuthorityRow(
            table=table.table,
            owner=table.reference if table.owner is not None else "",
            writers=tuple(table.writers),
            conflicts=_policy(table),
            team=None if table.owner is None else table.owner.team,
            source_table=table.source.table,
            order=_order(table),
            copies=tuple(_copy_row(table, copy) for copy in table.replicas),
        )
        for table in tables
    ]


def authority_data(project: Project) -> dict[str, Any]:
    """The same for programs; the shape is part of the command's interface."""
    return {"tables": [msgspec.to_builtins(row) for row in authority_rows(project)]}


def authority_mermaid(project: Project) -> str:
    """A flowchart: systems on the left, their tables, the replicas on the right."""
    rows = authority_rows(project)
    lines = ["flowchart LR"]
    for system in sorted({system for row in rows for system in row.writers or (row.owner,)}):
        lines.append(f'    system_{system}[("{system}")]')
    for replica in sorted({copy.replica for row in rows for copy in row.copies}):
        lines.append(f'    replica_{replica}[("{replica} (copies)")]')
    for row in rows:
        lines.append(f'    table_{row.table}["{_label(row.table)}"]')
        if row.owner:
            lines.append(f"    system_{row.owner} -->|owns| table_{row.table}")
        lines += [f'    system_{writer} <-->|"writes, {row.conflicts}"| table_{row.table}' for writer in row.writers]
        for copy in row.copies:
            label = copy.table if copy.window is None else f"{copy.table}, {copy.window}"
            lines.append(f'    table_{row.table} -->|"{_label(label)}"| replica_{copy.replica}')
    return "\n".join(lines) + "\n"


def _copy_row(table: Table, copy: Copy) -> CopyRow:
    window = table.window_of(copy)
    columns = copy.columns or {}
    return CopyRow(
        replica=copy.replica,
        table=table.target_of(copy),
        window=None if window is None else f"{window.within} for {window.objective}",
        masked=tuple(name for name, rule in columns.items() if plain_rule(rule).mask is not None),
    )


def _policy(table: Table) -> str | None:
    """The policy in words."""
    if table.conflicts is None:
        return None
    words = table.conflicts.policy.replace("_", " ")
    return words if table.conflicts.system is None else f"{words} {table.conflicts.system}"


def _order(table: Table) -> str:
    if not isinstance(table.version, ColumnVersion):
        return "log"
    uncertainty = table.version.uncertainty
    return f"column {table.version.column}" + (f" within {uncertainty}" if uncertainty else "")


def _label(text: str) -> str:
    """Mermaid reads #name; as an entity in quoted labels; names of tables are any text."""
    return text.replace("#", "#35;").replace('"', "#quot;").replace("\n", " ")
