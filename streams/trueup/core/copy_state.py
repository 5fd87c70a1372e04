"""How one copy is, in a word, and the next command to run about it. Pure.

Stuck as against idle means what it means to the alerts (`core.window_alerts`): what a copy is as of moves while its
table rests, so one that is older than its window is not idle, whatever its lag. A single look has no rates; therefore
`runtime.copy_looks` looks a second time, and only at copies that seem stuck: one that was applied to meanwhile is slow.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from trueup.core.status_problems import Problem

WATCH: Final = "trueup status --watch"


class CopyState(enum.StrEnum):
    """The worst first."""

    STOPPED = "stopped"
    """It does not go on before somebody does something: an open problem says what."""
    LATE = "late"
    """It is older than its window, and Kafka does not answer: nobody can say whether it moves."""
    UNKNOWN = "unknown"
    """Its replica does not answer; or Kafka does not, and what waits for a copy within its window is not known."""
    STUCK = "stuck"
    """It is older than its window, and nothing was applied while we looked."""
    SLOW = "slow"
    """It is older than its window, and something was applied."""
    FILLING = "filling"
    """Its first filling is not complete: it is as of nothing yet."""
    FLOWING = "flowing"
    """Changes are on their way, and it is within its window."""
    IDLE = "idle"
    """Nothing is on its way, and it is within its window."""


RANK: Final = {state: rank for rank, state in enumerate(CopyState)}
FINDINGS: Final = frozenset({CopyState.STOPPED, CopyState.LATE, CopyState.UNKNOWN, CopyState.STUCK, CopyState.SLOW})
FINE: Final = frozenset({CopyState.FLOWING, CopyState.IDLE})


class CopyLook(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a copy.

    :param seen: records of the table that were decided, ever. None, as are those that wait: Kafka does not answer.
    :param to_decide, to_apply: records that wait at the stages.
    :param has_watermark: the replica has the view that says what it is as of; `trueup apply` makes it.
    :param age_s: how old what it is as of is; None before the first filling is complete, and without a watermark.
    :param window_s: how old it may be: as registered, else what the alerts take.
    :param moved: something was applied between two looks. False when there was one look only.
    """

    table: str
    replica: str
    seen: int | None
    to_decide: int | None
    window_s: float
    answered: bool = True
    to_apply: int | None = 0
    has_watermark: bool = True
    age_s: float | None = None
    moved: bool = False

    @property
    def waiting(self) -> int | None:
        return None if self.to_decide is None or self.to_apply is None else self.to_decide + self.to_apply


def copy_state(look: CopyLook, problems: Iterable[Problem] = ()) -> CopyState:
    """The state of a copy.

    Without a watermark no window can be held against the copy. What can be said then: whether records wait, and
    whether they move. Without Kafka nobody knows what waits: a copy may be late then, and is never idle.
    """
    if any(problem.stops and problem.holds(look.table, look.replica) for problem in problems):
        return CopyState.STOPPED
    if not look.answered:
        return CopyState.UNKNOWN
    if look.has_watermark:
        if look.age_s is None:
            return CopyState.FILLING
        if look.age_s > look.window_s:
            if look.waiting is None:
                return CopyState.LATE
            return CopyState.SLOW if look.moved else CopyState.STUCK
    if look.waiting is None:
        return CopyState.UNKNOWN
    if not look.has_watermark:
        if not look.seen:
            return CopyState.FILLING
        if look.waiting and not look.moved:
            return CopyState.STUCK
    return CopyState.FLOWING if look.waiting else CopyState.IDLE


def has_moved(before: tuple[int, int], after: tuple[int, int], to_apply: int | None) -> bool:
    """Whether something was applied to a copy between two looks.

    A marker counts as well. What is decided counts only for a copy that has applied all there is: decided records that
    bring nothing (duplicates) leave nothing to be applied, and are progress all the same.

    :param before, after: positions in the capture topic and in the truth topic, summed over the partitions.
    :param to_apply: records that waited for the replica at the second look.
    """
    return before[1] != after[1] or (to_apply == 0 and before[0] != after[0])


def next_command(
    state: CopyState, look: CopyLook, problems: Iterable[Problem], workers: Mapping[tuple[str, str], str]
) -> str | None:
    """The next command to run; None when all is fine. The problem that speaks of the fewest copies knows best, but for
    one that has to be mended before the others can be. A replica that does not answer has no part in that.

    :param workers: names of the workers of this host by (kind, replica).
    """
    if state in FINE:
        return None
    about = [problem for problem in problems if problem.holds(look.table, look.replica)]
    if look.answered and (first := next((problem for problem in about if problem.first), None)) is not None:
        return first.next
    if state is CopyState.STOPPED:
        about = [problem for problem in about if problem.stops]
    if about:
        return min(about, key=lambda problem: 0 if problem.about is None else problem.about.width).next
    if state is CopyState.FILLING and _may_be_unseen(look, workers):
        return "trueup worker capture"
    return _next_of_stuck(look, workers) if state is CopyState.STUCK else WATCH


def _may_be_unseen(look: CopyLook, workers: Mapping[tuple[str, str], str]) -> bool:
    """Whether nobody looks: that a table which joined a running connector is filled is seen by the capture worker."""
    return bool(look.seen and not look.waiting and ("decide", "") in workers and ("capture", "") not in workers)


def _next_of_stuck(look: CopyLook, workers: Mapping[tuple[str, str], str]) -> str:
    """Nothing says that it is wrong: a worker that should be there is not, or waits without a word."""
    decide, apply = workers.get(("decide", "")), workers.get(("apply", look.replica))
    if decide is None and (look.to_decide or not look.to_apply):
        return "trueup worker decide"
    if apply is None and look.to_apply:
        return f"trueup worker apply {look.replica}"
    if look.to_apply:
        return f"see the log of worker {apply}, and who holds a lock at {look.replica} (pg_locks)"
    if look.to_decide:
        return f"see the log of worker {decide}"
    # Nothing waits, and no heartbeat arrives: whether the copy is right is all that can be asked.
    return f"trueup verify {look.table}"
