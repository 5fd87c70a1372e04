"""A batch of truth records becomes one record per key: the newest. Older ones are counted, not decoded.

Arrival order is not version order (a replay, a repair), so versions decide, sliced from the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trueup.core.truth_codec import peek_version
from trueup.core.watermark import is_marker
from trueup.model.decision import Outcome
from trueup.model.event import LogRecord
from trueup.model.write import Counts


class Reduced(msgspec.Struct, frozen=True):
    """The newest record of each key, sorted by key bytes so that two writers lock rows in the same order.

    :param counts: how all the other records ended: coalesced, duplicate (the same version again), ignored.
    :param markers: of watermarks, in their order. They are no records of the table, and are not counted.
    """

    records: list[LogRecord]
    counts: Counts
    markers: list[LogRecord] = []


def reduce_batch(records: Sequence[LogRecord]) -> Reduced:
    """One record per key. Records without key or value occur as markers only; others would be counted as ignored."""
    newest: dict[bytes, LogRecord] = {}
    versions: dict[bytes, bytes] = {}
    markers: list[LogRecord] = []
    coalesced = duplicate = ignored = 0
    for record in records:
        key, value = record.key, record.value
        if key is None or value is None:
            if is_marker(record):
                markers.append(record)
            else:
                ignored += 1
            continue
        version = peek_version(value)
        held = versions.get(key)
        if held is None or version > held:
            coalesced += held is not None
            newest[key] = record
            versions[key] = version
        elif version == held:
            duplicate += 1
        else:
            coalesced += 1
    counts = {Outcome.COALESCED: coalesced, Outcome.DUPLICATE: duplicate, Outcome.IGNORED: ignored}
    counts = {outcome: count for outcome, count in counts.items() if count}
    return Reduced([newest[key] for key in sorted(newest)], counts, markers)


def older_records(records: Sequence[LogRecord], newest: Mapping[bytes, bytes]) -> dict[bytes, list[LogRecord]]:
    """The records of some keys that are older than a version, newest first, each version once.

    For keys whose newest record cannot be written: what came before it in the batch is still what the copy has to hold.

    :param newest: version by key.
    """
    found: dict[bytes, dict[bytes, LogRecord]] = {key: {} for key in newest}
    for record in records:
        if record.key is not None and record.value is not None and record.key in newest:
            version = peek_version(record.value)
            if version < newest[record.key]:
                found[record.key].setdefault(version, record)
    return {key: [versions[version] for version in sorted(versions, reverse=True)] for key, versions in found.items()}
