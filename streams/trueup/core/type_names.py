"""Names of PostgreSQL types as DBAs write them in a registration, brought to the names of the catalog.

What comes out of here may stand in SQL: it is made of a known name and numbers, or of a plain schema.name.
`core.avro_types` says how values of these types travel.
"""

from __future__ import annotations

import re
from typing import Final

from trueup.core.avro_types import avro_primitive
from trueup.model.columns import Column

_ALIASES: Final = {
    "int2": "smallint",
    "int": "integer",
    "int4": "integer",
    "int8": "bigint",
    "bool": "boolean",
    "float4": "real",
    "float8": "double precision",
    "float": "double precision",
    "decimal": "numeric",
    "varchar": "character varying",
    "char": "character",
    "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone",
    "time": "time without time zone",
    "timetz": "time with time zone",
}

_TYPE: Final = re.compile(
    r"(?P<head>[a-z][a-z0-9 ]*?) *(\( ?(?P<modifier>[0-9]{1,4}( ?, ?-?[0-9]{1,4})?) ?\))?"
    r"(?P<tail>( [a-z]+)*)(?P<array>(\[\])?)"
)
_OWN_TYPE: Final = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*(\[\])?")


def catalog_name(written: str) -> str:
    """`varchar(20)` -> `character varying(20)`, `timestamptz(3)` -> `timestamp(3) with time zone`.

    A type of the replica's own (an enum made there) is written schema.name and stays as it is. Raises ValueError for
    anything else.
    """
    text = " ".join(written.lower().split())
    if _OWN_TYPE.fullmatch(text):
        return text
    match = _TYPE.fullmatch(text)
    if match is None:
        raise ValueError(f"{written!r} is no type")
    name = f"{match['head']}{match['tail']}".strip()
    name = _ALIASES.get(name, name)
    if avro_primitive(Column(name="", pg_type=name, nullable=True)) is None:
        raise ValueError(f"{written!r} is not a type TrueUp can write; a type of your own is written schema.name")
    modifier = match["modifier"]
    if modifier:
        first, space, rest = name.partition(" ")
        modifier = "(" + modifier.replace(" ", "") + ")"
        # The modifier stands behind the word it belongs to: timestamp(3) with time zone, character varying(20).
        name = f"{first}{modifier}{space}{rest}" if rest.endswith("time zone") else f"{name}{modifier}"
    return name + match["array"]
