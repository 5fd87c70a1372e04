"""PostgreSQL types as Avro sees them under our connector settings, and back to what the replica stages.

The settings this follows (`connectors/debezium/postgresql.json`): decimal.handling.mode=string,
time.precision.mode=isostring, interval.handling.mode=string, hstore.handling.mode=json, binary.handling.mode=bytes,
money.fraction.digits and include.unknown.datatypes as they come. So every type PostgreSQL can parse from text travels
as its text; `core.exact_text` repairs the texts PostgreSQL would not read. What stands in neither table, or in
`_REASONS`, was measured to arrive wrong with Debezium 3.7.0, in the snapshot or in the stream, and is refused.
STOP AND READ: change a mode there and these tables change with it: tests/integration/test_fidelity.py measures them.
"""

from __future__ import annotations

from typing import Final

from trueup.model.columns import Column

# PostgreSQL base type -> Avro primitive. Types outside this table are refused at registration.
_PRIMITIVES: Final[dict[str, str]] = {
    "smallint": "int",
    "integer": "int",
    "bigint": "long",
    "oid": "long",
    "boolean": "boolean",
    "real": "float",
    "double precision": "double",
    "bytea": "bytes",
    "bit": "string",
    "numeric": "string",
    "money": "string",
    "text": "string",
    "character varying": "string",
    "character": "string",
    "citext": "string",
    "hstore": "string",
    "uuid": "string",
    "json": "string",
    "jsonb": "string",
    "tsvector": "string",
    "date": "string",
    "time without time zone": "string",
    "timestamp without time zone": "string",
    "timestamp with time zone": "string",
    "interval": "string",
    "inet": "string",
    "cidr": "string",
    "macaddr": "string",
    "macaddr8": "string",
    "int4range": "string",
    "int8range": "string",
    "numrange": "string",
    "tsrange": "string",
    "tstzrange": "string",
    "daterange": "string",
}

_ABSENT: Final = "capture leaves the column out"

# Why a type is refused, as measured; for types that are in no table the reason is _ABSENT.
_REASONS: Final[dict[str, str]] = {
    "name": "capture writes null for it once the table streams",
    "time with time zone": "capture moves it to UTC, and its offset is lost",
    "bit varying": "capture drops leading zeros",
    "xml": "it was never measured: the PostgreSQL of the local stack has no XML",
    "point": "capture takes it apart into numbers",
    "line": "capture takes it apart into numbers",
    "circle": "capture takes it apart into numbers",
    "box": "capture turns it into another format",
    "lseg": "capture turns it into another format",
    "path": "capture turns it into another format",
    "polygon": "capture turns it into another format",
}

# The same for arrays of a type that is supported by itself.
_ARRAY_REASONS: Final[dict[str, str]] = {
    "money": _ABSENT,
    "bit": "capture takes the bits for something else",
    "hstore": _ABSENT,
    "tsvector": _ABSENT,
    "time without time zone": "capture drops the fractions of its seconds",
    "timestamp without time zone": "capture reads it in the time zone of its Java process, and days before 1582 shift",
    "interval": _ABSENT,
}

_KIND_REASONS: Final = {
    "c": f"it is composite: {_ABSENT}",
    "m": f"it is a multirange: {_ABSENT}",
    "d": f"it is an array of a domain: {_ABSENT}",
    "p": _ABSENT,
}

# Types whose equal values have one text. As keys, two texts of one key would be two keys in the log.
_KEYS: Final = frozenset(_PRIMITIVES) - {
    *("real", "double precision", "bit", "citext", "hstore", "json", "jsonb", "tsvector", "interval", "numrange")
}

# What a value of an Avro primitive is staged as at the replica, before the cast to the column's own type.
STAGED_AS: Final[dict[str, str]] = {
    "int": "int8",
    "long": "int8",
    "boolean": "bool",
    "float": "float4",
    "double": "float8",
    "bytes": "bytea",
    "string": "text",
}


def base_type(pg_type: str) -> str:
    """The type without length, precision and array brackets: `numeric(12,2)[]` -> `numeric`."""
    name = pg_type.removesuffix("[]")
    head, bracket, rest = name.partition("(")
    if not bracket:
        return name
    return (head.rstrip() + rest.partition(")")[2]).strip()  # timestamp(3) with time zone


def is_array(column: Column) -> bool:
    """Arrays of any dimension are `element[]` in PostgreSQL's catalog."""
    return column.pg_type.endswith("[]")


def unsupported_reason(column: Column) -> str | None:
    """Why a column's values would not arrive exactly; None when they do."""
    base = base_type(column.pg_type)
    if column.kind == "e":
        return "capture stops at an array of an enum that holds a null" if is_array(column) else None
    if column.kind in _KIND_REASONS:
        return _KIND_REASONS[column.kind]
    if is_array(column) and base in _ARRAY_REASONS:
        return _ARRAY_REASONS[base]
    return None if base in _PRIMITIVES else _REASONS.get(base, _ABSENT)


def key_reason(column: Column) -> str | None:
    """Why a column of a supported type cannot be part of a key; None when it can."""
    base = base_type(column.pg_type)
    if column.kind == "e":
        return None
    if is_array(column) or base not in _KEYS or column.pg_type == "numeric":
        return "equal values of it may be written in two ways, and would be two keys in the log"
    return None


def avro_primitive(column: Column) -> str | None:
    """The Avro primitive of a column's value (of its elements, for an array); None: the type is not supported."""
    if unsupported_reason(column) is not None:
        return None
    return "string" if column.kind == "e" else _PRIMITIVES[base_type(column.pg_type)]


def staged_type(column: Column) -> str:
    """The PostgreSQL type the value is staged as. Raises KeyError for an unsupported type (refused at registration)."""
    primitive = avro_primitive(column)
    if primitive is None:
        raise KeyError(column.pg_type)
    staged = STAGED_AS[primitive]
    return f"{staged}[]" if is_array(column) else staged
