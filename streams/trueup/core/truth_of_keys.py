"""What the truth topic says of a few keys, collected while its partitions are read. Pure.

A repair asks it under the lock of the copy's progress: the copy must hold the newest record of each key, unless that
record is still on its way to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trueup.core.truth_codec import peek_version
from trueup.model.event import LogRecord


class TruthOfKeys:
    """The newest record of each wanted key. Keys are texts (`model.proof.key_text`)."""

    def __init__(self, wanted: Iterable[str]) -> None:
        self.wanted = frozenset(wanted)
        self._newest: dict[str, LogRecord] = {}

    def add(self, records: Iterable[LogRecord], texts: Mapping[bytes, str]) -> None:
        """Records of one partition, in order.

        :param texts: key text by captured key; keys that are not there are not wanted.
        """
        for record in records:
            text = None if record.key is None or record.value is None else texts.get(record.key)
            if text is None or text not in self.wanted:
                continue
            held = self._newest.get(text)
            if held is None or peek_version(record.value or b"") >= peek_version(held.value or b""):
                self._newest[text] = record

    def newest(self, key: str) -> LogRecord | None:
        """The newest record of a key; None: the truth never had it."""
        return self._newest.get(key)

    def is_on_its_way(self, key: str, next_offsets: Mapping[int, int]) -> bool:
        """Whether the newest record of a key lies at or behind what the copy reads next.

        :param next_offsets: of the copy, by partition.
        """
        record = self._newest.get(key)
        return record is not None and record.offset >= next_offsets.get(record.partition, 0)
