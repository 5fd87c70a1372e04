"""The whole way of a record on one page: decode > validate > authority > order > rules > route.

`decide` is what a reader must trust. It is pure: the same record, held state and plan give the same decision, on every
machine and at every time. All branching is here; the steps it calls are short. Who calls it and makes the decision
durable is `runtime.decide_agent`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, assert_never

import msgspec

from trueup.core import cases
from trueup.core.authority import check_authority
from trueup.core.avro_types import avro_primitive, is_array
from trueup.core.conflicts import HINT, Change, ConflictRules, settle
from trueup.core.dead_letters import is_newer
from trueup.core.decode import EnvelopeDecoder, age_of, decode, epoch_of_headers
from trueup.core.exact_text import ExactRow, Inexact
from trueup.core.ordering import Guard, check_position, compare, outlived, rank_of, version_of
from trueup.core.route import route
from trueup.core.row_json import RowJson
from trueup.core.rules import cause_of, check_row, compile_table_checks
from trueup.core.truth_codec import DELETED_HASH, TruthCodec, TruthReader, hash_row, held_whole
from trueup.core.truth_schema import avro_name
from trueup.core.validate import Hole, validate
from trueup.model.case import Case, Side
from trueup.model.decision import Again, Apply, Decision, Escalate, Held, Outcome, Reject, Skip, TruthRecord
from trueup.model.event import ChangeEvent, Ignorable, LogRecord, Op
from trueup.model.registration import ColumnVersion, Table, duration_ms
from trueup.model.rule_function import RuleFunction
from trueup.model.topic import PAYLOAD_BYTES_MAX
from trueup.model.version import Version, epoch_of, make_version, offset_of, rank_in

_NEVER_TOASTED: Final = frozenset({"int", "long", "boolean", "float", "double"})


class DecidePlan:
    """A registration compiled for deciding: everything `decide` needs besides the record and the held state.

    :param hole: unavailable.value.placeholder of the owner's connector; `more_holes`: of the other writers.
    :param functions: of the project's rules module.
    :raises ValueError: a check names a column or a function that there is not.
    """

    def __init__(
        self,
        table: Table,
        codec: TruthCodec,
        hole: str,
        functions: Mapping[str, RuleFunction] | None = None,
        *,
        more_holes: Iterable[str] = (),
    ) -> None:
        self.table = table
        self.codec = codec
        self.reader = TruthReader()
        self.reader.learn(codec.schema_id, codec.schema)
        self.hole = Hole(hole, *more_holes)
        self.decoders: dict[int, EnvelopeDecoder] = {}
        self.key_columns = frozenset(map(avro_name, table.key))
        columns = codec.captured.columns
        self.toastable = tuple(
            avro_name(c.name) for c in columns if is_array(c) or avro_primitive(c) not in _NEVER_TOASTED
        )
        self.exact = ExactRow(columns, table.key, avro_name)
        self.checks = compile_table_checks(table, codec.captured, functions or {})
        # With several writers the truncate of one says nothing of the rows of the others: it stays a dead letter.
        self.follows_truncates = table.truncate != "reject" and not table.several_writers
        self.version_column = _with_avro_name(table.version)
        self.conflicts = ConflictRules.of(table, self.version_column) if table.several_writers else None
        self.keeps_rows = table.keeps_rows
        self.needs_before = bool(self.checks) or self.conflicts is not None
        self.row_json = RowJson(codec.row_schema)
        self.decide_within_us = duration_ms(table.cases.decide_within) * 1000


def _with_avro_name(version: Any) -> ColumnVersion | None:
    if not isinstance(version, ColumnVersion):
        return None
    return ColumnVersion(column=avro_name(version.column), uncertainty=version.uncertainty)


def decide(
    record: LogRecord, held: Held | None, guard: Guard, plan: DecidePlan, case: Case | None = None
) -> tuple[Decision, Guard]:
    """What becomes of one record, and the guard after it.

    :param case: the newest case of the key, if it is open or decided.
    :raises SourceWentBack: the one finding that concerns the whole source and not this record.
    """
    event = decode(record, plan.decoders)
    if isinstance(event, Ignorable):
        return Skip(Outcome.IGNORED, event.what), guard
    if isinstance(event, Reject):
        return event, guard

    known = guard if plan.conflicts is None else guard.of(event.system)
    if event.epoch < known.epoch:  # what it says is over, whatever is wrong with it
        return Skip(Outcome.STALE, "epoch is over"), guard

    refusal = validate(event, plan.key_columns, plan.toastable, plan.hole) or check_authority(event, plan.table)
    if refusal is not None:
        return refusal, guard

    own = check_position(event, known)
    if isinstance(own, Skip):
        return own, guard
    moved = own if plan.conflicts is None else guard.moved(event.system, own)
    if (gone := outlived(event, held, own)) is not None:
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
    placed = _placed(event, version, content_hash, max(moved.epoch, event.epoch), held, _open(case), plan)
    if not isinstance(placed, tuple):
        return placed, moved
    version, verdict = placed

    # Nothing is asked of a delete. Rows of a snapshot carry the time of the snapshot, not of a commit.
    commit_time_us = None if event.op is Op.READ else event.commit_time_us
    flags = () if row is None or not plan.checks else check_row(row, plan.checks, event.before, commit_time_us)
    if isinstance(flags, Reject):
        return flags, moved
    if isinstance(flags, Escalate):
        # What is held already was accepted, by a person perhaps: nobody is asked twice.
        accepted = held is not None and held.content_hash == content_hash
        verdict, flags = verdict or (None if accepted else flags), (flags.reason,)
    if verdict is not None and case is not None and cases.is_settled(case, held, version, content_hash):
        return Skip(Outcome.UNCHANGED, "a person decided against it"), moved
    cause = cause_of(event.before if row is None else row, plan.table)
    origin = event.system if plan.table.several_writers else None
    applied = route(event, version, content_hash, row_bytes, flags, cause, origin)
    return (applied if verdict is None else msgspec.structs.replace(verdict, contender=applied.truth)), moved


def _placed(
    event: ChangeEvent,
    version: Version,
    content_hash: bytes,
    epoch: int,
    held: Held | None,
    waiting: Case | None,
    plan: DecidePlan,
) -> tuple[Version, Escalate | None] | Skip | Again:
    """A change's place among those of its key: its version, and why a person has to decide whether it gets it.

    :param epoch: the highest that began in the partition.
    :param waiting: the open case of the key. With several writers nothing of the key is published until it is decided,
        unless all sides come to say the same; with one owner its next accepted change decides it.
    """
    several = plan.conflicts is not None
    change = _change(event, version, content_hash, epoch, plan) if several else None
    if change is not None:
        version = make_version(change.epoch, change.offset, change.rank)
    if waiting is not None:
        passed = cases.passed_over(waiting, event.system, version, content_hash, held, several=several)
        if passed is not None:
            return passed
    if change is None or plan.conflicts is None:
        verdict = compare(event, version, content_hash, held, plan.version_column)
        return verdict if isinstance(verdict, Skip) else (version, verdict)
    if waiting is not None:
        if not cases.agrees(waiting, event.system, content_hash):
            return version, Escalate(waiting.rule, waiting.reason, HINT)
        ranks = [rank_in(side.order) for side in waiting.sides if side.version]
        ranks += [] if held is None else [rank_in(held.version)]
        return make_version(change.epoch, change.offset, max(change.rank, *ranks)), None
    settled = settle(change, held, plan.conflicts)
    if isinstance(settled, Escalate):
        return version, settled
    return (settled, None) if isinstance(settled, bytes) else settled


def _change(event: ChangeEvent, version: Version, content_hash: bytes, epoch: int, plan: DecidePlan) -> Change:
    """What the policies of several writers are asked about.

    :param epoch: the highest that began in the partition.
    """
    before = event.before
    try:
        before_hash = None if before is None else hash_row(plan.codec.encode_row(before), plan.codec.columns_hash)
    except (TypeError, ValueError, AttributeError, OverflowError):
        before_hash = None  # the source's column changed meanwhile; then nobody can say that the two agree
    # A delete is as new as the row it deletes: its rank is that of `before`.
    column = plan.version_column
    base = None if before is None or column is None else rank_of(before.get(column.column))
    return Change(event, epoch, offset_of(version), rank_in(version), content_hash, base, before_hash)


def _row_bytes(row: dict[str, Any], plan: DecidePlan) -> bytes | Reject:
    """The row in the registered types; a value of another type says that the source's column changed."""
    try:
        return plan.codec.encode_row(row)
    except (TypeError, ValueError, AttributeError, OverflowError) as exc:
        return _type_changed(exc)


