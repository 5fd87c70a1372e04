"""The sweep that ends a snapshot of a new epoch: keys the snapshot did not bring are deleted (design 5, trap C).

A key was brought when its held version carries the epoch, or when a record of the epoch became its dead letter: the row
is there at the source, only its content cannot be used. `core.control` says when a sweep is obeyed.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from trueup.core.conflicts import again
from trueup.core.control import Sweep, is_control
from trueup.core.decode import epoch_of_headers
from trueup.core.route import row_gone
from trueup.model.decision import DELETED_HASH, Held, TruthRecord
from trueup.model.event import LogRecord
from trueup.model.version import RANK_MIN, Version, epoch_of, make_version, rank_in


def version_of_sweep(sweep: Sweep, *, ranked: bool) -> Version:
    """The version of what a sweep deletes: above every earlier epoch, below everything that follows in its own.

    :param ranked: the table is ordered by a column. The sweep knows no time, so any change of the epoch is newer.
    """
    return make_version(sweep.epoch, sweep.offset, RANK_MIN if ranked else 0)


def swept_keys(held: Iterable[tuple[bytes, Held]], brought: Container[bytes], epoch: int) -> list[bytes]:
    """Keys that are still held as rows of an earlier epoch.

    :param brought: keys with a dead letter of the epoch.
    """
    return [
        key
        for key, known in held
        if epoch_of(known.version) < epoch and known.content_hash != DELETED_HASH and key not in brought
    ]


def deletion(key: bytes, version: Version, sweep: Sweep) -> TruthRecord:
    """The truth that a key is gone."""
    return row_gone(key, version, sweep.time_us, f"trueup resync: epoch {sweep.epoch} did not bring the row")


def restored(key: bytes, held: Held, sweep: Sweep) -> TruthRecord:
    """The truth of a key that several systems write, for the one whose snapshot did not bring it: the others have it.

    Without origin, so that it is written at every writer, the one the row came from included.
    """
    assert held.record is not None, "a table with several writers keeps its records"
    version = make_version(sweep.epoch, sweep.offset, rank_in(held.version))
    return again(key, held, held.record, version, sweep.time_us, None)


def brought_by_letter(letter: LogRecord, epoch: int) -> bool:
    """Whether a dead letter says that its key was brought in this epoch."""
    is_change = not is_control(letter)  # a control record that was refused has a key, and brought nothing
    return letter.key is not None and is_change and epoch_of_headers(letter) == epoch
