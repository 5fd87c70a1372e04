"""The addresses the local stack left behind: KEY=VALUE lines in `<state_dir>/stack/stack.env`."""

from __future__ import annotations

from pathlib import Path


def stack_environment(state_dir: Path) -> dict[str, str]:
    """What the local stack wrote; empty when there is none. Comments and other lines are passed over."""
    try:
        text = (state_dir / "stack" / "stack.env").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name and not name.startswith("#"):
            values[name.strip()] = _unquoted(value.strip())
    return values


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if quoted else value
