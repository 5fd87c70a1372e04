"""Which keys of a partition have an open dead letter of the decide stage: what a watermark says beside its time.

A letter is open until a newer change of its key is applied, as `trueup deadletters list` says it (`core.dead_letters`).
The letters are read from their topic when a partition is taken over, and followed from there. A cap bounds how many
are open (`worker.dead_letters_per_table_max`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from trueup.adapters.truth_log import TruthLog
from trueup.core.control import is_control
from trueup.core.dead_letters import is_newer
from trueup.core.decode import age_of, epoch_of_headers
from trueup.core.pipeline import BatchDecision
from trueup.model.decision import Held
from trueup.model.event import LogRecord
from trueup.model.version import offset_of
from trueup.runtime.truth_table import TruthTable


class OpenLetters:
    """By key, the epoch and capture offset of its newest open letter.

    :param keyless: letters of no row. No change supersedes them; refused control records are not among them.
    """

    def __init__(self) -> None:
        self._open: dict[bytes, tuple[int, int]] = {}
        self.keyless = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def counted(self) -> int:
        """What the cap counts. A table that brings nothing but records without a key is broken, too."""
        return len(self._open) + self.keyless

    def follow(self, decision: BatchDecision, held: Mapping[bytes, Held]) -> None:
        """A batch: its letters, and the changes that supersede letters.

        :param held: what was held of the keys of the batch before it.
        """
        if decision.dead:
            letters = ((r.key, epoch_of_headers(r) or 0, age_of(r)) for r, _ in decision.dead)
            self._add(letters, {**held, **decision.held})
        self.supersede(decision.held)

    def supersede(self, held: Mapping[bytes, Held]) -> None:
        """What is held from now on."""
        if self._open:
            for key in self._open.keys() & held.keys():
                if is_newer(held[key].version, *self._open[key]):
                    del self._open[key]

    def add_records(self, records: Iterable[LogRecord], table: TruthTable) -> None:
        """Letters as their topic has them."""
        letters = [
            (r.key, epoch_of_headers(r) or 0, int(dict(r.headers).get("trueup.offset", b"0")))
            for r in records
            if not is_control(r)  # a refused decision is no change of the row
        ]
        self._add(letters, table.get_many({key for key, _, _ in letters if key is not None}))

    def marks(self, table: TruthTable) -> dict[bytes, Held]:
        """What is held of their keys, marked with the refused change: a store that was lost does not know of it."""
        return {
            key: msgspec.structs.replace(held, refused_at=offset)
            for key, held in table.get_many(self._open.keys()).items()
            if (offset := self._open[key][1]) > max(held.refused_at, offset_of(held.version))
        }

    def _add(self, letters: Iterable[tuple[bytes | None, int, int]], held: Mapping[bytes, Held]) -> None:
        for key, epoch, offset in letters:
            if key is None:  # whatever it was, it was no row
                self.keyless += 1
                continue
            known = held.get(key)
            if known is None or not is_newer(known.version, epoch, offset):
                self._open[key] = max(self._open.get(key, (0, 0)), (epoch, offset))


async def read_letters(log: TruthLog, topic: str, partition: int, table: TruthTable) -> OpenLetters:
    """The open letters of a partition, marked in the table; a letter lies in the partition its change came from.

    :param table: caught up with the truth topic.
    """
    letters = OpenLetters()
    begin, end = await log.bounds(topic, partition)
    if begin < end:
        async for records in log.records(topic, partition, begin, end):
            letters.add_records(records, table)
    if letters:
        table.put_many(letters.marks(table), None)
    return letters
