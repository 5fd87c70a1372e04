"""Rules for one check by itself, at a table or at a copy: what it asks can be asked, and its function exists.

Against the columns of the source: `core.check_column_rules`. What a check means: `core.check_tests`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

from trueup.core.check_tests import bound
from trueup.core.text_pattern import whole_text_matcher
from trueup.model.problem import FieldPath, Problem, Registered
from trueup.model.registration import Check, Number, Table
from trueup.model.rule_function import RuleFunction

IDENTIFIER_BYTES_MAX: Final = 63  # PostgreSQL cuts longer names silently (NAMEDATALEN - 1)
_ASKS: Final = ("min", "max", "one_of", "not_null", "matches", "length", "compare", "age")

Mistake = tuple[FieldPath, str, str]


def identifier_mistakes(name: str, path: FieldPath) -> Iterator[Mistake]:
    """What keeps a text from being a name in PostgreSQL."""
    if not name:
        yield path, "name is empty", "write the name as it is in the database"
    elif "\0" in name:
        yield path, "name holds a NUL character", "write the name as it is in the database, without NUL"
    elif len(name.encode("utf-8", "surrogatepass")) > IDENTIFIER_BYTES_MAX:
        shown = name[:20]
        yield (
            path,
            f'name "{shown}..." is longer than {IDENTIFIER_BYTES_MAX} bytes',
            f"PostgreSQL would cut it: use at most {IDENTIFIER_BYTES_MAX} bytes",
        )


def check_mistakes(check: Check, path: FieldPath) -> Iterator[Mistake]:
    """All mistakes one check holds by itself."""
    asked = [name for name in _ASKS if getattr(check, name) is not None and getattr(check, name) is not False]
    if check.function is not None:
        others = (["column"] if check.column is not None else []) + asked
        if others:
            primary = f'check names function "{check.function}" and {others[0]}: the function is the whole check'
            yield (*path, others[0]), primary, "write two checks, one with the function, one with the column"
        return
    if check.column is None:
        hint = "add it, such as `column: amount`; or name a function of the rules module instead"
        yield (*path, "column"), 'field "column" is missing in a check', hint
        return
    yield from identifier_mistakes(check.column, (*path, "column"))
    if not asked:
        hint = f"add {', '.join(_ASKS[:-1])} or {_ASKS[-1]}, or remove the check"
        yield path, f'check of column "{check.column}" has no rule', hint
    yield from _bound_mistakes(check, path)
    if check.one_of is not None and not check.one_of:
        yield (*path, "one_of"), "list of allowed values is empty", "name the values, such as [EUR, USD]"
    if check.matches is not None:
        try:
            whole_text_matcher(check.matches)
        except ValueError as error:
            hint = (
                "write an RE2 pattern of the whole text, such as '[A-Z]{2}'; RE2 has no lookaround, no backreferences"
            )
            yield (*path, "matches"), f"pattern cannot be used: {error}", hint
    yield from _part_mistakes(check, check.column, path)


def _bound_mistakes(check: Check, path: FieldPath) -> Iterator[Mistake]:
    for field, number in (("min", check.min), ("max", check.max)):
        if number is not None and not bound(number).is_finite():
            primary = f'"{field}" is not a finite number'
            yield (*path, field), primary, "write a number, or leave the bound out"
    if _crossed(check.min, check.max):
        primary = f"min {check.min} is greater than max {check.max}: every value would violate the check"
        yield (*path, "min"), primary, "exchange min and max, or correct one of them"


def _crossed(low: Number | None, high: Number | None) -> bool:
    if low is None or high is None:
        return False
    return bound(low).is_finite() and bound(high).is_finite() and bound(low) > bound(high)


def _part_mistakes(check: Check, column: str, path: FieldPath) -> Iterator[Mistake]:
    """Length, comparison and age: each asks something, and something that can be kept."""
    if (length := check.length) is not None:
        if length.min is None and length.max is None:
            yield (*path, "length"), "length has neither min nor max", "write {min: 1, max: 80}, or one of the two"
        elif length.min is not None and length.max is not None and length.min > length.max:
            primary = f"length min {length.min} is greater than max {length.max}: every value would violate the check"
            yield (*path, "length", "min"), primary, "exchange min and max, or correct one of them"
    if check.compare is not None:
        if not check.compare.columns:
            yield (*path, "compare"), "compare names no column", "write {at_least: ordered_at}, or remove it"
        for name, other in check.compare.columns.items():
            yield from identifier_mistakes(other, (*path, "compare", name))
            if other == column:
                primary = f'column "{column}" is compared with itself'
                yield (*path, "compare", name), primary, "name another column of the row"
    if check.age is not None and check.age.max is None and check.age.ahead is None:
        yield (*path, "age"), "age has neither max nor ahead", "write {max: 24h, ahead: 2s}, or one of the two"


def function_problems(entry: Registered[Table], functions: Mapping[str, RuleFunction]) -> Iterator[Problem]:
    """Functions that checks name and the rules module does not have, or that ask a copy for what it does not know."""
    table = entry.value
    places: list[tuple[FieldPath, Check, bool]] = [
        (("checks", index), check, False) for index, check in enumerate(table.checks)
    ]
    places += [
        (("replicas", at, "checks", index), check, True)
        for at, copy in enumerate(table.replicas)
        for index, check in enumerate(copy.checks)
    ]
    for path, check, at_copy in places:
        name = check.function
        if name is None:
            continue
        here = (*path, "function")
        function = functions.get(name)
        if function is None:
            primary = f'function "{name}" is not in the rules module'
            yield Problem(file=entry.file, path=here, primary=primary, hint=_nearest_function(name, functions))
        elif at_copy and "before" in function.takes:
            primary = f'function "{name}" takes "before", which a replica does not know'
            hint = "name the function in the checks of the table, or write one that takes the row alone"
            yield Problem(file=entry.file, path=here, primary=primary, hint=hint)


def _nearest_function(name: str, functions: Mapping[str, RuleFunction]) -> str:
    if not functions:
        return 'write it there with @rule; trueup.toml names the module: [rules] module = "rules.py"'
    close = difflib.get_close_matches(name, list(functions), n=1)
    guess = f'did you mean "{close[0]}"? ' if close else ""
    return f"{guess}functions there, marked with @rule: {', '.join(functions)}"
