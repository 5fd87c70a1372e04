"""The identity of a local stack's Kafka cluster: random, drawn once, kept in the state folder.

What stands for a value that the log does not have is derived from it (`core.connector_config.unavailable_value`): in
two stacks it must not be the same text.
"""

from __future__ import annotations

import fcntl
import secrets
from typing import Final

from trueup.stack.settings import StackSettings

_FILE: Final = "cluster-id"
_BYTES: Final = 16  # a UUID in base64 for URLs, 22 characters: what Kafka takes for a cluster id
_FIRST: Final = "T"  # a leading "-" would be read as an option; costs 6 of 128 bits


def cluster_id(settings: StackSettings) -> str:
    """The stack's cluster id; drawn at the first call, the same ever after, for brokers that start at once too."""
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with (settings.state_dir / _FILE).open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        known = file.read().strip()
        if known:
            return known
        drawn = _FIRST + secrets.token_urlsafe(_BYTES)[len(_FIRST) :]
        file.write(drawn + "\n")
        return drawn
