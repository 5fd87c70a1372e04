"""What keeps plain data from being a given msgspec Struct: all mistakes, each with its path and its cure.

`msgspec.convert` stops at its first mistake and says it in words for programmers. This walk asks the same
type description (`msgspec.inspect`), and is at least as strict: what passes here converts (a property test).
No value is repeated in a message unless the field has a short list of allowed words: a value may be a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final

from msgspec import inspect

from trueup.adapters.format_words import ELSEWHERE, EXAMPLES, NODE_WORDS, NOT_YET_FIELDS, NOT_YET_VALUES, ONE_NEEDED
from trueup.model.problem import FieldPath, Problem

_Mistake = tuple[FieldPath, str, str]

_SEEN_WORDS: Final[dict[type, str]] = {
    type(None): "nothing",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


def mistakes_in(kind: type, data: object, file: str) -> list[Problem]:
    """All mistakes of `data` as a `kind`; empty: msgspec.convert(data, kind) succeeds."""
    found = _walk(inspect.type_info(kind), data, (), None)
    return [Problem(file=file, path=path, primary=primary, hint=hint) for path, primary, hint in found]


def nearest(name: str, known: list[str]) -> str | None:
    """The known name a person most likely meant."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return close[0] if close else None


def _walk(expected: inspect.Type, value: object, path: FieldPath, meaning: str | None) -> Iterator[_Mistake]:
    match expected:
        case inspect.Metadata(type=inner, extra_json_schema=extra):
            yield from _walk(inner, value, path, (extra or {}).get("description", meaning))
        case inspect.UnionType():
            yield from _walk_union(expected, value, path, meaning)
        case inspect.StructType():
            yield from _walk_struct(expected, value, path)
        case inspect.DictType(value_type=inner):
            if not isinstance(value, dict):
                yield _wrong_kind(expected, value, path, meaning)
                return
            for key, item in value.items():
                yield from _walk(inner, item, (*path, key), meaning)
        case inspect.ListType(item_type=inner) | inspect.VarTupleType(item_type=inner):
            if not isinstance(value, list):
                yield _wrong_kind(expected, value, path, meaning)
                return
            if len(value) < (expected.min_length or 0):
                yield path, f'list "{_last(path)}" is empty', f"write at least one entry{_example(path)}"
            if expected.max_length is not None and len(value) > expected.max_length:
                yield path, f'list "{_last(path)}" is too long', f"write at most {expected.max_length} entries"
            for index, item in enumerate(value):
                yield from _walk(inner, item, (*path, index), meaning)
        case _:
            yield from _walk_scalar(expected, value, path, meaning)


def _walk_union(union: inspect.UnionType, value: object, path: FieldPath, meaning: str | None) -> Iterator[_Mistake]:
    if value is None and union.includes_none:
        return
    choices = [choice for choice in union.types if not isinstance(choice, inspect.NoneType)]
    if len(choices) == 1:
        yield from _walk(choices[0], value, path, meaning)
        return
    if isinstance(value, dict | list):
        wanted = inspect.ListType if isinstance(value, list) else (inspect.StructType, inspect.DictType)
        for choice in choices:
            if isinstance(choice, wanted):
                yield from _walk(choice, value, path, meaning)
                return
    elif any(not list(_walk(choice, value, path, meaning)) for choice in choices):
        return
    elif isinstance(value, str) and len(texts := [choice for choice in choices if _is_text(choice)]) == 1:
        yield from _walk(texts[0], value, path, meaning)  # it may be text, only not this one
        return
    yield _wrong_kind(union, value, path, meaning)


