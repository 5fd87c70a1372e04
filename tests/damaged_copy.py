"""A table with a copy that tests damage by hand while writers run, on the real stack: in short and at full size."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.pipeline import Pipeline
from tests.waiting import eventually

REPLICA = "reporting"
HOT = 1
"""The key that never rests."""


class DamagedCopy:
    """Rows at the shop, a copy at reporting that shows a masked note. Keys are 1 to `rows`.

    The writer uses the upper half of the keys and new ones; tests damage keys of the lower half, which rest.
    """

    def __init__(self, pipeline: Pipeline, name: str, rows: int) -> None:
        self.pipeline, self.name, self.row_count = pipeline, name, rows
        self.file = pipeline.folder.project_dir / "schemas" / "tables" / f"{name}.yaml"

    def begin(self, within_s: float = 120) -> None:
        # A connector that is given another table before its first snapshot is complete takes it again.
        self.pipeline.converged(within_s)
        self.at_source(f"CREATE TABLE {self.name} (id bigint PRIMARY KEY, note text, amount numeric(12,2))")
        self.at_source(
            f"INSERT INTO {self.name} SELECT n, 'clear ' || n, n FROM generate_series(1, {self.row_count}) n"
        )
        self.at_source(f"VACUUM ANALYZE {self.name}")
        self.file.write_text(
            f"table: {self.name}\nowner: {{system: shop}}\nsource: {{table: public.{self.name}}}\nkey: [id]\n"
            f"replicas:\n  - replica: {REPLICA}\n"
            "    columns: {id: id, note: {from: note, mask: sha256}, amount: amount}\n",
            encoding="utf-8",
        )
        eventually(self._is_applied, within_s=within_s, what="trueup apply")
        assert self.pipeline.workers is not None
        for worker in ("decide", f"apply-{REPLICA}"):
            self.pipeline.workers.kill(worker)
        filled = lambda: self.at_replica(f"SELECT count(*) FROM {self.name}") == [(self.row_count,)]  # noqa: E731
        eventually(filled, within_s=within_s, what="the copy is filled")
        being = f"SELECT count(*) FROM trueup.fills WHERE table_name = '{self.name}' AND filling"
        noted = lambda: self.at_source(being) == [(0,)]  # noqa: E731
        eventually(noted, within_s=within_s, what="that it is filled is noted at the source")
        self.at_replica(f"VACUUM ANALYZE {self.name}")

    def _is_applied(self) -> bool:
        """A connector that fails on a busy machine (its transaction expired) is restarted by the next `apply`."""
        applied = self.pipeline.trueup("apply")
        assert applied.returncode == 0, applied.stderr
        return True

    def at_source(self, statement: str) -> list[tuple[Any, ...]]:
        return self.pipeline.query("shop", statement)

    def at_replica(self, statement: str) -> list[tuple[Any, ...]]:
        return self.pipeline.query(REPLICA, statement)

    def damage(self) -> dict[str, str]:
        """One row changed, one deleted, one added; what is wrong, by key."""
        changed, deleted, added = self.row_count // 4, self.row_count // 3, 10 * self.row_count
        self.at_replica(f"UPDATE {self.name} SET amount = amount + 1 WHERE id = {changed}")
        self.at_replica(f"DELETE FROM {self.name} WHERE id = {deleted}")
        self.at_replica(
            f"INSERT INTO {self.name} SELECT {added}, note, amount, _trueup_version FROM {self.name} WHERE id = 2"
        )
        return {key(changed): "changed", key(deleted): "missing", key(added): "extra"}

    def differences(self) -> int:
        """Rows that are not the same at both sides, by plain SQL; for a table at rest."""
        shown = "id, encode(sha256(convert_to(note, 'UTF8')), 'hex') AS note, amount"
        here = set(self.at_source(f"SELECT {shown} FROM {self.name}"))
        return len(here ^ set(self.at_replica(f"SELECT id, note, amount FROM {self.name}")))

    @contextmanager
    def written(self, per_second: int) -> Iterator[list[int]]:
        """Updates, inserts and deletes at the source, and one key that never rests. Gives the number of commits."""
        stop, count = threading.Event(), [0]
        threads = [
            threading.Thread(target=self._write, args=(stop, count, per_second)),
            threading.Thread(target=self._write_hot, args=(stop, count)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield count
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _write(self, stop: threading.Event, count: list[int], per_second: int) -> None:
        half, began, n = self.row_count // 2, time.monotonic(), 0
        with psycopg.connect(self.pipeline.dsn("shop"), autocommit=True) as shop:
            while not stop.wait(max(0.0, began + n / per_second - time.monotonic())):
                n += 3
                row, new = half + 7919 * n % half + 1, 2 * self.row_count + n
                shop.execute(f"UPDATE {self.name} SET note = 'clear again {n}' WHERE id = {row}".encode())
                shop.execute(f"INSERT INTO {self.name} VALUES ({new}, 'clear new {n}', {n})".encode())
                shop.execute(f"DELETE FROM {self.name} WHERE id = {new - 30}".encode())
                count[0] += 3

    def _write_hot(self, stop: threading.Event, count: list[int]) -> None:
        with psycopg.connect(self.pipeline.dsn("shop"), autocommit=True) as shop:
            while not stop.wait(0.02):
                shop.execute(f"UPDATE {self.name} SET amount = amount + 1 WHERE id = {HOT}".encode())
                count[0] += 1


def key(number: int) -> str:
    """A key as verify and repair name it."""
    return f'["{number}"]'