def _exact(event: ChangeEvent, plan: DecidePlan) -> ChangeEvent | Reject:
    """The event with values as PostgreSQL writes them."""
    if event.row is None:
        if plan.conflicts is None:
            return event
        return msgspec.structs.replace(event, before=_exact_before(event, plan))
    try:
        row = plan.exact.of(event.row, snapshot=event.op is Op.READ)
    except Inexact as exc:
        return Reject("validate", "ValueInexact", f'column "{exc.field}": {exc.reason}', exc.hint)
    except (TypeError, ValueError, AttributeError) as exc:
        return _type_changed(exc)
    before = _exact_before(event, plan) if plan.needs_before else event.before
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


def held_of(truth: TruthRecord, plan: DecidePlan) -> Held:
    """What is held of a key once this is its truth."""
    if not plan.keeps_rows:
        return Held(truth.version, truth.content_hash)
    return held_whole(plan.codec.encode(truth))


def decided_alone(record: LogRecord, plan: DecidePlan) -> Held | None:
    """What a record makes of its key where nothing is held.

    One that a person would be asked about by itself was accepted if a person had accepted the same content before.
    """
    decision, _ = decide(record, None, Guard(), plan)
    match decision:
        case Apply(truth=truth) | Escalate(contender=TruthRecord() as truth):
            return Held(truth.version, truth.content_hash)
        case _:
            return None


