"""A damaged local store is forgotten: it is a cache of the truth topic, and must not stop a worker for good."""

from __future__ import annotations

import gc
import hashlib
from pathlib import Path

import pytest

from trueup.adapters.truth_store import TruthStore, bytes_of
from trueup.model.decision import Held
from trueup.model.errors import BrokenInvariant
from trueup.model.version import make_version

IDENTITY = b"cluster/topic"
KEYS = [b"%06d" % number for number in range(2_000)]


def held(key: bytes) -> Held:
    """Nothing that can be compressed into one block."""
    return Held(make_version(1, 7), hashlib.sha256(key).digest()[:16])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of some keys, closed."""
    store = TruthStore(tmp_path / "0", IDENTITY)
    store.put_many({key: bytes_of(held(key)) for key in KEYS}, 8)
    store._db.flush()
    store.close()
    return tmp_path / "0"


def test_what_was_kept_is_there_again(path: Path) -> None:
    store = TruthStore(path, IDENTITY)
    assert (store.position, store.get_many([KEYS[0], b"?"])) == (8, {KEYS[0]: held(KEYS[0])})
    store.close()


@pytest.mark.parametrize("name", ["CURRENT", "MANIFEST-*"])
@pytest.mark.parametrize("how", ["emptied", "removed"])
def test_one_that_cannot_be_opened_begins_anew(path: Path, name: str, how: str) -> None:
    for file in path.glob(name):
        file.unlink() if how == "removed" else file.write_bytes(b"")
    store = TruthStore(path, IDENTITY)
    assert (store.position, store.get_many(KEYS)) == (0, {})
    store.put_many({KEYS[0]: bytes_of(held(KEYS[0]))}, 1)
    store.close()


@pytest.mark.parametrize("how", ["read", "scanned"])
def test_damage_that_is_met_later_ends_the_worker_once(path: Path, how: str) -> None:
    (table,) = path.glob("*.sst")
    content = bytearray(table.read_bytes())
    middle = len(content) // 2  # what opening reads is at the beginning and at the end
    content[middle : middle + 64] = bytes(64)
    table.write_bytes(content)
    store = TruthStore(path, IDENTITY)
    with pytest.raises(BrokenInvariant, match="damaged"):
        store.get_many(KEYS) if how == "read" else store.scan(None, len(KEYS) + 1)
    store.close()
    gc.collect()  # the error's frames hold the iterator, which holds the lock of a store that this process opened
    again = TruthStore(path, IDENTITY)
    assert (again.position, again.scan(None, 10)) == (0, [])
    again.close()


def test_one_that_another_process_holds_is_not_forgotten(path: Path) -> None:
    store = TruthStore(path, IDENTITY)
    with pytest.raises(Exception, match="lock"):
        TruthStore(path, IDENTITY)
    assert store.position == 8
    store.close()
