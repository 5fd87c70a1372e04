"""Capture may go on, or the source lost what was not captured: seen from slot, log and the connector's offsets."""

import pytest

from trueup.core.capture_health import capture_problem, captured_position, has_streamed
from trueup.model.errors import SlotLost, SourceWentBack, Stop
from trueup.model.source_table import Slot

SLOT = Slot(confirmed=100, lost=False, active=True)


def test_a_slot_at_or_behind_what_was_captured_is_fine() -> None:
    assert capture_problem("shop", SLOT, 500, 100) is None
    assert capture_problem("shop", SLOT, 500, 101) is None


def test_a_connector_that_never_committed_begins_with_a_snapshot() -> None:
    assert capture_problem("shop", None, 500, None) is None


@pytest.mark.parametrize(
    ("slot", "log_end", "kind", "words"),
    [
        (None, 500, SlotLost, "is gone"),
        (Slot(confirmed=100, lost=True, active=False), 500, SlotLost, "gave up the log"),
        (Slot(confirmed=201, lost=False, active=False), 500, SlotLost, "advanced by hand"),
        (SLOT, 199, SourceWentBack, "went back"),
        (None, 199, SourceWentBack, "went back"),
    ],
)
def test_what_was_lost_is_named_with_its_cure(slot: Slot | None, log_end: int, kind: type[Stop], words: str) -> None:
    problem = capture_problem("shop", slot, log_end, 200)
    assert isinstance(problem, kind)
    assert words in problem.primary
    assert problem.hint == "trueup resync shop"


@pytest.mark.parametrize(
    ("offsets", "streamed"),
    [
        ([], False),
        ([{}], False),  # the first record of a snapshot could have it, were there notifications
        ([{"lsn": 5, "snapshot": "INITIAL", "last_snapshot_record": False, "snapshot_completed": False}], False),
        ([{"lsn": 5, "snapshot": True, "last_snapshot_record": True}], False),
        ([{"lsn": 5, "lsn_proc": 5, "lsn_commit": 4, "ts_usec": 9}], True),
        ([{"lsn": 5, "incremental_snapshot_collections": "[]"}], True),
    ],
)
def test_a_connector_has_streamed_when_its_offset_is_none_of_a_first_snapshot(
    offsets: list[dict[str, object]], streamed: bool
) -> None:
    assert has_streamed(offsets) is streamed


def test_the_connector_has_read_as_far_as_the_highest_of_its_positions() -> None:
    assert captured_position([{"lsn": 5, "lsn_proc": 9, "lsn_commit": 7, "ts_usec": 99}]) == 9
    assert captured_position([{"lsn": 5, "lsn_proc": None}]) == 5
    assert captured_position([]) is None
