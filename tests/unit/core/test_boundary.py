"""core.boundary: what a copy's own checks let into a replica, and what becomes of the rest."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.replica_batches import Partition, column, key_of
from tests.unit.core.test_rule_functions import function
from trueup.adapters.fakes import FakeReplica
from trueup.core.boundary import Boundary, Judged, compile_copy_checks
from trueup.core.reduce import reduce_batch
from trueup.core.rules_copy import compile_copy, mask_sha256
from trueup.model.columns import CapturedTable
from trueup.model.decision import DELETED_HASH, HASH_BYTES, Outcome, TruthRecord
from trueup.model.event import LogRecord, Op
from trueup.model.registration import Check, ColumnRule, Copy, Owner, Source, Table
from trueup.model.version import Version, make_version
from trueup.model.write import Refusal
from trueup.rules import Row

CAPTURED = CapturedTable(
    table="orders",
    key=("id",),
    columns=(column("id", "bigint"), column("amount", "numeric(12,2)"), column("note", "text")),
)
NOT_NEGATIVE = Check(column="eur", min=0)
Change = tuple[int, str | None]
"""A key and its amount; None: the row was deleted. The version of a change is its place."""


def boundary(*checks: Check, **functions: Any) -> Boundary:
    """A copy that calls amount eur and masks note."""
    copy = Copy(
        replica="reporting",
        columns={"id": "id", "eur": "amount", "note": ColumnRule(from_="note", mask="sha256")},
        checks=list(checks),
    )
    table = Table(table="orders", owner=Owner(system="shop"), source=Source(table="public.orders"), key=["id"])
    plan = compile_copy(table, copy, CAPTURED)
    return Boundary(plan, compile_copy_checks(copy, plan, CAPTURED, functions))


def value_of(version: int, place: int) -> bytes:
    return bytes(5) + make_version(1, version) + bytes(HASH_BYTES) + bytes([place])


def judge(made: Boundary, changes: Sequence[Change], flags: tuple[str, ...] = (), first: int = 0) -> Judged:
    """Judge a batch; records are as long as `core.reduce` looks, and decoded by their offset."""
    records = [
        LogRecord("t", 0, first + at, 0, key_of(key), value_of(first + at, at)) for at, (key, _) in enumerate(changes)
    ]

    def decode(key: bytes, value: bytes) -> TruthRecord:
        row_id, amount = changes[value[-1]]
        row = None if amount is None else {"id": row_id, "amount": amount, "note": "n"}
        op = Op.DELETE if row is None else Op.UPDATE
        return TruthRecord(key, Version(value[5:25]), DELETED_HASH, op, 0, None, None, flags, row, None)

    return made.judge(reduce_batch(records), records, decode)


def amounts(judged: Judged) -> dict[bytes, Any]:
    return {write.key: write.values[1] for write in judged.writes}


def test_without_checks_the_newest_of_each_key_is_written() -> None:
    judged = judge(boundary(), [(1, "-1"), (2, "1"), (1, "-2")])
    assert amounts(judged) == {key_of(1): "-2", key_of(2): "1"}
    assert judged.counts == {Outcome.COALESCED: 1}
    assert not judged.refused


def test_a_violation_is_a_dead_letter_without_the_record_where_the_copy_shows_less() -> None:
    judged = judge(boundary(NOT_NEGATIVE), [(1, "-1"), (2, "1")])
    assert amounts(judged) == {key_of(2): "1"}
    assert judged.refused == [
        Refusal(key_of(1), make_version(1, 0), 0, None, "rules", "CheckViolated", None, "eur must be at least 0")
    ]


def test_an_escalation_is_counted_as_such() -> None:
    judged = judge(boundary(Check(column="eur", min=0, on_violation="escalate")), [(1, "-1")])
    assert [(r.error_class, r.outcome) for r in judged.refused] == [("Undecided: check on eur", Outcome.ESCALATED)]


def test_flags_of_the_table_and_of_the_copy_reach_the_replica() -> None:
    made = boundary(Check(column="eur", min=0, on_violation="flag"))
    (write,) = judge(made, [(1, "-1")], flags=("amount is odd",)).writes
    assert write.flags == ("amount is odd", "eur must be at least 0")
    (write,) = judge(boundary(), [(1, "-1")], flags=("amount is odd",)).writes
    assert write.flags == ("amount is odd",)


def test_the_next_older_record_of_a_batch_is_what_the_copy_holds() -> None:
    judged = judge(boundary(NOT_NEGATIVE), [(1, "1"), (1, "2"), (1, "-3"), (1, "-4")])
    assert amounts(judged) == {key_of(1): "2"}
    assert [refusal.offset for refusal in judged.refused] == [3, 2]
    assert judged.counts == {Outcome.COALESCED: 1}


def test_a_delete_is_never_judged() -> None:
    judged = judge(boundary(Check(column="eur", not_null=True)), [(1, "1"), (1, None)])
    assert [write.deleted for write in judged.writes] == [True]
    judged = judge(boundary(NOT_NEGATIVE), [(1, None), (1, "-1")])
    assert [write.deleted for write in judged.writes] == [True]
    assert [refusal.offset for refusal in judged.refused] == [1]


def test_a_function_sees_the_columns_of_the_copy_masked() -> None:
    seen: list[dict[str, Any]] = []
    made = boundary(Check(function="looks_right"), looks_right=function(lambda row: seen.append(dict(row))))
    judge(made, [(1, "1.50")])
    assert [(list(row), str(row["eur"]), row["note"]) for row in seen] == [
        (["id", "eur", "note"], "1.50", mask_sha256("n"))
    ]


def test_a_function_that_raises_keeps_the_row_out_and_stops_nothing() -> None:
    def call(row: Row) -> str | None:
        raise KeyError(row["note"])

    judged = judge(boundary(Check(function="looks_right"), looks_right=function(call)), [(1, "1"), (2, "2")])
    assert [r.error_class for r in judged.refused] == ["RuleRaised"] * 2
    assert judged.refused[0].reason == 'rule "looks_right" raised KeyError'


def test_a_check_of_a_column_the_copy_does_not_have_is_not_compiled() -> None:
    with pytest.raises(ValueError, match="amount"):
        boundary(Check(column="amount", min=0))


changes_of_keys = st.lists(
    st.tuples(st.integers(1, 3), st.one_of(st.none(), st.integers(-2, 2).map(str))), min_size=1, max_size=30
)


@given(changes_of_keys, st.lists(st.integers(1, 7), min_size=1, max_size=5))
def test_the_replica_holds_the_newest_acceptable_row_however_the_log_is_cut(
    changes: list[Change], sizes: list[int]
) -> None:
    made = boundary(NOT_NEGATIVE, Check(column="eur", max=1, on_violation="flag"))

    async def run() -> tuple[FakeReplica, int]:
        replica = FakeReplica()
        partition = Partition(replica, made.plan)
        await partition.claim()
        refused = 0
        while partition.offset < len(changes):
            size = sizes[partition.offset % len(sizes)]
            batch = changes[partition.offset : partition.offset + size]
            judged = judge(made, batch, first=partition.offset)
            refused += len(judged.refused)
            result = await partition.apply(*judged.writes, counts=judged.counts, refused=tuple(judged.refused))
            assert sum(result.counts.values()) == len(batch)
            assert min(judged.counts.values(), default=0) >= 0
        return replica, refused

    replica, refused = asyncio.run(run())
    expected: dict[bytes, str] = {}
    for key, amount in changes:
        if amount is None:
            expected.pop(key_of(key), None)
        elif int(amount) >= 0:
            expected[key_of(key)] = amount
    target = made.plan.target
    assert {key: values[1] for key, (_, values) in replica.rows.get(target, {}).items()} == expected
    flagged = {key for key, amount in expected.items() if int(amount) > 1}
    assert replica.flags.get(target, {}).keys() == flagged
    negative = sum(amount is not None and int(amount) < 0 for _, amount in changes)
    assert refused <= negative
