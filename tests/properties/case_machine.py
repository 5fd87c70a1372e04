"""What every machine over the cases of one key does and holds: people look and decide, records are read again."""

from __future__ import annotations

from abc import abstractmethod

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.case_makers import Partition, decision_on
from tests.envelopes import key_of
from trueup.core.case_decision import Obeyed
from trueup.model.case import Case, CaseDecision
from trueup.model.event import LogRecord

KEY = key_of(1)


class CaseMachine(RuleBasedStateMachine):
    """A key that is decided, people who decide its cases, and the log of both."""

    partition: Partition

    def __init__(self) -> None:
        super().__init__()
        self.log: list[LogRecord | CaseDecision] = []
        self.seen: Case | None = None
        self.versions: list[bytes] = []

    @abstractmethod
    def obeyed(self, seen: Case, take: str, answer: Obeyed) -> None:
        """The machine's own part of a decision that was obeyed."""

    @precondition(lambda self: self.log)
    @rule(data=st.data())
    def reads_again(self, data: st.DataObject) -> None:
        """A suffix of the log, as after lost offsets."""
        start = data.draw(st.integers(0, len(self.log) - 1))
        open_before = dict(self.partition.open)
        for offset, entry in enumerate(self.log[start:], start):
            if isinstance(entry, LogRecord):
                assert not self.partition.decide(entry).truths
            else:
                assert not isinstance(self.partition.obey(entry, offset), Obeyed)
        assert self.partition.open == open_before

    @precondition(lambda self: KEY in self.partition.open)
    @rule()
    def looks(self) -> None:
        self.seen = self.partition.case()

    @precondition(lambda self: self.seen is not None)
    @rule(take=st.sampled_from("AB"))
    def decides(self, take: str) -> None:
        assert self.seen is not None
        current = self.partition.open.get(KEY)
        decision = decision_on(self.seen, take)
        answer = self.partition.obey(decision, len(self.log))
        self.log.append(decision)
        fresh = current is not None and (current.id, current.versions) == (self.seen.id, self.seen.versions)
        assert isinstance(answer, Obeyed) is fresh
        if isinstance(answer, Obeyed):
            self.versions.append(answer.truth.version)
            self.obeyed(self.seen, take, answer)

    @invariant()
    def versions_rise(self) -> None:
        assert self.versions == sorted(set(self.versions))
