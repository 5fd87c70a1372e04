"""What an HTTP service says of a request it refused: for people, never to decide by (Connect, registry)."""

from __future__ import annotations

from typing import Final

import httpx

_CHARACTERS_MAX: Final = 1000  # Connect repeats whole stack traces


def message_of(answer: httpx.Response) -> str:
    """The field `message` of a JSON answer, the whole answer where it has none, or the status in words."""
    try:
        data = answer.json()
    except ValueError:
        return answer.reason_phrase
    return str(data.get("message", data) if isinstance(data, dict) else data)[:_CHARACTERS_MAX]
