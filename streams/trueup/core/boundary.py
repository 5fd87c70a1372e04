"""The boundary of a replica: which records of a batch become writes, and which are kept out by the copy's own checks.

A copy's checks judge what the truth already accepted; the truth and other replicas are not concerned. A delete is never
judged. They see the columns of the copy, masked as it shows them, before its casts, which are the replica's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from trueup.core.exact_values import exact_reader
from trueup.core.reduce import Reduced, older_records
from trueup.core.rules import CompiledRule, check_row, compile_checks
from trueup.core.rules_copy import CopyRules, mask_sha256
from trueup.core.truth_codec import peek_version
from trueup.model.columns import CapturedTable, Column
from trueup.model.decision import Escalate, Outcome, Reject, TruthRecord
from trueup.model.errors import DeadLetter
from trueup.model.event import LogRecord, Op
from trueup.model.registration import Copy
from trueup.model.rule_function import RuleFunction
from trueup.model.rule_row import Reader
from trueup.model.write import CopyPlan, Counts, Refusal, Write

Decode = Callable[[bytes, bytes], TruthRecord]


def compile_copy_checks(
    copy: Copy, plan: CopyPlan, captured: CapturedTable, functions: Mapping[str, RuleFunction]
) -> tuple[CompiledRule, ...]:
    """The checks of a copy, by the names its columns have there. Raises ValueError for a name that there is not."""
    sources = {column.name: captured.column(column.source) for column in plan.columns}
    readers: dict[str, Reader] = {
        column.name: (column.field, mask_sha256 if column.mask else exact_reader(sources[column.name]))
        for column in plan.columns
    }
    columns: dict[str, Column] = dict(sources)
    return compile_checks(copy.checks, columns, readers, functions)


class Judged(msgspec.Struct):
    """What becomes of the records of a batch. `counts` are the outcomes known before the replica sees it.

    :ivar truths: the records behind `writes`.
    """

    writes: list[Write]
    refused: list[Refusal]
    truths: list[TruthRecord]
    counts: Counts


class Boundary:
    """One copy's way from truth records to writes.

    :param complete: see `core.rules_copy.CopyRules`.
    """

    def __init__(self, plan: CopyPlan, checks: tuple[CompiledRule, ...] = (), *, complete: bool = True) -> None:
        self.plan = plan
        self.checks = checks
        self._rules = CopyRules(plan, complete=complete)

    def judge(self, reduced: Reduced, records: Sequence[LogRecord], decode: Decode) -> Judged:
        """The writes of a batch, one per key, sorted by key.

        Where a check keeps out the newest record of a key, the next older one of the batch is what the copy must hold:
        it would have been written, had the batch ended before the newer one.

        :param records: the whole batch; `reduced` is what `core.reduce` made of it.
        """
        judged = Judged([], [], [], dict(reduced.counts))
        kept_out: dict[bytes, bytes] = {}
        for record in reduced.records:
            if not self._take(record, decode, judged):
                kept_out[record.key or b""] = peek_version(record.value or b"")
        if kept_out:
            self._take_older(older_records(records, kept_out), decode, judged)
        return judged

    def _take_older(self, older: Mapping[bytes, list[LogRecord]], decode: Decode, judged: Judged) -> None:
        for candidates in older.values():
            for record in candidates:
                judged.counts[Outcome.COALESCED] -= 1  # it ends otherwise now
                if self._take(record, decode, judged):
                    break
        judged.writes.sort(key=lambda write: write.key)

    def _take(self, record: LogRecord, decode: Decode, judged: Judged) -> bool:
        """False: a check of the copy keeps the record out."""
        key, value = record.key or b"", record.value or b""
        truth = decode(key, value)
        verdict = self._verdict(truth)
        if not isinstance(verdict, tuple):
            judged.refused.append(self._refusal(truth, record, verdict))
            return False
        try:
            write = self._rules.write_of(truth, record.offset, value)
        except DeadLetter as exc:
            reject = Reject("transform", type(exc).__name__, exc.primary, exc.hint or "")
            judged.refused.append(self._refusal(truth, record, reject))
            return True
        judged.writes.append(msgspec.structs.replace(write, flags=verdict) if verdict else write)
        judged.truths.append(truth)
        return True

    def _verdict(self, truth: TruthRecord) -> Reject | Escalate | tuple[str, ...]:
        row: dict[str, Any] | None = truth.row
        if not self.checks or row is None:
            return truth.flags
        verdict = check_row(row, self.checks, None, None if truth.op is Op.READ else truth.commit_time_us)
        return (*truth.flags, *verdict) if isinstance(verdict, tuple) else verdict

    def _refusal(self, truth: TruthRecord, record: LogRecord, why: Reject | Escalate) -> Refusal:
        return Refusal(
            key=truth.key,
            version=truth.version,
            offset=record.offset,
            record_value=record.value if self.plan.whole else None,
            stage="transform" if why.stage == "transform" else "rules",
            error_class=why.error_class,
            sqlstate=None,
            reason=why.reason,
            outcome=Outcome.REJECTED if isinstance(why, Reject) else Outcome.ESCALATED,
        )
