"""One pass through one copy: range by range, beside what looks different, which is looked at again and judged.

    1. a range of the source is counted and hashed, then the same range of the copy; equal: every row of it is proven
    2. in buckets that differ the keys are compared; those that differ are suspects
    3. now and then a round: the copy catches up with everything the source has committed, then the suspects alone are
       looked at, the copy first, and `core.suspects` judges

What it holds: one range of hashes and a bounded number of keys, however large the table is. A pass that is ended goes
on where it was (`PassState`); what looked different until then is looked at again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from trueup.core.key_ranges import rest_s
from trueup.core.suspects import Suspect, Verdict, kind_of, look_again
from trueup.core.verify import differing_buckets, first_suspects
from trueup.model.proof import Finding, Key, KeyRange, PassState, Seen, key_of_text

RANGE_ROWS: Final = 10_000
SUSPECTS_MAX: Final = 2_000  # with more of them the ranges wait; a range that differs as a whole may add its own
FINDINGS_MAX: Final = 10_000  # further ones are counted
DOUBTFUL_MAX: Final = 5_000
_ROUND_EVERY_S: Final = 5.0


class ComparedSide(Protocol):
    """What is asked of a side; `adapters.postgres_compare.Side` is one."""

    def border(self, after: Key | None, rows: int) -> Key | None: ...

    def buckets(self, within: KeyRange) -> dict[int, tuple[int, int]]: ...

    def rows(self, within: KeyRange, buckets: set[int]) -> dict[str, Seen]: ...

    def look(self, keys: Sequence[Key]) -> dict[str, Seen]: ...


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How a pass goes through a copy.

    :param range_rows: rows of the source in a range; None: the whole table is one.
    :param rows_per_s_max: None: as fast as the databases answer.
    """

    range_rows: int | None = RANGE_ROWS
    rows_per_s_max: float | None = None


class PassResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a pass ended.

    :param complete: every key was looked at and every suspect judged; else it was told to stop, or could not go on.
    :param caught_up: False: the copy did not catch up in time, so that what is open could not be judged.
    :param findings_more: how many beyond those that are listed; so `unproven_more`.
    """

    rows_source: int
    rows_replica: int
    findings: list[Finding]
    findings_more: int
    unproven: list[str]
    unproven_more: int
    complete: bool
    caught_up: bool


class ComparePass:
    """One pass.

    :param catch_up: brings the copy to what its source has committed by now; False: not in time.
    :param on_state: told how far the pass is, after each range but the last.
    :param stopping: asked between ranges and rounds.
    """

    def __init__(
        self,
        source: ComparedSide,
        replica: ComparedSide,
        catch_up: Callable[[], bool],
        begin: PassState,
        pace: Pace,
        on_state: Callable[[PassState], None] = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._source, self._replica, self._catch_up = source, replica, catch_up
        self._begin, self._pace, self._on_state = begin, pace, on_state
        self._stopping, self._sleep = stopping, sleep
        self._rows_source, self._rows_replica = begin.rows_source, begin.rows_replica
        self._suspects: dict[str, Suspect] = {}
        self._findings: dict[str, Finding] = {}
        self._unproven: set[str] = set()
        self._findings_more = self._unproven_more = 0
        self._caught_up = True
        self._round_at = time.monotonic()

    def run(self) -> PassResult:
        """Goes through the copy. Raises what the sides raise."""
        self.doubt(self._begin.doubtful)
        is_done = self._ranges()
        while is_done and self._suspects and not self._stopping():
            if not self._round():
                break
        return self._result(complete=is_done and not self._suspects)

    def judge(self, keys: Iterable[str]) -> PassResult:
        """Looks at some keys only, until each is settled."""
        self.doubt(keys)
        while self._suspects and not self._stopping() and self._round():
            pass
        return self._result(complete=not self._suspects)

    def _result(self, *, complete: bool) -> PassResult:
        return PassResult(
            rows_source=self._rows_source,
            rows_replica=self._rows_replica,
            findings=[self._findings[key] for key in sorted(self._findings)],
            findings_more=self._findings_more,
            unproven=sorted(self._unproven | self._suspects.keys()),
            unproven_more=self._unproven_more,
            complete=complete,
            caught_up=self._caught_up,
        )

    def doubt(self, keys: Iterable[str]) -> None:
        """Takes keys for suspects that were seen by somebody else."""
        doubtful = list(keys)
        if doubtful:
            source, replica = self._look(doubtful)
            self._suspects |= {key: Suspect(source.get(key), replica.get(key)) for key in doubtful}

    def _ranges(self) -> bool:
        after = self._begin.after
        while not self._stopping():
            began = time.monotonic()
            rows = self._pace.range_rows
            through = None if rows is None else self._source.border(after, rows)
            compared = self._compare(KeyRange(after, through))
            if self._round_is_due(last=through is None) and not self._round():
                return False
            if through is None:
                return True
            after = through
            self._tell(after)
            self._sleep(rest_s(compared, time.monotonic() - began, self._pace.rows_per_s_max))
        return False

    def _compare(self, within: KeyRange) -> int:
        """Compares a range; returns its rows at the source."""
        source = self._source.buckets(within)
        replica = self._replica.buckets(within)
        rows = sum(count for count, _ in source.values())
        self._rows_source += rows
        self._rows_replica += sum(count for count, _ in replica.values())
        if different := differing_buckets(source, replica):
            found = first_suspects(self._source.rows(within, different), self._replica.rows(within, different))
            # A key that was settled in another range (the two sides sort differently) need not be settled again.
            self._suspects |= {
                key: suspect
                for key, suspect in found.items()
                if key not in self._suspects and key not in self._findings and key not in self._unproven
            }
        return rows

    def _round_is_due(self, *, last: bool) -> bool:
        if not self._suspects or last:
            return False
        return len(self._suspects) >= SUSPECTS_MAX or time.monotonic() - self._round_at > _ROUND_EVERY_S

    def _round(self) -> bool:
        """Looks at every suspect again. False: the copy did not catch up, so a look would prove nothing."""
        self._caught_up = self._catch_up()
        if not self._caught_up:
            return False
        suspects = self._suspects
        source, replica = self._look(list(suspects))
        self._suspects = {}
        for key, suspect in suspects.items():
            verdict, seen = look_again(suspect, source.get(key), replica.get(key))
            match verdict:
                case Verdict.OPEN:
                    self._suspects[key] = seen
                case Verdict.UNPROVEN if len(self._unproven) < FINDINGS_MAX:
                    self._unproven.add(key)
                case Verdict.UNPROVEN:
                    self._unproven_more += 1
                case Verdict.DIFFERENT:
                    self._find(key, seen)
                case Verdict.EQUAL:
                    pass
        self._round_at = time.monotonic()
        return True

    def _find(self, key: str, suspect: Suspect) -> None:
        if len(self._findings) < FINDINGS_MAX:
            here = suspect.source
            self._findings[key] = Finding(key, kind_of(suspect), None if here is None else here.hash)
        else:
            self._findings_more += 1

    def _look(self, keys: list[str]) -> tuple[dict[str, Seen], dict[str, Seen]]:
        """Source and copy; the copy is asked first, which is what makes a look a proof (`core.suspects`)."""
        asked = [key_of_text(key) for key in keys]
        replica = self._replica.look(asked)
        return self._source.look(asked), replica

    def _tell(self, after: Key) -> None:
        doubtful = (*self._suspects, *self._findings, *self._unproven)
        if self._findings_more or self._unproven_more or len(doubtful) > DOUBTFUL_MAX:
            return  # who goes on from here must know every key that is doubtful, and these are too many to keep
        self._on_state(
            msgspec.structs.replace(
                self._begin,
                after=after,
                rows_source=self._rows_source,
                rows_replica=self._rows_replica,
                doubtful=doubtful,
            )
        )
