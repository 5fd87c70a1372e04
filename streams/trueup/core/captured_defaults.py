"""A default in a captured schema costs the column its nulls: Connect's Struct.get() answers a null with the default
(KAFKA-8713), and the converter has no setting against it. So a nullable column must have none there.

Which defaults Debezium writes into a schema follows from the column's type and the text of the expression, which it
does not evaluate: a literal is taken from between quotes, a call is written as the type's zero (`nextval(...)` as 0,
`now()` as 1970-01-01, `md5(...)` as an empty text), also where the expression is that of a generated column. Of a
partitioned table its own defaults count, not those of its partitions. Measured with Debezium 3.7.0 in the snapshot and
in the stream: tests/integration/test_fidelity.py, test_schema_change.py.
"""

from __future__ import annotations

import re
from typing import Any, Final

from trueup.core.avro_types import base_type, is_array
from trueup.model.columns import Column

# Types whose defaults are not converted at all. So are those of arrays; a type that is in neither set is refused.
_NEVER: Final = frozenset(
    {"bytea", "oid", "money", "citext", "hstore", "tsvector", "inet", "cidr", "macaddr", "macaddr8"}
) | {*("int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange")}
# Types where text that is no number is no default: `(a * 2)`. The others take any text, or were not measured.
_NUMBERS: Final = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_LITERAL_OR_CALL: Final = re.compile(r"""'|[\w."]\(""")


def writes_default(column: Column, expression: str | None) -> bool:
    """Whether a default reaches the schema; True also where it is not known.

    :param expression: of the column's DEFAULT or GENERATED ALWAYS AS, as `pg_get_expr` shows it; None: it has none.
    """
    if expression is None or expression.startswith("NULL::"):
        return False
    if column.kind != "e" and (is_array(column) or base_type(column.pg_type) in _NEVER):
        return False
    operation = expression.startswith("(") and _LITERAL_OR_CALL.search(expression) is None
    return not (operation and column.kind != "e" and base_type(column.pg_type) in _NUMBERS)


def loses_null(field: dict[str, Any]) -> bool:
    """Whether a field of a captured row is nullable and has a default, so that its nulls were written as that."""
    branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
    if "null" not in branches:
        return False
    told = any(isinstance(branch, dict) and branch.get("connect.default") is not None for branch in branches)
    return told or field.get("default") is not None
