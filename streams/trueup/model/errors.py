"""The one tree of errors. The class of an error says what to do next; nobody reads message texts to decide.

    TrueUpError
      Retryable              retry: wait with backoff, the same work may succeed
        Unreachable            a part (Kafka, Connect, registry, source, replica) does not answer
        TransientReplica       the replica refused for now: deadlock, lock timeout, restart, full disk
        CaptureFailed          a connector or its task ended with an error; Connect may run it again
        CopyTooOld             a reader asked for a copy that is younger than this one is
      DeadLetter             dead letter: this event cannot be used, keep its bytes, go on
        DecodeFailed           the bytes are no Debezium envelope of this table
        RowRefused             the replica refused exactly this row, by data
      Stop                   stop: this table or system may not go on until somebody acts
        SourceWentBack         the source was restored, or failed over without its slot
        SlotLost               the source no longer has the log that was not captured yet
        SchemaChanged          the captured columns are not the registered ones
        TableTruncated         the source table was truncated, and its registration says stop
        DeadLetterCapReached   too many open dead letters or cases: the table is broken, not the events
        TopicChanged           partition count or identity of a topic is not what it was
      Exit                   exit: this process is no longer fit; its supervisor starts it anew
        Fenced                 a newer owner of the partition exists
        Stalled                no progress although there is work
        BrokenInvariant        a state that must not occur
      Refused                a command cannot run (exit code 2)
        ConfigurationError     a file of the project says something that cannot be obeyed
        PartFailed             a part of the local stack did not start
        UnsafeChange           the change would touch data nobody allowed to be touched

Cases (a conflict that rules cannot decide) are no errors: `model.decision.Escalate` is a value.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class NextStep(enum.StrEnum):
    """What the one who catches an error does next."""

    RETRY = "retry"
    DEAD_LETTER = "dead_letter"
    STOP = "stop"
    EXIT = "exit"
    REFUSE = "refuse"


class TrueUpError(Exception):
    """A failure in the words of its reader.

    :param primary: what failed, with the object's name in double quotes.
    :param detail: facts: file, line, field, table, offset, the foreign error.
    :param hint: something the reader can do.
    """

    next_step: ClassVar[NextStep]

    def __init__(self, primary: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(primary)
        self.primary = primary
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        lines = [self.primary]
        if self.detail:
            lines.append(f"  detail: {self.detail}")
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        return "\n".join(lines)


class Retryable(TrueUpError):
    """The same work may succeed later."""

    next_step = NextStep.RETRY


class Unreachable(Retryable):
    """A part does not answer. `part` is the word a person uses for it: "kafka", "registry", "replica reporting"."""

    def __init__(self, part: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(
            f'cannot reach "{part}"',
            detail=detail,
            hint=hint or f'see whether "{part}" runs: trueup stack status, or its address in trueup.toml',
        )
        self.part = part


class TransientReplica(Retryable):
    """The replica refused for now. `sqlstate` is the class retries are counted by."""

    def __init__(self, replica: str, sqlstate: str, *, detail: str | None = None) -> None:
        super().__init__(f'replica "{replica}" refused for now', detail=detail)
        self.replica = replica
        self.sqlstate = sqlstate


class CaptureFailed(Retryable):
    """A connector or its task ended with an error, and stays so until somebody has it run again."""

    def __init__(self, system: str, *, detail: str | None = None) -> None:
        super().__init__(
            f'capture of "{system}" failed',
            detail=detail,
            hint="remove the cause; trueup worker capture restarts it by itself, trueup apply at once",
        )
        self.system = system


class CopyTooOld(Retryable):
    """A copy is older than its reader allows, or it is not known how old it is (`trueup.freshness`)."""


class DeadLetter(TrueUpError):
    """One event cannot be used; its bytes are kept."""

    next_step = NextStep.DEAD_LETTER


class DecodeFailed(DeadLetter):
    """The bytes are not a Debezium envelope of this table."""


class RowRefused(DeadLetter):
    """The replica refused exactly this row (SQLSTATE classes 22, 23, ...)."""

    def __init__(self, primary: str, *, sqlstate: str, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(primary, detail=detail, hint=hint)
        self.sqlstate = sqlstate


class Stop(TrueUpError):
    """A table may not go on until somebody acts."""

    next_step = NextStep.STOP


class SourceWentBack(Stop):
    """Lower source position with a newer commit time: restore, or failover without the slot (design 5)."""


class SlotLost(Stop):
    """The replication slot is gone, was given up by the server, or was advanced past what was captured."""


class SchemaChanged(Stop):
    """The captured columns are not the registered ones."""


class TableTruncated(Stop):
    """The source table was emptied by TRUNCATE, and a person is to say what that means for the copies."""


class DeadLetterCapReached(Stop):
    """More dead letters or cases of a table are open than its cap allows. What ends them lies behind the stop in the
    same log, so the cap has to be raised first."""


class TopicChanged(Stop):
    """A topic's partition count or identity is not what the workers were built on."""


class Exit(TrueUpError):
    """This process is no longer fit; its supervisor starts it anew."""

    next_step = NextStep.EXIT


class Fenced(Exit):
    """A newer owner of the partition exists; everything this process holds of it is void."""


class Stalled(Exit):
    """There is work and no progress."""


class BrokenInvariant(Exit):
    """A state that must not occur."""


class Refused(TrueUpError):
    """A command cannot run; it ends with exit code 2."""

    next_step = NextStep.REFUSE


class ConfigurationError(Refused):
    """A file of the project says something that cannot be obeyed.

    :param file: path as the person named it; `line` counts from 1; `field` is a dotted path.
    """

    def __init__(
        self, primary: str, *, file: str, line: int | None = None, field: str | None = None, hint: str
    ) -> None:
        place = file if line is None else f"{file}:{line}"
        detail = place if field is None else f"{place}, field {field}"
        super().__init__(primary, detail=detail, hint=hint)
        self.file = file
        self.line = line
        self.field = field


class PartFailed(Refused):
    """A part of the local stack did not start; `detail` ends with the last lines of its log."""

    def __init__(self, part: str, *, detail: str, hint: str) -> None:
        super().__init__(f'part "{part}" of the local stack failed', detail=detail, hint=hint)
        self.part = part


class UnsafeChange(Refused):
    """The change would touch data nobody allowed to be touched."""


def subclasses(of: type[TrueUpError]) -> set[type[TrueUpError]]:
    """Every class below one, however deep."""
    below = set(of.__subclasses__())
    return below.union(*(subclasses(found) for found in below))
