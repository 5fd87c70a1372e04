"""Properties of `core.exact_text`: no two values become one, and what went through the codec comes back."""

import json

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.exact_text import bits_text, hstore_text, temporal_text

BITS = st.text("01", min_size=1, max_size=80)
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
DAYS = st.tuples(st.integers(-4712, 5_874_897), st.integers(1, 12), st.integers(1, 28))


def as_debezium_writes(bits: str) -> bool | bytes:
    """BitSet.toByteArray: little-endian, without the zeros at its end."""
    if len(bits) == 1:
        return bits == "1"
    number = int(bits, 2)
    return number.to_bytes((number.bit_length() + 7) // 8, "little")


def as_java_writes(year: int, month: int, day: int) -> str:
    """DateTimeFormatter.ISO_OFFSET_DATE: years of more than four digits have a sign, BC counts from year 0."""
    sign = "-" if year < 0 else "+" if year > 9999 else ""
    return f"{sign}{abs(year):04d}-{month:02d}-{day:02d}Z"


def as_postgresql_writes(year: int, month: int, day: int) -> str:
    return f"{year if year > 0 else 1 - year:04d}-{month:02d}-{day:02d}" + ("" if year > 0 else " BC")


def words_of(text: str) -> list[str | None]:
    """Keys and values of an hstore text, read character by character, as hstore_in does."""
    found: list[str | None] = []
    at = 0
    while at < len(text):
        if text[at] == '"':
            at, word = at + 1, ""
            while text[at] != '"':
                at += text[at] == "\\"
                word, at = word + text[at], at + 1
            found.append(word)
        elif text.startswith("NULL", at):
            found.append(None)
            at += 3
        at += 1
    return found


@given(BITS)
def test_bits_come_back(bits: str) -> None:
    assert bits_text(as_debezium_writes(bits), len(bits)) == bits


@given(DAYS)
def test_days_come_back(day: tuple[int, int, int]) -> None:
    assert temporal_text(as_java_writes(*day)).removesuffix("Z") == as_postgresql_writes(*day)


@given(DAYS, st.integers(0, 86_399_999_999))
def test_moments_come_back(day: tuple[int, int, int], micros: int) -> None:
    seconds, fraction = divmod(micros, 1_000_000)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{fraction:06d}"
    text = temporal_text(as_java_writes(*day).replace("Z", f"T{clock}Z"))
    shown = as_postgresql_writes(*day)
    date, era = shown.removesuffix(" BC"), shown[len(shown.removesuffix(" BC")) :]
    assert text.replace("T", " ").replace("Z", "+00") == f"{date} {clock}+00{era}"


@given(st.dictionaries(WORDS, st.none() | WORDS, max_size=5))
def test_hstore_comes_back(pairs: dict[str, str | None]) -> None:
    words = words_of(hstore_text(json.dumps(pairs)))
    assert dict(zip(words[::2], words[1::2], strict=True)) == pairs
    keys = [key.encode() for key in words[::2] if key is not None]
    assert keys == sorted(keys, key=lambda key: (len(key), key))
