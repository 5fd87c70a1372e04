"""Dead letters as people read them back: the original's headers are whatever a foreign producer wrote."""

from __future__ import annotations

from typing import Any

import pytest

from tests.envelopes import log_record
from trueup.core.dead_letters import entry_of, replay_record
from trueup.core.decode import EPOCH_HEADER
from trueup.model.decision import Reject
from trueup.model.event import LogRecord
from trueup.model.version import make_version
from trueup.runtime.decided_records import dead_letter

NOTHING: Any = None
WHY = Reject("decode", "EpochMissing", "no epoch", "read it")


def letter_of(original: LogRecord) -> LogRecord:
    made = dead_letter("trueup.dead_letters.orders", original, WHY)
    return LogRecord(made.topic, 0, 3, 0, made.key, made.value, made.headers)


@pytest.mark.parametrize("epoch", [b"two", b"", b"1.0", b"9" * 5_000, NOTHING])
def test_a_letter_whose_epoch_says_nothing_is_listed_and_can_be_sent_again(epoch: bytes) -> None:
    letter = letter_of(log_record(7, b"\x00\x00", headers=((EPOCH_HEADER, epoch), ("other", NOTHING))))
    entry = entry_of("orders", letter, None)
    assert (entry.id, entry.offset, entry.error_class, entry.superseded) == ("orders/0/3", 7, "EpochMissing", False)
    assert entry_of("orders", letter, make_version(1, 0)).superseded
    assert replay_record(letter).value == b"\x00\x00"
