"""The local store of a truth table: kept by a host, opened by a process, lost or found stale after a crash."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from tests.simulation.schedule import Process
from trueup.adapters.truth_store import TruthStore, held_of
from trueup.model.decision import Held

Fate = Literal["intact", "stale", "lost"]


class StoredTable:
    """One partition's files: as they are, and as they were."""

    def __init__(self) -> None:
        self.identity = b""
        self.held: dict[bytes, bytes] = {}
        self.position = 0
        self.opened_by: Process | None = None
        self.earlier: tuple[dict[bytes, bytes], int] = ({}, 0)

    def remember(self) -> None:
        self.earlier = (dict(self.held), self.position)


class Disk:
    """The state folder of one worker."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.tables: dict[Path, StoredTable] = {}

    def meets(self, fate: Fate) -> None:
        for table in self.tables.values():
            if fate == "lost":
                table.held, table.position = {}, 0
            elif fate == "stale":
                table.held, table.position = dict(table.earlier[0]), table.earlier[1]

    def remembers(self) -> bool:
        return self._rng.random() < 0.2


class SimulatedStore(TruthStore):
    """TruthStore without RocksDB."""

    def __init__(self, disk: Disk, process: Process, path: Path, identity: bytes) -> None:
        self._disk, self._process = disk, process
        self._table = disk.tables.setdefault(path, StoredTable())
        opened_by = self._table.opened_by
        assert opened_by is None or not opened_by.alive, "opened twice: RocksDB would refuse by its lock"
        self._table.opened_by = process
        self.path, self._identity = path, identity
        if self._table.identity != identity:
            self.discard()

    def discard(self) -> None:
        self._table.identity, self._table.held, self._table.position = self._identity, {}, 0

    @property
    def position(self) -> int:
        return self._table.position

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        held = self._table.held
        return {key: held_of(held[key]) for key in keys if key in held}

    def scan(self, after: bytes | None, keys_max: int) -> list[tuple[bytes, Held]]:
        keys = sorted(key for key in self._table.held if after is None or key > after)
        return [(key, held_of(self._table.held[key])) for key in keys[:keys_max]]

    def put_many(self, changes: Mapping[bytes, bytes], position: int) -> None:
        self._process.strike("before store write")
        if self._disk.remembers():
            self._table.remember()
        self._table.held.update(changes)
        self._table.position = position
        self._process.strike("after store write")

    def close(self) -> None:
        self._table.opened_by = None
