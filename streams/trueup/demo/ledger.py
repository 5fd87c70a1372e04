"""What the sources committed, counted by those who committed it: what capture is measured against."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping


class Ledger:
    """Row changes per source table: an insert, update or delete is one, a change of the key is two."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: Counter[str] = Counter()

    def add(self, changes: Mapping[str, int]) -> None:
        """Count the changes of one committed transaction."""
        with self._lock:
            self._changes.update(changes)

    def changes(self) -> dict[str, int]:
        """Return the counts up to now."""
        with self._lock:
            return dict(self._changes)
