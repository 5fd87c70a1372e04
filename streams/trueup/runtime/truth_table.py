"""The truth table of one partition: local store plus the truth topic it is a cache of (design 6).

Own code instead of faust.Table, because Faust's recovery waits for an end offset that is a transaction marker and never
arrives as a record, its store is written before the changelog is durable, and its changelog topic cannot be the truth
topic itself. The order here: Kafka commits, then the local store follows; after a crash it catches up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from trueup.adapters.truth_log import TruthLog
from trueup.adapters.truth_store import TruthStore, bytes_of
from trueup.core.truth_codec import HELD_SLICE, held_whole
from trueup.model.decision import Held

_WITH_ROWS: Final = b" with rows"


def _head(value: bytes) -> bytes:
    return value[HELD_SLICE]


def _whole(value: bytes) -> bytes:
    return bytes_of(held_whole(value))


class TruthTable:
    """What is held of every key of one partition of a table.

    :param keeps_rows: whole truth records (`Table.keeps_rows`), not only version and content hash.
    """

    def __init__(
        self,
        log: TruthLog,
        path: Path,
        topic: str,
        partition: int,
        identity: bytes,
        open_store: Callable[[Path, bytes], TruthStore] = TruthStore,
        *,
        keeps_rows: bool = False,
    ) -> None:
        self._log = log
        self._topic = topic
        self._partition = partition
        # A table that is registered anew with rows to keep, or without, has a store made anew.
        self._store = open_store(path, identity + _WITH_ROWS if keeps_rows else identity)
        self._bytes_kept = _whole if keeps_rows else _head

    async def catch_up(self) -> tuple[int, float]:
        """Brings the store to the end of the truth partition. Returns (records read, seconds)."""
        started = time.monotonic()
        begin, end = await self._log.bounds(self._topic, self._partition)
        start = self._store.position
        if start > end:  # the topic is younger than the store: recreated, or another cluster
            self._store.discard()
            start = 0
        read = 0
        if max(start, begin) < end:
            async for pairs, position in self._log.read(self._topic, self._partition, max(start, begin), end):
                # Without a value it is a marker (core.watermark), which is no state of a key.
                truths = {key: self._bytes_kept(value) for key, value in pairs if value is not None}
                self._store.put_many(truths, position)
                read += len(pairs)
        return read, time.monotonic() - started

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        return self._store.get_many(keys)

    async def scan(self, keys_max: int) -> AsyncIterator[list[tuple[bytes, Held]]]:
        """Everything held, in batches of `keys_max`, read beside the event loop. Writing between two is allowed."""
        after: bytes | None = None
        while batch := await asyncio.to_thread(self._store.scan, after, keys_max):
            yield batch
            after = batch[-1][0]

    def put_many(self, changes: Mapping[bytes, Held], position: int | None) -> None:
        """After the commit: what the transaction made true; None where it wrote nothing to the truth topic."""
        if changes or position is not None:
            end = self._store.position if position is None else position
            self._store.put_many({key: bytes_of(held) for key, held in changes.items()}, end)

    def close(self) -> None:
        self._store.close()
