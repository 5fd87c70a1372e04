"""The whole way of a record on one page: decode > validate > authority > order > rules > route.

`decide` is what a reader must trust. It is pure: the same record, held state and plan give the same decision, on every
machine and at every time. All branching is here; the steps it calls are short. Who calls it and makes the decision
durable is `runtime.decide_agent`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never

import msgspec

from trueup.core.authority import check_authority
from trueup.core.avro_types import avro_primitive, is_array
from trueup.core.decode import EnvelopeDecoder, decode
from trueup.core.exact_text import ExactRow, Inexact
from trueup.core.ordering import Guard, check_position, compare, outlived, version_of
from trueup.core.route import route
from trueup.core.rules import cause_of, check_row, compile_table_checks
from trueup.core.truth_codec import DELETED_HASH, TruthCodec, hash_row
from trueup.core.truth_schema import avro_name
from trueup.core.validate import Hole, validate
from trueup.model.decision import Apply, Decision, Escalate, Held, Outcome, Reject, Skip, TruthRecord
from trueup.model.event import ChangeEvent, Ignorable, LogRecord, Op
from trueup.model.registration import ColumnVersion, Table
from trueup.model.rule_function import RuleFunction
from trueup.model.version import offset_of

_NEVER_TOASTED: Final = frozenset({"int", "long", "boolean", "float", "double"})


class DecidePlan:
    """A registration compiled for deciding: everything `decide` needs besides the record and the held state.

    :param hole: unavailable.value.placeholder of the owner's connector.
    :param functions: of the project's rules module.
    :raises ValueError: a check names a column or a function that there is not.
    """

    def __init__(
        self, table: Table, codec: TruthCodec, hole: str, functions: Mapping[str, RuleFunction] | None = None
    ) -> None:
        self.table = table
        self.codec = codec
        self.hole = Hole(hole)
        self.decoders: dict[int, EnvelopeDecoder] = {}
        self.key_columns = frozenset(map(avro_name, table.key))
        columns = codec.captured.columns
        self.toastable = tuple(
            avro_name(c.name) for c in columns if is_array(c) or avro_primitive(c) not in _NEVER_TOASTED
        )
        self.exact = ExactRow(columns, table.key, avro_name)
        self.checks = compile_table_checks(table, codec.captured, functions or {})
        self.version_column = _with_avro_name(table.version)


def _with_avro_name(version: Any) -> ColumnVersion | None:
    if not isinstance(version, ColumnVersion):
        return None
    return ColumnVersion(column=avro_name(version.column), uncertainty=version.uncertainty)


def decide(record: LogRecord, held: Held | None, guard: Guard, plan: DecidePlan) -> tuple[Decision, Guard]:
    """What becomes of one record, and the guard after it.

    :raises SourceWentBack: the one finding that concerns the whole source and not this record.
    """
    event = decode(record, plan.decoders)
    if isinstance(event, Ignorable):
        return Skip(Outcome.IGNORED, event.what), guard
    if isinstance(event, Reject):
        return event, guard

    if event.epoch < guard.epoch:  # what it says is over, whatever is wrong with it
        return Skip(Outcome.STALE, "epoch is over"), guard

    refusal = validate(event, plan.key_columns, plan.toastable, plan.hole) or check_authority(event, plan.table)
    if refusal is not None:
        return refusal, guard

    moved = check_position(event, guard)
    if isinstance(moved, Skip):
        return moved, guard
    if (gone := outlived(event, held, moved)) is not None:
        return gone, moved
    event = _exact(event, plan)
    if isinstance(event, Reject):
        return event, moved
    version = version_of(event, plan.version_column)
    if isinstance(version, Reject):
        return version, moved

    row = None if event.op is Op.DELETE else event.row
    row_bytes = None if row is None else _row_bytes(row, plan)
    if isinstance(row_bytes, Reject):
        return row_bytes, moved
    content_hash = DELETED_HASH if row_bytes is None else hash_row(row_bytes, plan.codec.columns_hash)
    verdict = compare(event, version, content_hash, held, plan.version_column)
    if verdict is not None:
        return verdict, moved

    # Nothing is asked of a delete. Rows of a snapshot carry the time of the snapshot, not of a commit.
    commit_time_us = None if event.op is Op.READ else event.commit_time_us
    flags = () if row is None or not plan.checks else check_row(row, plan.checks, event.before, commit_time_us)
    if not isinstance(flags, tuple):
        return flags, moved
    cause = cause_of(event.before if row is None else row, plan.table)
    return route(event, version, content_hash, row_bytes, flags, cause), moved


def _row_bytes(row: dict[str, Any], plan: DecidePlan) -> bytes | Reject:
    """The row in the registered types; a value of another type says that the source's column changed."""
    try:
        return plan.codec.encode_row(row)
    except (TypeError, ValueError, AttributeError, OverflowError) as exc:
        return _type_changed(exc)


def _exact(event: ChangeEvent, plan: DecidePlan) -> ChangeEvent | Reject:
    """The event with values as PostgreSQL writes them."""
    if event.row is None:
        return event
    try:
        row = plan.exact.of(event.row, snapshot=event.op is Op.READ)
    except Inexact as exc:
        return Reject("validate", "ValueInexact", f'column "{exc.field}": {exc.reason}', exc.hint)
    except (TypeError, ValueError, AttributeError) as exc:
        return _type_changed(exc)
    before = _exact_before(event, plan) if plan.checks else event.before
    if row is event.row and before is event.before:
        return event
    return msgspec.structs.replace(event, row=row, before=before)


def _exact_before(event: ChangeEvent, plan: DecidePlan) -> dict[str, Any] | None:
    """The row before, for rules; None where one of its values may be another one."""
    try:
        return None if event.before is None else plan.exact.of(event.before, snapshot=False)
    except (TypeError, ValueError, AttributeError):
        return None


def _type_changed(exc: Exception) -> Reject:
    reason = f"a column has another type than the registered one: {type(exc).__name__}"
    return Reject("validate", "TypeChanged", reason, "see what changed at the source, then: trueup apply")


class BatchDecision(msgspec.Struct):
    """The decisions of one batch of a partition: what to publish, in order, and what to count."""

    truths: list[TruthRecord]
    dead: list[tuple[LogRecord, Reject | Escalate]]
    counts: dict[Outcome, int]
    guard: Guard
    held: dict[bytes, Held]


def decide_batch(
    records: Iterable[LogRecord], held: Mapping[bytes, Held], guard: Guard, plan: DecidePlan
) -> BatchDecision:
    """Decides records in order; a later record of a key sees what an earlier one of the batch decided."""
    batch = BatchDecision([], [], dict.fromkeys(Outcome, 0), guard, {})
    for record in records:
        key = record.key or b""
        known = batch.held.get(key) or held.get(key)
        decision, batch.guard = decide(record, known, batch.guard, plan)
        match decision:
            case Apply(truth=truth):
                batch.truths.append(truth)
                batch.held[key] = Held(truth.version, truth.content_hash)
                outcome = Outcome.APPLIED
            case Skip():
                outcome = decision.outcome
            case Reject() | Escalate():
                batch.dead.append((record, decision))
                if known is not None and record.offset > max(offset_of(known.version), known.refused_at):
                    batch.held[key] = Held(known.version, known.content_hash, record.offset)
                outcome = Outcome.REJECTED if isinstance(decision, Reject) else Outcome.ESCALATED
            case _:
                assert_never(decision)
        batch.counts[outcome] += 1
    return batch
