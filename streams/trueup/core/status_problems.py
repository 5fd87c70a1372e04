"""What `trueup status` says is wrong, which copies that holds up, and the next command. Pure.

Not `model.problem`: those are mistakes in registrations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from trueup.core.case_view import CaseCounts
from trueup.core.verify import cure_of
from trueup.model.registration import Table

_ITS_LOG = "see its log"  # what a worker says of an error without a hint (`runtime.watchdog`)


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Which copies a problem holds up. None: it does not matter which table, which replica."""

    tables: tuple[str, ...] | None = None
    replica: str | None = None

    def holds(self, table: str, replica: str) -> bool:
        """Whether a copy is among them."""
        return (self.tables is None or table in self.tables) and self.replica in {None, replica}

    @property
    def width(self) -> int:
        """The narrower one says more about a copy."""
        return (self.tables is None) + (self.replica is None)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something is wrong, and the next command to run.

    :param about: the copies that may stand because of it. None: none does.
    :param stops: they certainly do, until somebody does something.
    :param first: the others can hardly be mended before it.
    """

    what: str
    next: str
    about: Scope | None = None
    stops: bool = False
    first: bool = False

    def holds(self, table: str, replica: str) -> bool:
        """Whether a copy may stand because of it."""
        return self.about is not None and self.about.holds(table, replica)


def losses_first(problems: Iterable[Problem]) -> list[Problem]:
    """What lost changes comes before what only stands still: the first repairs itself never, the second often. Nothing
    comes before what has to be mended first."""
    return sorted(problems, key=lambda problem: (not problem.first, "trueup resync" not in problem.next))


def kafka_away(bootstrap_servers: str) -> Problem:
    """Everything runs through it, and nearly every cure."""
    cure = "start kafka; workers go on by themselves then"
    return Problem(what=f'cannot reach "kafka" at {bootstrap_servers}', next=cure, about=Scope(), first=True)


def scope_of_worker(kind: str, replica: str) -> Scope | None:
    """Whom a worker serves: the decide worker everybody, an apply worker one replica. Others hold up no copy."""
    return {"decide": Scope(), "apply": Scope(replica=replica)}.get(kind)


def unready(worker: str, reasons: Iterable[str], serves: Scope | None, tables: Mapping[str, str]) -> list[Problem]:
    """The problems of a worker that is not ready, from its /readyz; a stopped partition names its cure.

    :param serves: the copies that need this worker.
    :param tables: by capture topic and by truth topic.
    """
    stopped: dict[tuple[str, str], list[str]] = {}
    others = []
    log = f"see the log of worker {worker}"
    for reason in reasons:
        kind, _, rest = reason.partition(": ")
        if kind == "stopped":
            where, _, said = rest.partition(": ")
            cause, _, cure = said.partition(" -> ")
            stopped.setdefault((cause, log if cure in {"", _ITS_LOG} else cure), []).append(where.rpartition("/")[0])
        else:
            others.append(reason)
    problems = [
        Problem(
            what=f"stopped at worker {worker}: {cause} ({len(topics)} partitions)",
            next=cure,
            about=Scope(
                tables=tuple(sorted({tables[topic] for topic in topics if topic in tables})),
                replica=None if serves is None else serves.replica,
            ),
            stops=True,
        )
        for (cause, cure), topics in stopped.items()
    ]
    if others:
        what = f"worker {worker} is not ready: {'; '.join(others[:2])}"
        problems.append(Problem(what=what, next=log, about=serves))
    return problems


def case_problems(table: str, found: CaseCounts) -> list[Problem]:
    """Open cases always ask for somebody; an overdue one lets its key wait for longer than was agreed."""
    if not found.open:
        return []
    overdue = f", {found.overdue} of them overdue" if found.overdue else ""
    plural = "" if found.open == 1 else "s"
    return [Problem(what=f"{found.open} open case{plural} of {table}{overdue}", next="trueup cases list")]


def difference_problems(table: Table, replica: str, differing_keys: int) -> list[Problem]:
    """What the last complete comparison found."""
    if not differing_keys:
        return []
    keys = "1 key" if differing_keys == 1 else f"{differing_keys} keys"
    what = f"{keys} of {table.table} at {replica} differ from the owner"
    return [Problem(what=what, next=cure_of(table, replica))]
