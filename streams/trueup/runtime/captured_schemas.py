"""Schemas of records are learned before they are decided: `core.evolution` says which captured ones may be decided by.

The apply worker learns those of truth records itself (`runtime.apply_agent`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from trueup.adapters.schema_registry import SchemaRegistry
from trueup.core.authority import check_authority
from trueup.core.decode import EnvelopeDecoder, decode, schema_ids, truncate_event
from trueup.core.evolution import changed_back, decoder_of
from trueup.core.pipeline import DecidePlan
from trueup.model.decision import Held
from trueup.model.errors import SchemaChanged
from trueup.model.event import ChangeEvent, LogRecord
from trueup.model.registration import Table


async def learn_captured(registry: SchemaRegistry, records: Sequence[LogRecord], plan: DecidePlan) -> None:
    """Makes the schemas of captured records known to the plan. One that stays unknown is rejected by `decode`.

    :raises SchemaChanged: the table's columns are not the registered ones any more.
    """
    for schema_id in schema_ids(records) - plan.decoders.keys():
        try:
            schema = await asyncio.to_thread(registry.schema_by_id, schema_id)
        except LookupError:
            continue
        try:
            plan.decoders[schema_id] = decoder_of(schema_id, schema, plan.table, plan.codec.captured, plan.codec.passed)
        except ValueError:
            continue
        except SchemaChanged:
            decoder = EnvelopeDecoder(schema)
            if any(_is_of_owner(record, schema_id, decoder, plan.table) for record in records):
                raise  # else somebody wrote another table's records here: decode rejects them one by one
    if (
        why := changed_back(records, plan.decoders, plan.table, plan.codec.captured, plan.codec.passed_until)
    ) is not None:
        raise why


async def learn_kept(registry: SchemaRegistry, held: Mapping[bytes, Held], plan: DecidePlan) -> None:
    """The same for truth records that are kept: they may have been written under a former schema."""
    if plan.table.keeps_rows:
        records = [known.record for known in held.values() if known.record is not None]
        for schema_id in plan.reader.unknown_ids(records):
            plan.reader.learn(schema_id, await asyncio.to_thread(registry.schema_by_id, schema_id))


def _is_of_owner(record: LogRecord, schema_id: int, decoder: EnvelopeDecoder, table: Table) -> bool:
    """Whether a record in this schema is a change of the table by its owner."""
    if schema_id not in schema_ids([record]):
        return False
    decoders = {schema_id: decoder}
    event = truncate_event(record, decoders) or decode(record, decoders)
    return isinstance(event, ChangeEvent) and check_authority(event, table) is None
