"""PostgreSQL types as Avro sees them under our connector settings, and back to what the replica stages.

The settings this follows (`connectors/debezium/postgresql.json`): decimal.handling.mode=string,
time.precision.mode=isostring, interval.handling.mode=string, hstore.handling.mode=json, binary.handling.mode=bytes,
money.fraction.digits default. So every type PostgreSQL can parse from text travels as its text.
STOP AND READ: change a mode there and this table changes with it.
"""

from __future__ import annotations

from typing import Final

from trueup.model.columns import Column

# PostgreSQL base type -> Avro primitive. Types outside this table are refused at registration.
_PRIMITIVES: Final[dict[str, str]] = {
    "smallint": "int",
    "integer": "int",
    "bigint": "long",
    "boolean": "boolean",
    "real": "float",
    "double precision": "double",
    "bytea": "bytes",
    "numeric": "string",
    "money": "string",
    "text": "string",
    "character varying": "string",
    "character": "string",
    "citext": "string",
    "uuid": "string",
    "json": "string",
    "jsonb": "string",
    "xml": "string",
    "date": "string",
    "time without time zone": "string",
    "time with time zone": "string",
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


def avro_primitive(column: Column) -> str | None:
    """The Avro primitive of a column's value (of its elements, for an array); None: the type is not supported."""
    if column.kind == "e":
        return "string"
    return _PRIMITIVES.get(base_type(column.pg_type))


def staged_type(column: Column) -> str:
    """The PostgreSQL type the value is staged as. Raises KeyError for an unsupported type (refused at registration)."""
    primitive = avro_primitive(column)
    if primitive is None:
        raise KeyError(column.pg_type)
    staged = STAGED_AS[primitive]
    return f"{staged}[]" if is_array(column) else staged
