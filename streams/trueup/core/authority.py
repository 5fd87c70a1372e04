"""Step 3: does the event come from the one system and table that may change this data?"""

from __future__ import annotations

from typing import Final

from trueup.model.decision import Reject
from trueup.model.event import ChangeEvent
from trueup.model.registration import Table

STAGE: Final = "authority"


def check_authority(event: ChangeEvent, table: Table) -> Reject | None:
    """None when the owner, or a writer, speaks. Names come from the event: shown, never used to build anything."""
    source = table.source
    if event.system in table.systems and (event.schema, event.table) == source.name:
        return None
    who = "the owner is" if table.owner is not None else "the writers are"
    return Reject(
        STAGE,
        "WrongAuthority",
        f"the change comes from {event.system}.{event.schema}.{event.table}, "
        f"{who} {' and '.join(f'{system}.{source.table}' for system in table.systems)}",
        "see who may write to the capture topic",
    )
