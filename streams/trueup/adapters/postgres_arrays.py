"""Columns of a batch as PostgreSQL arrays in binary form, for `unnest`.

A batch is sent by column, not by row: an array of 4,000 values is one parameter. psycopg's own dumper of lists looks at
every element for its type; here the type is known from the plan.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, Final

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

_OIDS: Final = {"bool": 16, "bytea": 17, "int8": 20, "text": 25, "float4": 700, "float8": 701}
_HEADER: Final = struct.Struct(">iiIii")  # dimensions, has nulls, element type, length, lower bound
_LENGTH: Final = struct.Struct(">i")
_NULL: Final = _LENGTH.pack(-1)
_FIXED: Final = {"bool": ("?", 1), "int8": ("q", 8), "float4": ("f", 4), "float8": ("d", 8)}  # struct code, bytes


class Unencodable(ValueError):
    """A value has no form as the staged type: a lone surrogate, too large a number, a type of another schema."""


class BinaryArray:
    """A parameter in PostgreSQL's binary array format; the cast at its place in the statement says of which type."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> Buffer:
        return obj.data


def register_arrays(connection: psycopg.AsyncConnection[Any]) -> None:
    """Let a connection take BinaryArray as a parameter."""
    connection.adapters.register_dumper(BinaryArray, _BinaryArrayDumper)


def transport_type(staged_type: str) -> str:
    """The element type a staged value travels as. unnest flattens arrays of arrays, so an array travels as its text."""
    return "text" if staged_type.endswith("[]") else staged_type


def binary_array(staged_type: str, values: Sequence[Any]) -> BinaryArray:
    """A column of a batch. Raises Unencodable."""
    try:
        return BinaryArray(_encoded(staged_type, values))
    except (TypeError, ValueError, OverflowError, struct.error) as error:
        raise Unencodable(f"a value is no {staged_type}: {type(error).__name__}") from error


def _encoded(staged_type: str, values: Sequence[Any]) -> bytes:
    if staged_type.endswith("[]"):
        values = [None if value is None else array_literal(value) for value in values]
    kind = transport_type(staged_type)
    has_nulls = None in values
    if kind in _FIXED:
        body = _nullable(kind, values) if has_nulls else _fixed(kind, values)
    else:
        body = _variable(kind, values)
    return _HEADER.pack(1, has_nulls, _OIDS[kind], len(values), 1) + body


def _fixed(kind: str, values: Sequence[Any]) -> bytes:
    code, size = _FIXED[kind]
    return struct.pack(">" + f"i{code}" * len(values), *chain.from_iterable(zip(repeat(size), values, strict=False)))


def _nullable(kind: str, values: Sequence[Any]) -> bytes:
    code, size = _FIXED[kind]
    pack = struct.Struct(f">i{code}").pack
    return b"".join([_NULL if value is None else pack(size, value) for value in values])


def _variable(kind: str, values: Sequence[Any]) -> bytes:
    pack = _LENGTH.pack
    if kind == "text":
        values = [None if value is None else str.encode(value) for value in values]
    if None not in values and len(lengths := set(map(len, values))) == 1:  # versions, uuids
        length = pack(lengths.pop())
        return length + length.join(values)
    return b"".join([_NULL if value is None else pack(len(value)) + value for value in values])


def array_literal(values: Sequence[Any]) -> str:
    """An array as PostgreSQL's text: `{1,NULL,"a,b"}`."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    match value:
        case None:
            return "NULL"
        case bool():
            return "t" if value else "f"
        case bytes():
            return f'"\\\\x{value.hex()}"'
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return array_literal(value)
        case _:
            return repr(value)
