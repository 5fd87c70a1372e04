"""The type a column had when a record was captured, beside the type it is registered with.

Debezium writes a column's own type into the schema of the envelope (column.propagate.source.type): the name PostgreSQL
gives the type inside, its length and its scale. Avro alone cannot tell `numeric(6,2)` from `numeric(9,2)` from `text`,
and a copy would cut what its type does not hold. Measured with Debezium 3.7.0, in the snapshot and in the stream:
tests/integration/test_schema_change.py. What travels as which Avro type is `core.avro_types`.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from trueup.core.avro_types import avro_primitive, base_type, is_array
from trueup.model.columns import Column

_PREFIX: Final = "__debezium.source.column."

# pg_type.typname -> the type as format_type writes it. A name outside this table is a type of users (enum, domain):
# columns are registered with the type below a domain, and an enum is text at every copy.
_NAMES: Final[dict[str, str]] = {
    **{"int2": "smallint", "smallserial": "smallint", "int4": "integer", "serial": "integer"},
    **{"int8": "bigint", "bigserial": "bigint", "oid": "oid", "bool": "boolean", "bytea": "bytea", "bit": "bit"},
    **{"float4": "real", "float8": "double precision", "numeric": "numeric", "money": "money"},
    **{"text": "text", "varchar": "character varying", "bpchar": "character", "citext": "citext", "hstore": "hstore"},
    **{"uuid": "uuid", "json": "json", "jsonb": "jsonb", "tsvector": "tsvector", "date": "date"},
    **{"time": "time without time zone", "timestamp": "timestamp without time zone"},
    **{"timestamptz": "timestamp with time zone", "interval": "interval", "inet": "inet", "cidr": "cidr"},
    **{"macaddr": "macaddr", "macaddr8": "macaddr8", "int4range": "int4range", "int8range": "int8range"},
    **{"numrange": "numrange", "tsrange": "tsrange", "tstzrange": "tstzrange", "daterange": "daterange"},
    **{"timetz": "time with time zone", "varbit": "bit varying", "xml": "xml", "name": "name"},
}
_BY_LENGTH: Final = frozenset({"character varying", "character", "bit"})
_BY_SCALE: Final = frozenset({"time without time zone", "timestamp without time zone", "timestamp with time zone"})
_LENGTH_UNLIMITED: Final = 2_147_483_647
_NUMERIC_UNLIMITED: Final = frozenset({0, 131_089})  # of the snapshot, and of the stream
_SCALE_MAX: Final = 1_000  # numeric keeps its scale in 11 bits; a negative one arrives as if it had no sign
_SCALE_MODULUS: Final = 2_048
_SECONDS_DIGITS: Final = 6
_MODIFIER: Final = re.compile(r"\((\d+)(?:,(-?\d+))?\)")


class CapturedType(msgspec.Struct, frozen=True):
    """The type of one field of a captured row.

    :param primitive: of the value, or of an array's elements.
    :param name: as in `_NAMES`, of an array that of its elements; None: the schema does not say it, or a type of users.
    :param modifier: length, precision and scale where the type has them and they limit it.
    """

    primitive: str
    array: bool
    name: str | None
    modifier: tuple[int, ...]

    def __str__(self) -> str:
        limit = f"({','.join(map(str, self.modifier))})" if self.modifier else ""
        return f"{self.name or self.primitive}{limit}{'[]' if self.array else ''}"


def captured_type(field: dict[str, Any]) -> CapturedType:
    """The type of a field of an envelope's row schema."""
    schema = field["type"]
    if isinstance(schema, list):
        schema = next((branch for branch in schema if branch != "null"), "null")
    parameters = schema.get("connect.parameters", {}) if isinstance(schema, dict) else {}
    array = isinstance(schema, dict) and schema.get("type") == "array"
    typname = parameters.get(f"{_PREFIX}type", "").lower()
    name = _NAMES.get(typname.removeprefix("_") if array else typname)
    return CapturedType(
        primitive=_primitive(schema["items"] if isinstance(schema, dict) and array else schema),
        array=array,
        name=name,
        modifier=_captured_modifier(name, parameters),
    )


def type_difference(column: Column, field: dict[str, Any]) -> str | None:
    """How the captured type differs from the registered one, in words; None where it does not, or cannot be told."""
    captured = captured_type(field)
    base = base_type(column.pg_type)
    if captured.name is None:
        # bit travels as boolean or bytes and is rewritten; a domain over it shows no name that tells.
        same = base == "bit" or captured.primitive == avro_primitive(column)
    elif column.kind == "e":
        same = False
    else:
        same = (captured.name, captured.modifier) == (base, _registered_modifier(column.pg_type))
    same = same and captured.array == is_array(column)
    return None if same else f"{column.name} was {column.pg_type} and is {captured}"


def _primitive(schema: Any) -> str:
    if isinstance(schema, list):
        schema = next((branch for branch in schema if branch != "null"), "null")
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _captured_modifier(name: str | None, parameters: dict[str, str]) -> tuple[int, ...]:
    length = _number(parameters.get(f"{_PREFIX}length"))
    scale = _number(parameters.get(f"{_PREFIX}scale"))
    if name == "numeric" and length is not None and length not in _NUMERIC_UNLIMITED:
        signed = 0 if scale is None else scale - _SCALE_MODULUS if scale > _SCALE_MAX else scale
        return (length, signed)
    if name in _BY_LENGTH and length is not None and length != _LENGTH_UNLIMITED:
        return (length,)
    if name in _BY_SCALE and scale is not None and scale != _SECONDS_DIGITS:
        return (scale,)
    return ()


def _registered_modifier(pg_type: str) -> tuple[int, ...]:
    base, found = base_type(pg_type), _MODIFIER.search(pg_type)
    if found is None:
        return ()
    numbers = tuple(int(number) for number in found.groups() if number is not None)
    if base in _BY_SCALE:
        return () if numbers == (_SECONDS_DIGITS,) else numbers
    return numbers if base in _BY_LENGTH or base == "numeric" else ()


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
