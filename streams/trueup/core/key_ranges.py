"""How a comparison goes through a table: by ranges of keys, at a bounded speed. Pure.

The borders are keys of the source. Both sides are asked for the same range, each in its own order of keys. Should the
two orders differ (collations), a row may fall into another range at the copy: it looks different there, is looked at
again by its key, and is settled. No row is passed over: the first range has no lower border, the last no upper one, and
each other one begins where the one before ended, in whatever order.
"""

from __future__ import annotations

from typing import Final

from trueup.core.avro_types import base_type
from trueup.model.write import CopyPlan, TargetColumn

_NUMBERS: Final = {"smallint", "integer", "bigint", "numeric"}
_TEXTS: Final = {"character varying", "text"}


def ranges_fit(plan: CopyPlan) -> bool:
    """Whether keys of the copy sort as those of the source do, up to collations. Numbers that were cast to text do not:
    almost every row would fall into another range, so such a copy is compared in one piece."""
    return all(_sorts_alike(column) for column in plan.key_columns)


def _sorts_alike(column: TargetColumn) -> bool:
    here, there = base_type(column.via_type), base_type(column.target_type)
    return here == there or {here, there} <= _NUMBERS or {here, there} <= _TEXTS


def rest_s(rows: int, took_s: float, rows_per_s_max: float | None) -> float:
    """Seconds to rest after a range, so that rows are not read faster than allowed.

    :param took_s: what reading them took.
    """
    if rows_per_s_max is None:
        return 0.0
    return max(0.0, rows / rows_per_s_max - took_s)
