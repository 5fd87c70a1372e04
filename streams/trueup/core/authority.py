"""Step 3: does the event come from the one system and table that may change this data?"""

from __future__ import annotations

from typing import Final

from trueup.model.decision import Reject
from trueup.model.event import ChangeEvent
from trueup.model.registration import Table

STAGE: Final = "authority"


def check_authority(event: ChangeEvent, table: Table) -> Reject | None:
    """None when the owner speaks. Names come from the event and are shown, never used to build anything."""
    source = table.source
    if (event.system, event.schema, event.table) == (table.owner.system, source.schema_name, source.table_name):
        return None
    return Reject(
        STAGE,
        "WrongAuthority",
        f"the change comes from {event.system}.{event.schema}.{event.table}, "
        f"the owner is {table.owner.system}.{source.table}",
        "see who may write to the capture topic",
    )
