"""Bugs made on purpose that only a table of several writers shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from faust.types import TP

from tests.simulation.worker import Parts
from trueup.core.ordering import Guard
from trueup.model.decision import Held
from trueup.runtime.decide_agent import DecideHandler
from trueup.runtime.truth_table import TruthTable


class WritersGuardsForgotten(Parts):
    """A worker that takes a partition over does not know how far each writer's log was decided."""

    class _Handler(DecideHandler):
        async def prepare(self, tp: TP) -> int:
            offset = await super().prepare(tp)
            memory = self._owned[tp].memory
            self._owned[tp].memory = msgspec.structs.replace(memory, guard=Guard(memory.guard.epoch, writers={}))
            return offset

    def decide_handler(self, **parts: Any) -> DecideHandler:
        return self._Handler(**parts)


class OriginForgotten(Parts):
    """The local store does not keep whose change it was, so that its own next one seems to know nothing of it."""

    class _Handler(DecideHandler):
        async def prepare(self, tp: TP) -> int:
            offset = await super().prepare(tp)
            self._owned[tp].table.__class__ = _WithoutOrigin
            return offset

    def decide_handler(self, **parts: Any) -> DecideHandler:
        return self._Handler(**parts)


class _WithoutOrigin(TruthTable):
    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        return {key: msgspec.structs.replace(held, origin=None) for key, held in super().get_many(keys).items()}


PLANTED: Final[tuple[type[Parts], ...]] = (WritersGuardsForgotten, OriginForgotten)
