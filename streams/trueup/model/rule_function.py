"""A function of the project's rules module, loaded and found fit. `adapters.rules_module` makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


class RuleFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One rule.

    :param takes: its parameters, in order: `row`, perhaps `before` and `commit_time_us`.
    :param about: the first line of its docstring.
    :param fingerprint: of its source text; changes with every edit of it.
    :param module_fingerprint: of the whole module, whose other functions it may call.
    """

    name: str
    call: Callable[..., Any]
    takes: tuple[str, ...]
    about: str
    file: str
    line: int
    fingerprint: str
    module_fingerprint: str
