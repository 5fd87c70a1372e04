"""Checks of registers against their ledger: what a polling reader sees, and what is there after the drain. Pure.

`readers` polls, `registers` knows the tables.
"""

from collections.abc import Mapping

import msgspec

from tests.chaos.findings import Anomaly, Finding
from tests.chaos.ledger import Ending, History, Ledger, Write


class Seen(msgspec.Struct, frozen=True):
    """A row as a reader finds it. `version` is `_trueup_version`, which sorts as bytes."""

    number: int
    digest: str
    version: bytes = b""


Rows = Mapping[int, Seen]


class Watch:
    """What one reader of one copy has seen: per key the highest version and number, and whether the row was there."""

    def __init__(self, copy: str) -> None:
        self.findings: list[Finding] = []
        self.looks = 0
        self.numbers: dict[int, tuple[int, str]] = {}
        self._copy = copy
        self._last: dict[int, Seen] = {}
        self._gone: set[int] = set()

    def begin_anew(self) -> None:
        """What comes is compared with nothing seen before; what was seen at all still has to have been written."""
        self._last.clear()
        self._gone.clear()

    def look(self, rows: Rows) -> bool:
        """Take in one look at the whole copy. True when something moved."""
        self.looks += 1
        moved = False
        for key, row in rows.items():
            last = self._last.get(key)
            if last == row and key not in self._gone:
                continue
            moved = True
            if last is not None:
                self._compare(key, last, row)
            self._gone.discard(key)
            if last is None or row.version >= last.version:
                self._last[key] = row
            self.numbers[row.number] = (key, row.digest)
        vanished = self._last.keys() - rows.keys() - self._gone
        self._gone |= vanished
        return moved or bool(vanished)

    def _compare(self, key: int, last: Seen, row: Seen) -> None:
        where = f"{self._copy} key {key}: number {last.number} -> {row.number}"
        if key in self._gone and row.number <= last.number:
            self.findings.append(Finding(Anomaly.RESURRECTED, where))
        elif row.version < last.version:
            self.findings.append(Finding(Anomaly.NONMONOTONIC, f"{where}, the version fell"))
        elif row.number < last.number:
            self.findings.append(Finding(Anomaly.NONMONOTONIC, f"{where}, the version did not"))
        elif row.version == last.version and key not in self._gone:
            self.findings.append(Finding(Anomaly.NONMONOTONIC, f"{where}, one version with two contents"))


def check_seen(watch: Watch, ledger: Ledger, copy: str) -> list[Finding]:
    """Everything a reader saw was written, and not rolled back."""
    found = []
    for number, (key, digest) in sorted(watch.numbers.items()):
        wrong = _wrong_sight(ledger.write(number), key, digest)
        if wrong:
            found.append(Finding(Anomaly.G1A, f"{copy} key {key} number {number}: {wrong}"))
    return found


def _wrong_sight(booked: tuple[Write, Ending] | None, key: int, digest: str) -> str | None:
    if booked is None:
        return "nobody wrote it"
    write, ending = booked
    if ending is Ending.FAIL:
        return "it was rolled back"
    if write.key != key or write.digest != digest:
        return "the row is not the one that was written"
    return None


def check_final(rows: Rows, ledger: Ledger, copy: str) -> list[Finding]:
    """After the drain every key is at its last write; of a known write and unknown ones after it, any is right."""
    histories = ledger.histories()
    found = [
        Finding(Anomaly.G1A, f"{copy} key {key} number {rows[key].number}: nobody wrote it")
        for key in sorted(rows.keys() - histories.keys())
    ]
    for key, history in sorted(histories.items()):
        finding = _final(key, rows.get(key), history, copy)
        if finding is not None:
            found.append(finding)
    return found


def _final(key: int, row: Seen | None, history: History, copy: str) -> Finding | None:
    last = history.candidates()
    if not last:
        return None if row is None else Finding(Anomaly.G1A, f"{copy} key {key}: no write of it was committed")
    numbers = " or ".join(str(write.number) for write in last)
    if row is None:
        known_gone = any(write.digest is None for write in last) or _never_surely_written(history)
        return (
            None if known_gone else Finding(Anomaly.LOST_UPDATE, f"{copy} key {key}: absent, number {numbers} is due")
        )
    if any(write.number == row.number and write.digest == row.digest for write in last):
        return None
    detail = f"{copy} key {key}: number {row.number}, {numbers} is due"
    if any(write.number == row.number for write in last):
        return Finding(Anomaly.LOST_UPDATE, f"{detail}, and its value is another")
    if all(write.digest is None for write in last):
        return Finding(Anomaly.RESURRECTED, f"{detail}, a delete")
    return Finding(Anomaly.LOST_UPDATE, detail)


def _never_surely_written(history: History) -> bool:
    return not any(ending is Ending.OK for _, ending in history.writes)
