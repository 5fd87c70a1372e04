"""The sweep's decision: which keys are gone, and what their deletion beats and loses to."""

from typing import Any

import pytest

from tests.envelopes import CAPTURED, ORDERS, log_record, orders_codec
from tests.several_writers import BASE, CRM, held_by, plan_of, row
from trueup.core.control import Sweep
from trueup.core.sweep import brought_by_letter, deletion, restored, swept_keys, version_of_sweep
from trueup.core.truth_codec import TruthReader, peek, peek_origin
from trueup.core.truth_schema import truth_schema
from trueup.model.decision import DELETED_HASH, Held
from trueup.model.event import Op
from trueup.model.version import RANK_MAX, RANK_MIN, make_version, rank_in

A = b"a" * 16
NOTHING: Any = None  # Kafka's header values may be null
SWEEP = Sweep(epoch=2, offset=50, time_us=9_000_000)


def test_keys_of_an_earlier_epoch_are_swept_and_no_others() -> None:
    held = [
        (b"gone", Held(make_version(1, 999), A)),
        (b"brought", Held(make_version(2, 3), A)),
        (b"deleted before", Held(make_version(1, 7), DELETED_HASH)),
        (b"refused", Held(make_version(1, 8), A, 40)),
        (b"newer", Held(make_version(3, 0), A)),
    ]
    assert swept_keys(held, {b"refused"}, 2) == [b"gone"]


@pytest.mark.parametrize("ranked", [False, True])
def test_a_deletion_beats_every_earlier_epoch_and_loses_to_every_later_change(ranked: bool) -> None:
    version = version_of_sweep(SWEEP, ranked=ranked)
    assert version > make_version(1, 2**60, RANK_MAX if ranked else 0)
    assert version < make_version(2, 51, RANK_MIN if ranked else 0)
    assert version < make_version(2, 51, 1 if ranked else 0)


def test_the_truth_says_that_the_key_is_gone_and_why() -> None:
    codec = orders_codec()
    record = deletion(b'{"order_id":1}', version_of_sweep(SWEEP, ranked=False), SWEEP)
    value = codec.encode(record)
    assert peek(value) == Held(make_version(2, 50), DELETED_HASH)
    reader = TruthReader()
    reader.learn(codec.schema_id, truth_schema(ORDERS, CAPTURED))
    read = reader.decode(record.key, value)
    assert (read.op, read.row, read.commit_time_us) == (Op.DELETE, None, 9_000_000)
    assert read.cause is not None
    assert "epoch 2" in read.cause


@pytest.mark.parametrize(
    ("key", "epoch", "brought"),
    [
        (b"k", b"2", True),
        (b"k", b"1", False),
        (None, b"2", False),
        (b"k", b"x", False),
        (b"k", b"2" * 5_000, False),
        (b"k", NOTHING, False),
    ],
)
def test_a_dead_letter_of_the_epoch_says_that_its_key_is_there(key: bytes | None, epoch: bytes, brought: bool) -> None:
    letter = log_record(0, b"value", key=key, headers=(("trueup.epoch", epoch),))
    assert brought_by_letter(letter, 2) is brought


def test_a_row_that_several_systems_write_is_published_again_and_for_all_of_them() -> None:
    plan = plan_of("last_write_wins")
    held = held_by(CRM, row("theirs", at=100), plan)
    record = restored(BASE, held, SWEEP)
    value = plan.codec.encode(record)
    assert peek(value) == Held(make_version(2, 50, rank_in(held.version)), held.content_hash)
    assert peek_origin(value) is None, "written where it came from, too: its snapshot did not bring it"
    reader = TruthReader()
    reader.learn(plan.codec.schema_id, truth_schema(plan.table, CAPTURED))
    read = reader.decode(BASE, value)
    assert (read.row, read.commit_time_us) == (row("theirs", at=100), 9_000_000)
