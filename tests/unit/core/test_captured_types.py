"""The captured type beside the registered one: as Debezium 3.7.0 was measured to write it, snapshot and stream."""

from typing import Any

import pytest

from trueup.core.captured_types import captured_type, type_difference
from trueup.model.columns import Column


def field(avro: Any, typname: str | None = None, length: int = 0, scale: int | None = 0) -> dict[str, Any]:
    schema: dict[str, Any] = avro if isinstance(avro, dict) else {"type": avro}
    if typname is not None:
        parameters = {"__debezium.source.column.type": typname, "__debezium.source.column.length": str(length)}
        if scale is not None:
            parameters["__debezium.source.column.scale"] = str(scale)
        schema = schema | {"connect.parameters": parameters}
    return {"name": "x", "type": ["null", schema], "default": None}


def column(pg_type: str, kind: str = "b") -> Column:
    return Column(name="x", pg_type=pg_type, nullable=True, kind=kind)


LIST = {"type": "array", "items": ["null", "string"]}

SAME = {
    "integer of a serial": ("integer", field("int", "SERIAL", 10)),
    "bigint of a bigserial": ("bigint", field("long", "BIGSERIAL", 19)),
    "numeric of the snapshot": ("numeric", field("string", "NUMERIC", 0, None)),
    "numeric of the stream": ("numeric", field("string", "NUMERIC", 131_089, 0)),
    "numeric with scale": ("numeric(10,2)", field("string", "NUMERIC", 10, 2)),
    "numeric with a negative scale": ("numeric(5,-2)", field("string", "NUMERIC", 5, 2_046)),
    "numeric with more scale than digits": ("numeric(3,5)", field("string", "NUMERIC", 3, 5)),
    "text": ("text", field("string", "TEXT", 2_147_483_647)),
    "varchar": ("character varying(5)", field("string", "VARCHAR", 5)),
    "varchar without limit": ("character varying", field("string", "VARCHAR", 2_147_483_647)),
    "character": ("character(5)", field("string", "BPCHAR", 5)),
    "bit": ("bit(8)", field("bytes", "BIT", 8)),
    "one bit": ("bit(1)", field("boolean", "BIT", 1)),
    "timestamp": ("timestamp without time zone", field("string", "TIMESTAMP", 29, 6)),
    "timestamp(3)": ("timestamp(3) without time zone", field("string", "TIMESTAMP", 26, 3)),
    "timestamptz(0)": ("timestamp(0) with time zone", field("string", "TIMESTAMPTZ", 28, 0)),
    "interval": ("interval", field("string", "INTERVAL", 49, 6)),
    "array": ("text[]", field(LIST, "_TEXT", 2_147_483_647)),
    "array with limit": ("character varying(3)[]", field(LIST, "_VARCHAR", 3)),
    "array of numeric": ("numeric(10,2)[]", field(LIST, "_NUMERIC", 10, 2)),
    "domain over numeric": ("numeric(10,2)", field("string", "PRICE", 10, 2)),
    "domain over an array": ("numeric(10,2)[]", field(LIST, "NUMBERS", 10, 0)),
    "a schema of before types were written": ("numeric(10,2)", field("string")),
    "bit of before": ("bit(8)", field("bytes")),
}


@pytest.mark.parametrize(("pg_type", "captured"), SAME.values(), ids=SAME)
def test_the_registered_type_is_recognised(pg_type: str, captured: dict[str, Any]) -> None:
    assert type_difference(column(pg_type), captured) is None


def test_an_enum_is_known_by_being_no_type_of_postgresql() -> None:
    assert type_difference(column("mood", "e"), field("string", "MOOD", 2_147_483_647)) is None
    assert type_difference(column("mood", "e"), field("string", "TEXT", 2_147_483_647)) is not None


OTHER = {
    "wider integer": ("integer", field("long", "INT8", 19)),
    "more digits": ("numeric(6,2)", field("string", "NUMERIC", 9, 2)),
    "another scale": ("numeric(6,2)", field("string", "NUMERIC", 6, 3)),
    "no digits given": ("numeric(6,2)", field("string", "NUMERIC", 131_089, 0)),
    "longer text": ("character varying(5)", field("string", "VARCHAR", 9)),
    "text that was numeric": ("numeric", field("string", "TEXT", 2_147_483_647)),
    "numeric that was text": ("text", field("string", "NUMERIC", 131_089, 0)),
    "date that was text": ("text", field("string", "DATE", 13)),
    "finer time": ("timestamp(3) with time zone", field("string", "TIMESTAMPTZ", 35, 6)),
    "array that was none": ("text", field(LIST, "_TEXT", 2_147_483_647)),
    "none that was an array": ("text[]", field("string", "TEXT", 2_147_483_647)),
    "of before: another Avro type": ("integer", field("string")),
}


@pytest.mark.parametrize(("pg_type", "captured"), OTHER.values(), ids=OTHER)
def test_another_type_is_told_in_words(pg_type: str, captured: dict[str, Any]) -> None:
    assert type_difference(column(pg_type), captured) == f"x was {pg_type} and is {captured_type(captured)}"


def test_the_words_are_postgresqls() -> None:
    assert str(captured_type(field("string", "NUMERIC", 5, 2_046))) == "numeric(5,-2)"
    assert str(captured_type(field(LIST, "_VARCHAR", 3))) == "character varying(3)[]"
