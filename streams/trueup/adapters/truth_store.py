"""The local store of a truth table partition: RocksDB, holding version and content hash by key, and how far it is.

A cache of the truth topic, nothing more: lost or stale, it is brought up to date from there before anything is decided.
One that is damaged is forgotten, so that it only delays.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import structlog
from rocksdict import AccessType, BlockBasedOptions, Cache, DbClosedError, Options, Rdict, WriteBatch

from trueup.model.decision import HASH_BYTES, Held
from trueup.model.errors import BrokenInvariant
from trueup.model.version import VERSION_BYTES, Version

# Faust's own default is 2 GiB of block cache per table and partition; one small cache is shared by all of a process.
_BLOCK_CACHE_BYTES: Final = 32 << 20
_WRITE_BUFFER_BYTES: Final = 4 << 20
_KEY_PREFIX: Final = b"k"
_POSITION: Final = b"p"
_IDENTITY: Final = b"i"
_HASH_END: Final = VERSION_BYTES + HASH_BYTES
_REFUSED_END: Final = _HASH_END + 8

log = structlog.get_logger("trueup.decide")


class TruthStore:
    """One partition's store.

    :param identity: what the store belongs to (topic id and partition); a store of another identity is discarded.
    """

    _cache: Cache | None = None

    def __init__(self, path: Path, identity: bytes) -> None:
        self.path = path
        self._identity = identity
        self._db = self._open()
        with self._undamaged():
            is_its_own = self._db.get(_IDENTITY) == identity
        if not is_its_own:
            self.discard()

    def _open(self) -> Rdict:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return Rdict(str(self.path), options=_options(), access_type=AccessType.read_write())
        except Exception as exc:
            if not _is_damage(exc):
                raise  # another process holds it, or the disk is full: that passes, or a person has to see it
            log.warning("a local store is damaged and is read back from its topic", path=str(self.path), error=str(exc))
            shutil.rmtree(self.path)
            return Rdict(str(self.path), options=_options(), access_type=AccessType.read_write())

    @contextmanager
    def _undamaged(self) -> Iterator[None]:
        """RocksDB looks at blocks when they are read. The next owner must not meet the same one again."""
        try:
            yield
        except Exception as exc:
            if not _is_damage(exc):
                raise
            self._db.close()
            shutil.rmtree(self.path, ignore_errors=True)
            raise BrokenInvariant(
                "the local store of a truth partition is damaged",
                detail=f"{self.path}: {exc}",
                hint="the worker ends; it was forgotten, and is read back from the truth topic",
            ) from exc

    def discard(self) -> None:
        """Forgets everything; the truth topic has it."""
        self._db.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self._db = self._open()
        self._db[_IDENTITY] = self._identity

    @property
    def position(self) -> int:
        """The offset of the truth topic up to which the store is complete."""
        with self._undamaged():
            raw: Any = self._db.get(_POSITION)
        return 0 if raw is None else int.from_bytes(raw, "big")

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        """What is held of each key; keys never seen are absent. Raises BrokenInvariant where it is damaged."""
        asked = list(keys)
        with self._undamaged():
            found: Any = self._db.get([_KEY_PREFIX + key for key in asked])
        return {key: held_of(raw) for key, raw in zip(asked, found, strict=True) if raw is not None}

    def scan(self, after: bytes | None, keys_max: int) -> list[tuple[bytes, Held]]:
        """What is held of the keys behind `after`, in the order of their bytes; fewer than `keys_max` at the end."""
        found: list[tuple[bytes, Held]] = []
        with self._undamaged():
            entries: Any = self._db.iter()
            entries.seek(_KEY_PREFIX if after is None else _KEY_PREFIX + after + b"\0")
            while len(found) < keys_max and entries.valid() and (key := entries.key()).startswith(_KEY_PREFIX):
                found.append((key[len(_KEY_PREFIX) :], held_of(entries.value())))
                entries.next()
            if len(found) < keys_max:
                entries.status()  # an iterator that meets damage ends like one that came to the end
        return found

    def put_many(self, changes: Mapping[bytes, bytes], position: int) -> None:
        """Writes what is held (`bytes_of`) by key together with the position that brings the store to."""
        batch = WriteBatch(raw_mode=True)
        for key, held in changes.items():
            batch.put(_KEY_PREFIX + key, held)
        batch.put(_POSITION, position.to_bytes(8, "big"))
        self._db.write(batch)

    def close(self) -> None:
        with suppress(DbClosedError):  # a damaged one is closed already
            self._db.close()


def _is_damage(exc: Exception) -> bool:
    """RocksDB's status stands in front of its text; its client has no classes for it."""
    return str(exc).startswith(("Corruption:", "IO error: No such file"))


def bytes_of(held: Held) -> bytes:
    """Version, hash and, where there is one, the offset of the refused change: as the store keeps them. Where the truth
    record is kept: always the offset, then the origin, with its length in front, and the record.

    The first two stand in a truth record in the same way, so recovery copies bytes and decodes nothing.
    """
    if held.record is not None:
        origin = (held.origin or "").encode()
        refused = held.refused_at.to_bytes(8, "big", signed=True)
        return b"".join((held.version, held.content_hash, refused, len(origin).to_bytes(), origin, held.record))
    refused = b"" if held.refused_at < 0 else held.refused_at.to_bytes(8, "big")
    return held.version + held.content_hash + refused


def held_of(raw: bytes) -> Held:
    """The inverse of `bytes_of`."""
    version, content_hash = Version(raw[:VERSION_BYTES]), raw[VERSION_BYTES:_HASH_END]
    if len(raw) <= _HASH_END:
        return Held(version, content_hash)
    refused_at = int.from_bytes(raw[_HASH_END:_REFUSED_END], "big", signed=True)
    if len(raw) == _REFUSED_END:
        return Held(version, content_hash, refused_at)
    behind = _REFUSED_END + 1 + raw[_REFUSED_END]
    origin = raw[_REFUSED_END + 1 : behind].decode() or None
    return Held(version, content_hash, refused_at, raw[behind:], origin)


def _options() -> Options:
    if TruthStore._cache is None:
        TruthStore._cache = Cache(_BLOCK_CACHE_BYTES)
    table = BlockBasedOptions()
    table.set_block_cache(TruthStore._cache)
    table.set_bloom_filter(10, block_based=False)  # most keys of a growing table are new: answer "absent" from memory
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(64)
    options.set_block_based_table_factory(table)
    options.set_keep_log_file_num(1)
    options.set_max_total_wal_size(16 << 20)
    return options