class BatchDecision(msgspec.Struct):
    """The decisions of one batch of a partition: what to publish, in order, and what to count.

    :param cases: the cases that changed, as they are after the batch.
    """

    truths: list[TruthRecord]
    dead: list[tuple[LogRecord, Reject]]
    counts: dict[Outcome, int]
    guard: Guard
    held: dict[bytes, Held]
    cases: dict[bytes, Case]


def decide_batch(
    records: Iterable[LogRecord],
    held: Mapping[bytes, Held],
    guard: Guard,
    plan: DecidePlan,
    known_cases: Mapping[bytes, Case] | None = None,
) -> BatchDecision:
    """Decides records in order; a later record of a key sees what an earlier one of the batch decided.

    :param known_cases: of the keys whose newest case is open or decided.
    """
    batch = BatchDecision([], [], dict.fromkeys(Outcome, 0), guard, {}, {})
    for record in records:
        key = record.key or b""
        known = batch.held.get(key) or held.get(key)
        case = batch.cases.get(key) or (known_cases or {}).get(key)
        waiting = _open(case)
        if waiting is not None and known is not None and not plan.table.several_writers:
            known = cases.refused_by_case(known, waiting)
        decision, batch.guard = decide(record, known, batch.guard, plan, case)
        if isinstance(decision, Escalate):
            decision = _in_case(batch, record, known, waiting, decision, plan)
        match decision:
            case Apply(truth=truth):
                if plan.keeps_rows:
                    truth = msgspec.structs.replace(truth, encoded=plan.codec.encode(truth))
                batch.truths.append(truth)
                batch.held[key] = _with_later_mark(held_of(truth, plan), known)
                if waiting is not None:
                    batch.cases[key] = cases.superseded(waiting, truth.version, truth.commit_time_us)
                outcome = Outcome.APPLIED
            case Again(truth=truth):
                batch.truths.append(truth)
                batch.held[key] = held_of(truth, plan)
                outcome = Outcome.STALE
            case Skip():
                outcome = decision.outcome
            case Reject():
                batch.dead.append((record, decision))
                batch.held |= _marked(key, known, record)
                outcome = Outcome.REJECTED
            case Escalate():
                if not plan.table.several_writers:  # of those the case itself keeps the key
                    batch.held |= _marked(key, known, record)
                outcome = Outcome.ESCALATED
            case _:
                assert_never(decision)
        batch.counts[outcome] += 1
    return batch


def _open(case: Case | None) -> Case | None:
    return case if case is not None and case.is_open else None


def _marked(key: bytes, known: Held | None, record: LogRecord) -> dict[bytes, Held]:
    """The mark of a refused change with what is held of its key. Without an epoch it is older than all that is held."""
    epoch, offset = epoch_of_headers(record) or 0, age_of(record)
    if known is None or offset <= known.refused_at or is_newer(known.version, epoch, offset):
        return {}
    return {key: msgspec.structs.replace(known, refused_at=offset)}


def _with_later_mark(held: Held, known: Held | None) -> Held:
    """A letter that is replayed has the age of its first record: changes that were refused after it still are."""
    if known is None or known.refused_at <= offset_of(held.version):
        return held
    if epoch_of(known.version) != epoch_of(held.version):
        return held  # the offsets may be of another topic
    return msgspec.structs.replace(held, refused_at=known.refused_at)


def _in_case(
    batch: BatchDecision, record: LogRecord, known: Held | None, waiting: Case | None, why: Escalate, plan: DecidePlan
) -> Escalate | Reject:
    """Puts what rules cannot decide into the case of its key, a new one where none is open."""
    assert why.contender is not None
    several = plan.table.several_writers
    image = cases.side_of(why.contender, why.contender.origin or plan.table.reference, plan.row_json)
    if waiting is None:
        held = cases.nothing_held() if known is None else _held_side(known, plan)
        case = cases.opened(plan.table.table, record, why, held, image, plan.decide_within_us)
    else:
        case = cases.with_image(waiting, image, why, several=several)
    if len(cases.encode_case(case)) > PAYLOAD_BYTES_MAX:
        reason = f"{why.reason}; the images are too large for a case"
        return Reject(why.stage, "CaseTooLarge", reason, "decide which is right and write it at the owner")
    batch.cases[record.key or b""] = case
    return why


def _held_side(known: Held, plan: DecidePlan) -> Side:
    """Side A: what the copies hold."""
    assert known.record is not None
    truth = plan.reader.decode(b"", known.record)
    return cases.side_of(truth, known.origin if plan.table.several_writers else plan.table.reference, plan.row_json)
