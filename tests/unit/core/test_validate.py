"""Step 2: is the event whole?"""

from typing import Any

import msgspec
import pytest

from tests.envelopes import HOLE, SCHEMA_ID, SECRET, change, envelope_schema, key_of, order, orders_plan
from trueup.core.decode import EnvelopeDecoder, decode
from trueup.core.validate import Hole, key_values, validate
from trueup.model.decision import Reject
from trueup.model.event import ChangeEvent, LogRecord

PLAN = orders_plan()
DECODERS = {SCHEMA_ID: EnvelopeDecoder(envelope_schema())}


def checked(record: LogRecord, key_columns: frozenset[str] = PLAN.key_columns) -> Reject | None:
    event = decode(record, DECODERS)
    assert isinstance(event, ChangeEvent)
    return validate(event, key_columns, PLAN.toastable, Hole(HOLE))


def error_class(answer: Reject | None) -> str:
    assert answer is not None
    assert answer.stage == "validate"
    assert SECRET not in f"{answer.reason} {answer.hint}"
    return answer.error_class


@pytest.mark.parametrize("op", ["c", "u", "r", "d"])
def test_a_whole_event_passes(op: str) -> None:
    assert checked(change(0, op)) is None


DEEP = b'{"order_id":' + b"[" * 5_000 + b"]" * 5_000 + b"}"


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"4711-SECRET-VALUE",
        b'"4711-SECRET-VALUE"',
        b"1",
        b"null",
        b"[1]",
        b'{"order_id":1',
        b'{"order_id":1}}',
        b"\x00\x00\x00\x00\x07\x02",
        b'{"order_id":"\xff"}',
        b'{"\xff":1}',
        b'{"order_id":1e999}',
        DEEP,
    ],
)
def test_a_key_that_is_no_json_object_is_rejected(key: bytes) -> None:
    assert error_class(checked(change(0, key=key))) == "KeyMalformed"


@pytest.mark.parametrize("key", [b'{"order_id":2,"order_id":1}', b'{"order_id":1, "order_id":1}'])
def test_f41_a_key_that_names_a_column_twice_is_rejected(key: bytes) -> None:
    assert error_class(checked(change(0, key=key))) == "KeyMalformed"


@pytest.mark.parametrize("key", [b'{"order_id": 1}', b'{"order_id":1.50}', b'{"order_id":"\\u00fc"}'])
def test_a_key_written_in_another_way_is_none_that_names_a_column_twice(key: bytes) -> None:
    assert checked(change(0, key=key)) is None


@pytest.mark.parametrize("key", [b"{}", b'{"id":1}', b'{"order_id":1,"line":2}', b'{"ORDER_ID":1}'])
def test_a_key_with_other_columns_is_rejected(key: bytes) -> None:
    assert error_class(checked(change(0, key=key))) == "KeyChanged"


@pytest.mark.parametrize("op", ["d", "u"])
def test_a_key_with_too_few_columns_is_rejected(op: str) -> None:
    assert error_class(checked(change(0, op), frozenset({"order_id", "line"}))) == "KeyChanged"


@pytest.mark.parametrize("op", ["c", "u", "r"])
def test_a_change_without_row_is_rejected(op: str) -> None:
    event = decode(change(0, op, order()), DECODERS)
    assert isinstance(event, ChangeEvent)
    rowless = msgspec.structs.replace(event, row=None)
    assert error_class(validate(rowless, PLAN.key_columns, PLAN.toastable, Hole(HOLE))) == "RowMissing"


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("customer", HOLE),
        ("amount", HOLE),
        ("state", HOLE),
        ("change_reason", HOLE),
        ("photo", HOLE.encode()),
        ("tags", [HOLE]),
    ],
)
@pytest.mark.parametrize("op", ["c", "u", "r"])
def test_a_placeholder_is_rejected_and_its_column_named(op: str, column: str, value: Any) -> None:
    answer = checked(change(0, op, order(**{column: value})))
    assert error_class(answer) == "ValueUnavailable"
    assert f'"{column}"' in (answer.reason if answer else "")


@pytest.mark.parametrize("value", [f"{HOLE} ", f"about {HOLE}", HOLE.upper(), "", None, "__debezium_unavailable_value"])
def test_text_that_only_looks_like_it_passes(value: str | None) -> None:
    assert checked(change(0, "u", order(customer=value))) is None


@pytest.mark.parametrize("tags", [None, [], [None], ["a", "b"], ["", None]])
def test_ordinary_arrays_pass(tags: list[str | None] | None) -> None:
    assert checked(change(0, "u", order(tags=tags))) is None


def test_a_placeholder_in_what_was_before_does_no_harm() -> None:
    assert checked(change(0, "u", order(), before=order(customer=HOLE))) is None
    assert checked(change(0, "d", order(customer=HOLE))) is None


def test_columns_that_are_never_toasted_are_not_looked_at() -> None:
    assert set(PLAN.toastable) == {"customer", "amount", "state", "tags", "photo", "change_reason", "updated_at"}


def test_key_values_by_column() -> None:
    assert key_values(key_of(12)) == {"order_id": 12}


LONG_HOLE = Hole("__trueup_unavailable_0123456789")


@pytest.mark.parametrize(
    "value",
    [
        "__trueup_unavailable_0123456789",
        b"__trueup_unavailable_0123456789",
        ["__trueup_unavailable_0123456789"],
        [b"__trueup_unavailable_0123456789"],
        list(b"__trueup_unavailable_0123456789"),  # int[] and bigint[]
        ["8cf6af57-c0fb-3665-a481-43750f61127f"],
        '{"__trueup_unavailable_0123456789":"__trueup_unavailable_0123456789"}',  # hstore
    ],
    ids=["text", "bytea", "text[]", "bytea[]", "int[]", "uuid[]", "hstore"],
)
def test_f32_a_placeholder_is_known_in_every_shape(value: object) -> None:
    assert LONG_HOLE.is_in(value)


@pytest.mark.parametrize(
    "value", [[], [None], list(b"__trueup"), [1, 2], '{"a":"__trueup_unavailable_0123456789"}', {}]
)
def test_f32_what_is_no_placeholder_passes(value: object) -> None:
    assert not LONG_HOLE.is_in(value)
