"""TrueUp as a person uses it: its commands, run as processes, and their JSON answers.

Fields the demo does not look at are left out here and ignored when reading.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from trueup.demo.folder import DemoFolder
from trueup.demo.waiting import CannotGoOn

AnswerT = TypeVar("AnswerT")

_TIMEOUT_S = 180  # verify reads everything; every command has a shorter deadline of its own
_PROMTOOL_TIMEOUT_S = 600  # half a minute on an idle machine
_LINES_SHOWN = 6  # of what a failed command said: an error of TrueUp has three, of a traceback the last one tells
_DIFFERENCES_FOUND = 1  # verify: done, and the answer is no
_PROBLEMS_FOUND = 1  # status: the same; what is wrong is in the JSON


class CommandFailed(CannotGoOn):
    """A command ended with an exit code that was not asked for."""


class Filling(msgspec.Struct, frozen=True):
    """Whether the rows that existed before are in the copy."""

    done: bool


class CopyStatus(msgspec.Struct, frozen=True):
    """A table at a replica, of `status --json`; null is what a part that does not answer would know."""

    table: str
    replica: str
    captured: int | None
    applied: int | None
    lag: int | None = None
    other: dict[str, int] = {}
    convergence_p50_s: float | None = None
    convergence_p99_s: float | None = None
    filling: Filling | None = None


class DecideStatus(msgspec.Struct, frozen=True):
    """A table at the decide stage, of `status --json`."""

    table: str
    counts: dict[str, int]
    lag: int | None = None

    @property
    def changes(self) -> int:
        """Records that carried a change of a row."""
        return sum(count for outcome, count in self.counts.items() if outcome != "ignored")


class Status(msgspec.Struct, frozen=True):
    """What `status --json` says."""

    tables: list[CopyStatus]
    decide: list[DecideStatus]
    problems: list[Any] = []

    @property
    def captured(self) -> dict[str, int]:
        """Changes of rows that the decide stage has seen, per table."""
        return {entry.table: entry.changes for entry in self.decide}

    @property
    def lag(self) -> int | None:
        """Records that wait anywhere; None while a part does not say."""
        lags = [entry.lag for entry in self.tables] + [entry.lag for entry in self.decide]
        return None if None in lags else sum(lag for lag in lags if lag is not None)


class Comparison(msgspec.Struct, frozen=True):
    """A copy against its source, of `verify --json`."""

    table: str
    replica: str
    rows_source: int
    rows_replica: int
    differing: int
    explained: int = 0


class Verification(msgspec.Struct, frozen=True):
    """What `verify --json` says."""

    results: list[Comparison]
    differing: int


class DeadLetterEntry(msgspec.Struct, frozen=True):
    """One entry of `deadletters list --json`. `key` is shown and searched, not taken apart."""

    table: str
    stage: str
    error_class: str
    reason: str
    key: Any
    superseded: bool
    where: str


class DeadLetters(msgspec.Struct, frozen=True):
    """What `deadletters list --json` says."""

    dead_letters: list[DeadLetterEntry]


class Commands:
    """Runs commands in the demo's project."""

    def __init__(self, folder: DemoFolder) -> None:
        self._environment = folder.environment()
        self._project_dir = folder.project_dir

    @staticmethod
    def argv(*arguments: str) -> tuple[str, ...]:
        """Return the command line of a command."""
        return (sys.executable, "-m", "trueup.runtime.cli", *arguments)

    def run(
        self, *arguments: str, project_dir: Path | None = None, timeout_s: float = _TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, whatever its exit code."""
        return subprocess.run(
            self.argv(*arguments),
            env=self._environment,
            cwd=project_dir or self._project_dir,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def apply(self) -> None:
        """Make everything the registrations ask for."""
        self._expect((0,), "apply")

    def status(self) -> Status:
        """Ask how things are."""
        return self._ask(Status, "status", "--json", codes=(0, _PROBLEMS_FOUND))

    def verify(self) -> Verification:
        """Compare every copy with its source."""
        return self._ask(Verification, "verify", "--json", codes=(0, _DIFFERENCES_FOUND))

    def dead_letters(self) -> list[DeadLetterEntry]:
        """List what could not be used."""
        return self._ask(DeadLetters, "deadletters", "list", "--json").dead_letters

    def alerts(self, *arguments: str) -> None:
        """Write the rules of the registrations."""
        self._expect((0,), "alerts", *arguments)

    def dashboards(self, folder: str) -> None:
        """Write the dashboards."""
        self._expect((0,), "dashboards", folder)

    def check_alerts(self) -> str | None:
        """Have promtool check and test the rules; what it objects to."""
        result = self.run("alerts", "--check", timeout_s=_PROMTOOL_TIMEOUT_S)
        if result.returncode == 0:
            return None
        return "\n".join((result.stdout + result.stderr).strip().splitlines()[:_LINES_SHOWN])

    def _ask(self, answer: type[AnswerT], *arguments: str, codes: tuple[int, ...] = (0,)) -> AnswerT:
        """Run a command and read its JSON."""
        output = self._expect(codes, *arguments)
        try:
            return msgspec.json.decode(output, type=answer)
        except msgspec.MsgspecError as error:
            msg = f"trueup {' '.join(arguments)} answered in another form: {error}\n{output[-2000:]}"
            raise CommandFailed(msg) from error

    def _expect(self, codes: tuple[int, ...], *arguments: str) -> str:
        """Run a command; return what it wrote if it ended with one of these codes."""
        result = self.run(*arguments)
        if result.returncode not in codes:
            lines = (result.stderr or result.stdout).strip().splitlines()
            said = "\n".join(lines[-_LINES_SHOWN:])
            raise CommandFailed(f"trueup {' '.join(arguments)} ended with {result.returncode}:\n{said}")
        return result.stdout
