"""A truncate: whom it is passed on to, when its control record is obeyed, and what it leaves alone."""

from typing import Any

import msgspec
import pytest

from tests.envelopes import ORDERS, change, orders_plan
from trueup.core.control import PROOF_HEADER, Truncate, is_control, order_of, segments, truncate_record
from trueup.core.decode import decode, truncate_event
from trueup.core.ordering import Guard, check_position, outlived
from trueup.core.truncation import Ordered, Place, orders_of, place_in
from trueup.model.decision import DELETED_HASH, Held, Outcome, Reject, Skip
from trueup.model.errors import TableTruncated
from trueup.model.event import ChangeEvent, Position
from trueup.model.registration import Check
from trueup.model.version import make_version

IDENTITY = b"cluster/topic"
PLAN = orders_plan(msgspec.structs.replace(ORDERS, checks=[Check(column="amount", min=0)]))
AT = (5_000, 5_001)
ORDER = Truncate(1, 90, 7, Position(*AT))


def truncated(policy: str = "delete", position: tuple[int, int] = AT, **more: Any) -> tuple[ChangeEvent, Any]:
    plan = orders_plan(msgspec.structs.replace(ORDERS, truncate=policy))
    event = truncate_event(change(40, "t", position=position, **more), plan.decoders)
    assert event is not None
    return event, plan


def test_only_a_keyless_truncate_is_one() -> None:
    decoders = PLAN.decoders
    assert truncate_event(change(1, "t"), decoders) is not None
    assert truncate_event(change(1, "t", key=b'{"order_id":1}'), decoders) is None
    assert truncate_event(change(1, "t", epoch=None), decoders) is None
    assert truncate_event(change(1, "m"), decoders) is None
    assert truncate_event(change(1), decoders) is None
    broken = change(1, "t")
    assert truncate_event(msgspec.structs.replace(broken, value=(broken.value or b"")[:-4]), decoders) is None


def test_it_is_passed_on_to_every_partition_and_bound_to_each() -> None:
    event, plan = truncated()
    ordered = orders_of(event, plan, Guard(1), 3, IDENTITY)
    assert isinstance(ordered, Ordered)
    assert [record.partition for record in ordered.records] == [0, 1, 2]
    assert ordered.guard.position == Position(*AT)
    for record in ordered.records:
        assert is_control(record)
        met = msgspec.structs.replace(record, offset=90)
        expected = Truncate(1, 90, event.commit_time_us, Position(*AT))
        assert order_of(met, Guard(1), IDENTITY) == expected
        for forged in (
            msgspec.structs.replace(met, partition=7),
            msgspec.structs.replace(met, headers=tuple(h for h in met.headers if h[0] != PROOF_HEADER)),
            msgspec.structs.replace(met, headers=(("trueup.position", b"9/9/9"), *met.headers[:2], met.headers[3])),
        ):
            assert isinstance(order_of(forged, Guard(1), IDENTITY), Reject)
        assert isinstance(order_of(met, Guard(1), b"another cluster"), Reject)


def test_one_that_is_no_newer_than_what_was_carried_out_is_passed_over_and_one_of_an_epoch_that_is_over() -> None:
    record = msgspec.structs.replace(truncate_record("t", 0, IDENTITY, ORDER), offset=90)
    assert isinstance(order_of(record, Guard(1), IDENTITY), Truncate)
    for guard in (Guard(1).truncated(Position(*AT)), Guard(1).truncated(Position(6_000, 6_001)), Guard(2)):
        answer = order_of(record, guard, IDENTITY)
        assert isinstance(answer, Skip)
        assert answer.outcome is Outcome.IGNORED


