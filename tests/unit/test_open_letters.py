"""Which keys have an open dead letter: counted as `trueup deadletters list` shows them."""

from typing import Any

from trueup.core.decode import EPOCH_HEADER
from trueup.core.ordering import Guard
from trueup.core.pipeline import BatchDecision
from trueup.model.decision import Held, Reject
from trueup.model.event import LogRecord
from trueup.model.version import make_version
from trueup.runtime.open_letters import OpenLetters

A, B = b'{"id":1}', b'{"id":2}'
WHY = Reject("rules", "CheckViolated", "for the test", "")


def record(key: bytes | None, offset: int, epoch: int = 1) -> LogRecord:
    return LogRecord("shop.public.orders", 0, offset, 0, key, b"value", ((EPOCH_HEADER, b"%d" % epoch),))


def held(offset: int, epoch: int = 1) -> Held:
    return Held(make_version(epoch, offset), bytes(16))


def decision(dead: list[LogRecord], **changed: Held) -> BatchDecision:
    held_now = {{"a": A, "b": B}[name]: known for name, known in changed.items()}
    return BatchDecision([], [(r, WHY) for r in dead], {}, Guard(), held_now, {})


def test_a_key_counts_once_until_a_newer_change_of_it_is_applied() -> None:
    letters = OpenLetters()
    letters.follow(decision([record(A, 5), record(A, 6), record(B, 7), record(None, 8)]), {})
    assert len(letters) == 2
    assert letters.counted == 3, "the cap counts what has no key, too"
    letters.follow(decision([], a=held(6)), {})
    assert len(letters) == 2, "the letter is as old as that"
    letters.follow(decision([], a=held(9)), {A: held(6)})
    assert len(letters) == 1
    letters.follow(decision([], b=held(1, epoch=2)), {})
    assert len(letters) == 0


def test_a_letter_older_than_what_is_held_is_superseded_at_once() -> None:
    letters = OpenLetters()
    letters.follow(decision([record(A, 5)]), {A: held(6)})
    letters.follow(decision([record(B, 5)], b=held(6)), {B: held(1)})
    assert len(letters) == 0


def test_letters_are_read_as_their_topic_has_them() -> None:
    class Table:
        def get_many(self, keys: set[bytes]) -> dict[bytes, Held]:
            return {key: known for key, known in {A: held(6), B: held(1)}.items() if key in keys}

    table: Any = Table()
    letters = OpenLetters()
    offset = ("trueup.offset", b"5")
    found = [LogRecord("d", 0, n, 0, key, b"", (*record(key, 5).headers, offset)) for n, key in enumerate((A, B, None))]
    letters.add_records(found, table)
    assert len(letters) == 1, "that of the first key is superseded, the third has none"
    assert letters.counted == 2
