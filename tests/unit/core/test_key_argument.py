"""A key as a person types it."""

import pytest

from trueup.core.key_argument import key_of_argument


@pytest.mark.parametrize(
    ("text", "columns", "found"),
    [
        ("4711", ("order_id",), {"order_id": "4711"}),
        ("O'Neill", ("name",), {"name": "O'Neill"}),
        ('{"order_id":4711}', ("order_id",), {"order_id": "4711"}),
        ('{"a":1,"b":"x"}', ("b", "a"), {"a": "1", "b": "x"}),
        ('{"a":true}', ("a",), {"a": "true"}),
    ],
)
def test_a_value_or_the_json_of_a_dead_letter(text: str, columns: tuple[str, ...], found: dict[str, str]) -> None:
    assert key_of_argument(text, columns) == found


@pytest.mark.parametrize("text", ["1", "{", '{"a":1}', '{"a":1,"b":null}', '{"a":1,"b":2,"c":3}', '{"a":[1],"b":2}'])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        key_of_argument(text, ("a", "b"))