def test_stop_stops_with_what_to_write_and_strangers_truncate_nothing() -> None:
    event, plan = truncated("stop")
    with pytest.raises(TableTruncated) as stop:
        orders_of(event, plan, Guard(1), 3, IDENTITY)
    assert "truncate: delete in schemas/tables/orders.yaml" in str(stop.value.hint)
    event, plan = truncated(source={"name": "evil"})
    assert isinstance(orders_of(event, plan, Guard(1), 3, IDENTITY), Reject)
    event, plan = truncated()
    assert isinstance(orders_of(event, plan, Guard(2), 3, IDENTITY), Skip), "its epoch is over"
    later = Guard(1, Position(9_000, 9_001), event.commit_time_us)
    assert isinstance(orders_of(event, plan, later, 3, IDENTITY), Skip), "repeated by the capture"


def test_a_table_with_several_writers_follows_no_truncate() -> None:
    assert PLAN.follows_truncates
    assert not orders_plan(msgspec.structs.replace(ORDERS, truncate="reject")).follows_truncates


def test_a_batch_is_cut_at_a_truncate_too() -> None:
    records = [change(1), change(2, "t"), change(3)]
    cut = list(segments(records, 1, 4, lambda r: truncate_event(r, PLAN.decoders) is not None))
    assert [(len(s.records), s.control is not None, s.next_offset) for s in cut] == [(1, True, 2), (1, False, 4)]


def test_the_place_of_a_truncate_is_found_by_positions() -> None:
    before, later = change(1, position=(4_000, 4_001)), change(2, position=(5_000, 5_002))
    assert place_in([before, later], ORDER, PLAN.decoders) == Place(1, before=True)
    assert place_in([later, before], ORDER, PLAN.decoders) == Place(0, before=True), (
        "repeated: it does not end the search"
    )
    assert place_in([before], ORDER, PLAN.decoders) == Place(None, before=True)
    says_nothing = [
        change(3, position=(4_000, 4_001), epoch=2),
        change(3, position=(4_000, 4_001), replay_of=1),
        msgspec.structs.replace(change(3), value=None),
        change(3, "r", position=(5_000, 5_001)),
    ]
    assert place_in(says_nothing, ORDER, PLAN.decoders) == Place(None, before=False)
    assert place_in([change(3, "r", position=(4_000, 4_001))], ORDER, PLAN.decoders) == Place(None, before=True)
    assert place_in([change(3, "r", position=(6_000, 6_001))], ORDER, PLAN.decoders) == Place(0, before=False)


def held_row(offset: int, rank: int = 0) -> Held:
    return Held(make_version(1, offset, rank), b"x" * 16)


def read(read_at: int, guard: Guard, held: Held | None = None) -> tuple[Guard, Skip | None]:
    event = decode(change(95, "r", position=(read_at, read_at + 1)), PLAN.decoders)
    assert isinstance(event, ChangeEvent)
    moved = check_position(event, guard)
    if isinstance(moved, Skip):
        return guard, moved
    return moved, outlived(event, held, moved)


def test_rows_of_the_first_chunk_after_a_truncate_are_suspects_until_a_second_chunk() -> None:
    guard = Guard(1, Position(5_500, 5_501)).truncated(Position(*AT))
    guard, skip = read(6_000, guard)
    assert skip is not None
    assert skip.outcome is Outcome.STALE
    guard, skip = read(6_000, guard, held_row(93))
    assert skip is None, "it is held, so it was inserted afterwards"
    guard, skip = read(6_000, guard, Held(make_version(1, 90), DELETED_HASH, refused_at=92))
    assert skip is None, "it was inserted afterwards, and refused"
    guard, skip = read(6_000, guard)
    assert skip is not None
    guard, skip = read(6_500, guard)
    assert skip is None
    assert read(6_500, guard)[1] is None
    assert read(4_000, guard)[1] is not None, "sent before the truncate"


def test_a_replayed_letter_of_before_does_not_come_back() -> None:
    event = decode(change(95, position=(4_000, 4_001), replay_of=3), PLAN.decoders)
    assert isinstance(event, ChangeEvent)
    guard = Guard(1, Position(5_500, 5_501)).truncated(Position(*AT))
    assert isinstance(check_position(event, guard), Skip)
    newer = msgspec.structs.replace(event, position=Position(5_000, 5_009))
    assert check_position(newer, guard) == guard
