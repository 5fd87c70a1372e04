"""The steps of `trueup resync` by name, in their order; who runs them is `runtime.resync`."""

from __future__ import annotations

import enum
from collections.abc import Callable


class ResyncStep(enum.StrEnum):
    """One step; each may be repeated, and a run that was killed before any of them is completed by the next."""

    NOTE = "note the epoch at the source"
    RAISE = "raise the epoch in the registration"
    STOP = "stop the connector"
    FORGET = "forget how far the connector had read"
    DROP = "drop the slot"
    PREPARE = "make what is missing: topics, publication, rights"
    BEGIN = "begin the epoch at the capture partitions"
    CONFIGURE = "give the connector the epoch"
    START = "start the connector: a new slot and a snapshot"
    SNAPSHOT = "wait for the end of the snapshot"
    SWEEP = "order the sweep of what the snapshot did not bring"
    DECIDE = "wait for the decide worker"
    DONE = "note that the resync is done"


OnStep = Callable[[ResyncStep], None]
OnProgress = Callable[[str, int, int], None]
"""What is waited for, how much of it is there, and how much there will be; 0: nobody knows."""
