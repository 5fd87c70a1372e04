"""The places where a process may be killed, stopped, cut off or lose a connection: before and after every effect.

A run reports how often each was hit; a place that is never hit is an effect nobody proved anything about.
"""

from __future__ import annotations

DECIDE_EFFECTS = (
    "producer start",
    "read committed offset",
    "read bounds",
    "recovery read",
    "begin transaction",
    "send truths",
    "send dead letters",
    "send cases",
    "send offsets",
    "commit transaction",
    "store write",
    "producer stop",
    "read beats",
    "read ends",
)
APPLY_EFFECTS = (
    "claim",
    "read recorded",
    "db begin",
    "lock progress",
    "find deleted keys",
    "revive keys",
    "merge rows",
    "savepoint",
    "delete rows",
    "remember deleted keys",
    "count held",
    "supersede letters",
    "forget flags",
    "set flags",
    "write letters",
    "count letters",
    "write progress",
    "db commit",
    "hold",
)
LANE_EFFECTS = ("join group", "fetch", "hand over", "seek", "revoke", "leave group")

EFFECTS = (*DECIDE_EFFECTS, *APPLY_EFFECTS, *LANE_EFFECTS)
POINTS = tuple(f"{when} {effect}" for effect in EFFECTS for when in ("before", "after"))

_SELDOM = (
    "recovery read",
    "send cases",
    "producer stop",
    "count held",
    "forget flags",
    "set flags",
    "write letters",
    "count letters",
    "leave group",
)
SELDOM_REACHED = tuple(f"{when} {effect}" for effect in _SELDOM for when in ("before", "after"))
"""Many runs never come there, so the faults aim at these more often."""
