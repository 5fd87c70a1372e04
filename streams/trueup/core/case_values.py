"""Values a person puts into a row with `trueup cases decide --set`: which columns take one, and as what. Pure.

A value has to look as the capture would write it, or the writers' next changes would look like changes of another row.
PostgreSQL itself reads what was typed and writes it again (`adapters.postgres_literals`); only types whose text is the
same in the capture are taken.
"""

from __future__ import annotations

from typing import Any, Final

from trueup.core.avro_types import avro_primitive, base_type, is_array
from trueup.model.columns import CapturedTable, Column

_TEXTS: Final = frozenset(
    {"numeric", "text", "character varying", "character", "citext", "uuid", "json", "inet", "cidr", "macaddr"}
)
_TRUE: Final = "t"
_NEGATIVE_SCALE: Final = ",-"


def settable(captured: CapturedTable, name: str) -> Column:
    """The column of a name. Raises ValueError for one that cannot be set, with the reason."""
    try:
        column = captured.column(name)
    except KeyError:
        raise ValueError(f'there is no column "{name}"') from None
    if name in captured.key:
        raise ValueError(f'column "{name}" is the key: another key would be another row')
    if column.generated:
        raise ValueError(f'column "{name}" is generated')
    return column


def reason_not_typed(column: Column) -> str | None:
    """Why no value can be typed for a column; None when one can."""
    if is_array(column):
        return "it is an array"
    if base_type(column.pg_type) == "numeric" and _NEGATIVE_SCALE in column.pg_type:
        return f"the capture adds zeros to {column.pg_type}"
    if column.kind == "e" or base_type(column.pg_type) in _TEXTS or avro_primitive(column) not in {"string", "bytes"}:
        return None
    return f"the capture writes {column.pg_type} in another way than PostgreSQL"


def captured_value(column: Column, text: str) -> Any:
    """The value of PostgreSQL's text, as the capture has it; JSON's own names for numbers that are none."""
    match avro_primitive(column):
        case "int" | "long":
            return int(text)
        case "boolean":
            return text == _TRUE
        case "float" | "double":
            return text if text in {"NaN", "Infinity", "-Infinity"} else float(text)
        case _:
            return text
