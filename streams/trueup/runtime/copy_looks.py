"""Looks at every copy for `trueup status`, and a second time at those that seem to be stuck.

What is durable has no rates. So copies that are older than their window, and they alone, are looked at again: only
then can be said whether they stand or catch up, and a copy that just missed a heartbeat is not called late.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from trueup.adapters.kafka_errors import PART as KAFKA
from trueup.adapters.postgres_proofs import ProofLine
from trueup.core.copy_state import CopyLook, CopyState, copy_state, has_moved
from trueup.core.status_problems import Problem, Scope
from trueup.core.window_edges import window_of, within_s
from trueup.freshness import Freshness
from trueup.model.errors import TrueUpError, Unreachable
from trueup.model.registration import Copy, Project, Table
from trueup.runtime.progress_read import StageProgress, Totals

# Longer than a batch takes from commit to commit at a replica under load; it is waited only when something is late.
LOOKS_APART_S: Final = 2.0


class Reader(Protocol):
    """What is asked; `runtime.progress_read` is the real one."""

    def decided(self, tables: list[Table]) -> dict[str, StageProgress]: ...

    def applied(self, replica: str) -> dict[str, StageProgress]: ...

    def totals(self, replica: str) -> dict[str, Totals]: ...

    def freshness(self, replica: str) -> dict[str, Freshness]: ...

    def proofs(self, replica: str) -> dict[str, ProofLine]: ...


class SeenCopy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy as it was seen last. What only its replica knows is None when that does not answer."""

    look: CopyLook
    applied: Totals | None = None
    freshness: Freshness | None = None
    proof: ProofLine | None = None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was seen, as it was last.

    :param decided: by table; empty when Kafka was not asked.
    :param copies: by (table, replica): every registered copy.
    :param problems: of replicas that could not be read.
    """

    decided: dict[str, StageProgress]
    copies: dict[tuple[str, str], SeenCopy]
    problems: list[Problem]
    unreachable: list[str]


def look_at_replicas(reader: Reader, project: Project) -> Seen:
    """What the replicas alone say of the copies, for a time when Kafka does not answer. One look: what moves comes from
    Kafka."""
    return _look(reader, project, list(project.replicas), asks_kafka=False)


def look_at_copies(reader: Reader, project: Project, *, apart_s: float = LOOKS_APART_S) -> Seen:
    """Raises Unreachable when Kafka does not answer; a replica that does not is a problem."""
    seen = _look(reader, project, list(project.replicas))
    late = sorted({replica for (_, replica), copy in seen.copies.items() if _seems_stuck(copy)})
    if not late:
        return seen
    time.sleep(apart_s)
    return _joined(seen, _look(reader, project, late))


def _look(reader: Reader, project: Project, replicas: list[str], *, asks_kafka: bool = True) -> Seen:
    decided = reader.decided(list(project.tables.values())) if asks_kafka else {}
    seen = Seen(decided=decided, copies={}, problems=[], unreachable=[])
    for replica in replicas:
        copies = project.tables_copied_to(replica)
        try:
            found = _asked(reader, replica, copies, decided) if asks_kafka else _asked_alone(reader, replica, copies)
        except TrueUpError as exc:
            if isinstance(exc, Unreachable) and exc.part == KAFKA:
                raise
            cure = "see its server; apply workers wait for it by themselves"
            seen.problems.append(Problem(what=exc.primary, next=cure, about=Scope(replica=replica)))
            if isinstance(exc, Unreachable):
                seen.unreachable.append(exc.part)
            found = [SeenCopy(look=_look_of(table, copy, decided.get(table.table))) for table, copy in copies]
        seen.copies.update({(copy.look.table, replica): copy for copy in found})
    return seen


def _asked(
    reader: Reader, replica: str, copies: list[tuple[Table, Copy]], decided: Mapping[str, StageProgress]
) -> list[SeenCopy]:
    """Raises TrueUpError when the replica or Kafka does not answer, or refuses."""
    applied = reader.applied(replica)
    looks = [_look_of(table, copy, decided[table.table], applied[table.table].lag) for table, copy in copies]
    return _answered(reader, replica, looks, applied)


def _asked_alone(reader: Reader, replica: str, copies: list[tuple[Table, Copy]]) -> list[SeenCopy]:
    """Raises TrueUpError when the replica does not answer, or refuses."""
    return _answered(reader, replica, [_look_of(table, copy) for table, copy in copies], reader.totals(replica))


def _answered(reader: Reader, replica: str, looks: list[CopyLook], applied: Mapping[str, Totals]) -> list[SeenCopy]:
    """The looks, with what the replica says of its copies."""
    proofs, fresh = reader.proofs(replica), reader.freshness(replica)
    seen = []
    for known in looks:
        freshness = fresh.get(known.table)
        look = msgspec.structs.replace(
            known,
            answered=True,
            has_watermark=freshness is not None,  # `trueup apply` makes the view
            age_s=None if freshness is None else freshness.age_s,
        )
        proof = proofs.get(look.table)
        seen.append(SeenCopy(look=look, applied=applied[look.table], freshness=freshness, proof=proof))
    return seen


def _look_of(table: Table, copy: Copy, decided: StageProgress | None = None, to_apply: int | None = None) -> CopyLook:
    """What is known without the replica; without `decided` Kafka says nothing either."""
    return CopyLook(
        table=table.table,
        replica=copy.replica,
        seen=None if decided is None else sum(decided.counts.values()),
        to_decide=None if decided is None else decided.lag,
        to_apply=to_apply,
        window_s=within_s(window_of(table, copy)),
        answered=False,
    )


def _seems_stuck(copy: SeenCopy) -> bool:
    return copy_state(copy.look) is CopyState.STUCK


def _joined(first: Seen, second: Seen) -> Seen:
    """What was seen last, and what moved since."""
    copies = first.copies | {place: _moved(first, second, place) for place in second.copies}
    return Seen(
        decided=second.decided,
        copies=copies,
        problems=first.problems + second.problems,
        unreachable=first.unreachable + second.unreachable,
    )


def _moved(first: Seen, second: Seen, place: tuple[str, str]) -> SeenCopy:
    """A copy at the second look, which knows whether something was applied since the first."""
    before, after = first.copies[place], second.copies[place]
    if before.applied is None or after.applied is None:
        return after
    table = after.look.table
    then = first.decided[table].position, before.applied.position
    now = second.decided[table].position, after.applied.position
    moved = has_moved(then, now, after.look.to_apply)
    return msgspec.structs.replace(after, look=msgspec.structs.replace(after.look, moved=moved))
