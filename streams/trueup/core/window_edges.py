"""The edges of convergence's buckets: fixed ones, and the window of every copy. Pure.

A window that is an edge makes the error budget exact: changes that kept it are counted, not estimated from neighbours.
The workers' metrics and the rules made by `trueup alerts` must say the same edge in the same words: both ask here.
"""

from __future__ import annotations

from typing import Final

from trueup.model.registration import Copy, Project, Table, Window, duration_ms

WINDOW_DEFAULT: Final = Window(within="5m")  # of a copy that registers none: stuck must show all the same; arbitrary
CONVERGENCE_EDGES_S: Final = (
    0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
)  # fmt: skip


def window_of(table: Table, copy: Copy) -> Window:
    """The window that is measured: the registered one, else the default."""
    return table.window_of(copy) or WINDOW_DEFAULT


def within_s(window: Window) -> float:
    """Seconds of a window."""
    return duration_ms(window.within) / 1000


def edges_of(project: Project) -> tuple[float, ...]:
    """The windows of all copies, seconds, rising."""
    copies = ((table, copy) for table in project.tables.values() for copy in table.copies)
    return tuple(sorted({within_s(window_of(table, copy)) for table, copy in copies}))


def edge_label(edge_s: float) -> str:
    """How the label `le` names an edge: "5.0", "0.25"."""
    return str(float(edge_s))
