"""A copy whose registered content changed, and the shadow it is filled anew in (design 8, last paragraph).

Rows already written keep their version, so the truth cannot reach them a second time. A rebuild reads the truth topic
from its beginning into a shadow: a target of its own in schema trueup, with progress, deleted keys and dead letters of
its own. `adapters.postgres_rebuild` makes the shadow and swaps it in, `runtime.rebuild` fills it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from trueup.model.write import CopyPlan, TargetColumn

SHADOW_SCHEMA: Final = "trueup"  # reserved: no registered copy lies there, and readers of copies have no business in it
SHADOW_PREFIX: Final = "rebuild_"
_PROGRESS_PREFIX: Final = "rebuild:"  # no topic has a colon in its name


def shadow_of(plan: CopyPlan) -> CopyPlan:
    """The same content under the shadow's name; a replica has at most one copy of a table, so the name is its own."""
    name = SHADOW_PREFIX + plan.table
    return msgspec.structs.replace(plan, target_schema=SHADOW_SCHEMA, target_table=name)


def shadow_progress(topic: str) -> str:
    """Under what name the progress of a shadow's filling stands in trueup.progress."""
    return _PROGRESS_PREFIX + topic


class Rebuild(msgspec.Struct, frozen=True, kw_only=True):
    """A copy to be filled anew.

    :param old: as it was made; what the replica recorded.
    :param new: as it is registered.
    :param gone: the old table is not there any more.
    """

    old: CopyPlan
    new: CopyPlan
    gone: bool = False

    @property
    def shadow(self) -> CopyPlan:
        return shadow_of(self.new)

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs, in words; empty when no row would look different."""
        words = [f"its table {self.old.target} is gone"] if self.gone else []
        if self.old.target != self.new.target:
            words.append(f"table {self.old.target} becomes {self.new.target}")
        words += _column_changes(self.old, self.new)
        if _key_sources(self.old) != _key_sources(self.new):
            words.append(f"key ({', '.join(self.old.key)}) becomes ({', '.join(self.new.key)})")
        return tuple(words)


def added_columns(old: CopyPlan, new: CopyPlan, added: Collection[str]) -> tuple[TargetColumn, ...]:
    """The columns an `ALTER TABLE` at the copy can add; none where more than that changed.

    :param added: columns of the source that no truth record has yet, so that no row of the copy lacks a value of them.
    """
    before = _by_name(old)
    columns = tuple(column for column in new.columns if column.name not in before)
    if not columns or not all(column.source in added for column in columns):
        return ()
    kept = tuple(column for column in new.columns if column.name in before)
    same = msgspec.structs.replace(new, columns=kept, whole=old.whole)
    return columns if not Rebuild(old=old, new=same).changes else ()


def _column_changes(old: CopyPlan, new: CopyPlan) -> list[str]:
    before, after = _by_name(old), _by_name(new)
    renamed = renamed_columns(old, new)
    words = [f'column "{name}" is renamed "{later}"' for name, later in renamed.items()]
    words += [f'column "{name}" is removed' for name in before if name not in after and name not in renamed]
    words += [f'column "{name}" is added' for name in after if name not in before and name not in renamed.values()]
    pairs = [(before[name], after[name]) for name in after if name in before]
    pairs += [(before[name], after[later]) for name, later in renamed.items()]
    return words + [f'column "{now.name}": {what}' for was, now in pairs if (what := _difference(was, now))]


def _difference(was: TargetColumn, now: TargetColumn) -> str:
    """How the values of a column change; empty when they do not."""
    words = []
    if was.source != now.source:
        words.append(f"from {was.source} becomes from {now.source}")
    if was.mask != now.mask:
        words.append(f"mask {was.mask or 'none'} becomes {now.mask or 'none'}")
    elif (was.via_type, was.target_type) != (now.via_type, now.target_type):
        words.append(f"{_type_of(was)} becomes {_type_of(now)}")
    return ", ".join(words)


def _type_of(column: TargetColumn) -> str:
    same = column.via_type == column.target_type
    return column.target_type if same else f"{column.via_type} cast to {column.target_type}"


def renamed_columns(old: CopyPlan, new: CopyPlan) -> dict[str, str]:
    """Columns of the same source that only changed their name: old name to new name."""
    before, after = _by_name(old), _by_name(new)
    arrived = {column.source: column.name for column in new.columns if column.name not in before}
    return {
        column.name: arrived.pop(column.source)
        for column in old.columns
        if column.name not in after and column.source in arrived
    }


def _by_name(plan: CopyPlan) -> dict[str, TargetColumn]:
    return {column.name: column for column in plan.columns}


def _key_sources(plan: CopyPlan) -> tuple[str, ...]:
    return tuple(column.source for column in plan.key_columns)
