"""A replay behind a truncate of records that are few: both walks in one, as `runtime.truncate_run` does them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from trueup.core.control import Truncate, decision_in
from trueup.core.decided_again import Replay, Stretch, written_in
from trueup.core.pipeline import DecidePlan
from trueup.core.truncation import keys_of
from trueup.model.case import Case
from trueup.model.decision import Held, TruthRecord
from trueup.model.event import LogRecord


class Settled(msgspec.Struct, frozen=True):
    """What is to be published for the keys that were written between a truncate and its control record.

    :param cases: of keys whose open case has other sides than it would have had, or would not be over.
    """

    truths: list[TruthRecord]
    cases: dict[bytes, Case]


def settled(
    records: Sequence[LogRecord],
    boundary: int,
    order: Truncate,
    held: Mapping[bytes, Held],
    known_cases: Mapping[bytes, Case],
    plan: DecidePlan,
) -> Settled:
    """What is to be published for the keys of the records that lie between the truncate and its control record: a
    `Replay`.

    Decided once more, as after the truncate, they say which rows are there; only what differs from what is held is
    published. Nothing is counted a second time.

    :param records: the partition's, from `boundary` to the control record.
    :param held: what is held of their keys now; `known_cases` their newest cases, those that are open or decided.
    """
    decisions = [record for record in records if decision_in(record) is not None]
    stretch = Stretch(boundary, order, decisions, written_in(records, keys_of(decisions)))
    again = Replay(stretch, plan, known_cases)
    again.feed(records, held)
    truths = again.truths(again.keys, held)
    truths += [truth for record in records if (truth := again.truth_of(record)) is not None]
    return Settled(truths, again.changed_cases(held))
