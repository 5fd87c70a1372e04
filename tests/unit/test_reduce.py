"""core.reduce: one record per key, chosen by version."""

from trueup.core.reduce import reduce_batch
from trueup.model.decision import HASH_BYTES, Outcome
from trueup.model.event import LogRecord
from trueup.model.version import make_version


def record(key: bytes | None, version: int | None, offset: int = 0, epoch: int = 1) -> LogRecord:
    value = None
    if version is not None:
        value = b"\x00\x00\x00\x00\x07" + make_version(epoch, version) + bytes(HASH_BYTES) + b"the rest"
    return LogRecord(topic="t", partition=0, offset=offset, timestamp_ms=0, key=key, value=value)


def test_the_highest_version_of_a_key_wins_whatever_came_last() -> None:
    newest = record(b"a", 9, offset=1)
    reduced = reduce_batch([record(b"a", 3, offset=0), newest, record(b"a", 5, offset=2)])
    assert reduced.records == [newest]
    assert reduced.counts == {Outcome.COALESCED: 2}


def test_a_higher_epoch_is_newer_than_any_offset() -> None:
    newest = record(b"a", 1, epoch=2)
    assert reduce_batch([newest, record(b"a", 1_000_000)]).records == [newest]


def test_the_same_version_again_is_a_duplicate() -> None:
    first = record(b"a", 3, offset=0)
    reduced = reduce_batch([first, record(b"a", 3, offset=1), record(b"a", 3, offset=2)])
    assert reduced.records == [first]
    assert reduced.counts == {Outcome.DUPLICATE: 2}


def test_records_are_sorted_by_key_bytes() -> None:
    reduced = reduce_batch([record(key, 1) for key in (b"b", b"\xff", b"a", b"10", b"9")])
    assert [kept.key for kept in reduced.records] == [b"10", b"9", b"a", b"b", b"\xff"]


def test_records_without_key_or_value_are_ignored_and_counted() -> None:
    reduced = reduce_batch([record(None, 1), record(b"a", None), record(b"a", 1)])
    assert len(reduced.records) == 1
    assert reduced.counts == {Outcome.IGNORED: 2}


def test_each_record_is_counted_once() -> None:
    records = [record(b"%d" % (n % 7), n * 31 % 17) for n in range(100)]
    reduced = reduce_batch(records)
    assert len(reduced.records) + sum(reduced.counts.values()) == len(records)


def test_nothing_in_nothing_out() -> None:
    reduced = reduce_batch([])
    assert (reduced.records, reduced.counts) == ([], {})
