"""Dead letters of the decide stage, read back from their topic's records. Pure; `runtime.deadletters` fetches them."""

from __future__ import annotations

from typing import Final

import msgspec

from trueup.core.decode import REPLAY_HEADER, epoch_of_headers
from trueup.model.event import LogRecord
from trueup.model.version import Version, place_of

_PREFIX: Final = "trueup."
_OURS: Final = frozenset(
    f"{_PREFIX}{name}"
    for name in ("stage", "error_class", "reason", "hint", "topic", "partition", "offset", "value_cut_from_bytes")
)


class DeadLetterEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter, for people and for JSON. `key` is the captured key as text."""

    id: str
    table: str
    stage: str
    error_class: str
    reason: str
    hint: str
    topic: str
    partition: int
    offset: int
    key: str
    superseded: bool
    where: str


def entry_of(table: str, record: LogRecord, newest: Version | None) -> DeadLetterEntry:
    """The letter of a dead letter record.

    :param newest: the version the truth holds of the key: a later applied change supersedes the letter.
    """
    # The original's headers are among them, and foreign producers write what they like.
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    offset, epoch = int(headers["trueup.offset"]), epoch_of_headers(record) or 0
    return DeadLetterEntry(
        id=f"{table}/{record.partition}/{record.offset}",
        table=table,
        stage=headers["trueup.stage"],
        error_class=headers["trueup.error_class"],
        reason=headers["trueup.reason"],
        hint=headers["trueup.hint"],
        topic=headers["trueup.topic"],
        partition=int(headers["trueup.partition"]),
        offset=offset,
        key=(record.key or b"").decode("utf-8", "replace"),
        superseded=newest is not None and is_newer(newest, epoch, offset),
        where="decide",
    )


def is_newer(version: Version, epoch: int, offset: int) -> bool:
    """Whether a held version was captured after (epoch, offset)."""
    return place_of(version) > (epoch, offset)


def replay_record(record: LogRecord) -> LogRecord:
    """The original record for its capture partition, marked with its age so that it cannot overwrite anything newer.

    :raises ValueError: the letter holds only a part of the original value.
    """
    headers = dict(record.headers)
    if "trueup.value_cut_from_bytes" in headers:
        msg = "the letter holds only the beginning of a value that was too large"
        raise ValueError(msg)
    kept = tuple((name, value) for name, value in record.headers if name not in _OURS and name != REPLAY_HEADER)
    return LogRecord(
        headers["trueup.topic"].decode(),
        int(headers["trueup.partition"]),
        -1,
        0,
        record.key,
        record.value,
        (*kept, (REPLAY_HEADER, headers["trueup.offset"])),
    )
