"""What a rule function sees of a row: values by column, read only, exact.

Numbers are int or Decimal, times int (microseconds since 1970), text str, bytea bytes, arrays tuples; other types stay
the text they travel as. Users import it from `trueup.rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

INFINITY_US: Final = 1 << 80
"""PostgreSQL's `infinity` as a time: later than every time a column can hold (2**63 microseconds); `-infinity` is
-INFINITY_US."""

Reader = tuple[str, Callable[[Any], Any]]
"""Where a column's value stands in the decoded record, and what makes it exact; null is not handed to it."""


class Row(Mapping[str, Any]):
    """A row by column name. Looking up a column it does not have raises KeyError; a null is None.

    Values are made when they are asked for: a rule pays for the columns it reads.
    """

    __slots__ = ("_readers", "_values")

    def __init__(self, values: Mapping[str, Any], readers: Mapping[str, Reader]) -> None:
        self._values = values
        self._readers = readers

    def __getitem__(self, column: str) -> Any:
        field, exact = self._readers[column]
        value = self._values.get(field)
        return None if value is None else exact(value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def __repr__(self) -> str:
        # Columns only: values of rows stand in no log and no message.
        return f"Row({', '.join(self._readers)})"