def _walk_struct(struct: inspect.StructType, value: object, path: FieldPath) -> Iterator[_Mistake]:
    if not isinstance(value, dict):
        yield _wrong_kind(struct, value, path, None)
        return
    node = NODE_WORDS.get(struct.cls.__name__, "this section")
    fields = {field.encode_name: field for field in struct.fields}
    meant = set()
    for key, item in value.items():
        here = (*path, key)
        if key in fields:
            yield from _walk(fields[key].type, item, here, None)
        elif key in NOT_YET_FIELDS.get(struct.cls.__name__, ()):
            yield (
                here,
                f'field "{key}" of {node} is not supported yet',
                "remove it; this version cannot obey it",
            )
        elif (place := ELSEWHERE.get((struct.cls.__name__, key))) is not None:
            yield here, f'field "{key}" does not exist in {node}', place
        else:
            close = nearest(key, [name for name in fields if name not in value])
            meant.add(close)
            known = f"fields of {node}: {', '.join(fields)}"
            hint = f'did you mean "{close}"? {known}' if close else f"remove it; {known}"
            yield here, f'field "{key}" does not exist in {node}', hint
    for name, field in fields.items():
        if field.required and name not in value and name not in meant:
            yield (*path, name), f'field "{name}" is missing in {node}', f"add it{_example((name,))}"
    needed = ONE_NEEDED.get(struct.cls.__name__, ())
    if needed and not any(value.get(name) not in (None, []) or name in meant for name in needed):
        others = " or ".join(needed[1:])
        yield (
            (*path, needed[0]),
            f'field "{needed[0]}" is missing in {node}',
            f"add it, or {others}{_example(needed[:1])}",
        )


def _walk_scalar(expected: inspect.Type, value: object, path: FieldPath, meaning: str | None) -> Iterator[_Mistake]:
    field = _last(path)
    match expected:
        case inspect.LiteralType(values=words):
            if not any(type(value) is type(word) and value == word for word in words):
                yield _not_among(words, value, path)
        case inspect.StrType(pattern=pattern) if isinstance(value, str):
            # `$` also matches before a final newline, so that is asked for apart.
            if pattern is not None and (not re.search(pattern, value) or value.endswith("\n")):
                wanted = meaning or EXAMPLES.get(field) or f"text that matches {pattern}"
                yield path, f'value of "{field}" is not written as it must be', f"write it as {wanted}"
        case inspect.IntType(ge=low, le=high) if isinstance(value, int) and not isinstance(value, bool):
            if (low is not None and value < low) or (high is not None and value > high):
                yield path, f'number "{field}" is out of range', f"choose a number from {low} to {high}"
        case inspect.FloatType() if isinstance(value, int | float) and not isinstance(value, bool):
            return
        case inspect.BoolType() if isinstance(value, bool):
            return
        case inspect.CustomType() if isinstance(value, str):
            return
        case _:
            yield _wrong_kind(expected, value, path, meaning)


def _not_among(words: tuple[Any, ...], value: object, path: FieldPath) -> _Mistake:
    field = _last(path)
    listed = " or ".join(map(str, words))
    if (field, value) in NOT_YET_VALUES:
        return path, f'{field} "{value}" is not supported yet', f"use {listed}"
    shown = f' "{value}"' if isinstance(value, str) and len(value) <= 40 and value.isprintable() else ""  # noqa: PLR2004
    return path, f'value{shown} of "{field}" is none of those it can be', f"use {listed}"


def _wrong_kind(expected: inspect.Type, value: object, path: FieldPath, meaning: str | None) -> _Mistake:
    seen = _SEEN_WORDS.get(type(value), "something else")
    wanted = _wanted_words(expected)
    named = f'"{_last(path)}" is' if path else "file holds"
    quote = " (put it in quotes)" if wanted == "text" and seen in {"a number", "true or false"} else ""
    said = f" ({meaning})" if meaning else ""
    return path, f"{named} {seen} where {wanted} belongs", f"write {wanted}{said}{quote}{_example(path)}"


def _is_text(kind: inspect.Type) -> bool:
    return isinstance(kind.type if isinstance(kind, inspect.Metadata) else kind, inspect.StrType)


def _wanted_words(expected: inspect.Type) -> str:
    match expected:
        case inspect.Metadata(type=inner):
            return _wanted_words(inner)
        case inspect.UnionType(types=types):
            words = dict.fromkeys(_wanted_words(item) for item in types if not isinstance(item, inspect.NoneType))
            return " or ".join(words)
        case inspect.StructType() | inspect.DictType():
            return "a mapping"
        case inspect.ListType() | inspect.VarTupleType():
            return "a list"
        case inspect.LiteralType(values=values):
            return " or ".join(f"{value}" for value in values)
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.BoolType():
            return "true or false"
        case _:
            return "text"


def _last(path: FieldPath) -> str:
    """The name of the nearest field: `key` for key[0]."""
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def _example(path: FieldPath) -> str:
    example = EXAMPLES.get(_last(path))
    return f", such as `{_last(path)}: {example}`" if example and path and isinstance(path[-1], str) else ""
