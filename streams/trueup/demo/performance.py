"""The acts of the demo in their order. Each leaves what it read back here, and its promises in `checks`."""

from __future__ import annotations

import functools
import time
from collections import Counter

from trueup.demo.checks import Checks
from trueup.demo.commands import Commands, Status, Verification
from trueup.demo.copies import CopyPlace, Databases
from trueup.demo.folder import DemoFolder
from trueup.demo.keyless import show_keyless_refusal
from trueup.demo.ledger import Ledger
from trueup.demo.load import Load
from trueup.demo.negative_order import ORDER_ID, NegativeOrder, show_negative_order
from trueup.demo.observation import Observation
from trueup.demo.probes import Outage, Sample
from trueup.demo.progress import Steps
from trueup.demo.scenario import Scenario, Story
from trueup.demo.sources import create_sources
from trueup.demo.waiting import NotInTime, until
from trueup.demo.workers import DECIDE, Workers, apply_worker
from trueup.demo.writers import ROLLED_BACK

_FILLED_WITHIN_S = 600.0  # seconds on an idle machine; this is for one that does much else besides
_COUNT_PAUSE_S = 0.3  # counting costs the servers some 10 ms for each 100,000 rows
_RECOVERED_WITHIN_S = 120.0  # Kafka gives a killed worker's partitions to its successor after 10 s
_DRAINED_WITHIN_S = 90.0
_KILLED = (DECIDE, apply_worker("warehouse"))  # the probes are read at the warehouse: they see both kills


class Performance:
    """One run on a stack that is up."""

    def __init__(self, folder: DemoFolder, steps: Steps, *, seconds: int, rows: int, rate: int, seed: int) -> None:
        self.checks = Checks()
        self.ledger = Ledger()
        self.outages: list[Outage] = []
        self.samples: list[Sample] = []
        self.first_captured_row_s: float | None = None
        self.filled_s: float | None = None
        self.refusal: str | None = None
        self.negative_order: NegativeOrder | None = None
        self.story: Story | None = None
        self.status: Status | None = None
        self.verification: Verification | None = None
        self.captured: Counter[str] = Counter()
        self.load_s = 0.0
        self.dead_letters = 0
        self._folder, self._steps = folder, steps
        self._seconds, self._rows = seconds, rows
        folder.write_project()
        self._commands = Commands(folder)
        self._databases = Databases(folder)
        self._observation = None if folder.observed is None else Observation(folder, self._commands, steps)
        self.workers = Workers(folder, list(self._databases.project.replicas))
        self._load = Load(folder, self._databases, self.ledger, seconds=seconds, rate=rate, rows=rows, seed=seed)

    def perform(self) -> None:
        """All acts. Raises CannotGoOn, or what a database raised, when there is no way on."""
        self._steps.say(f"sources: {self._rows:,} rows in two databases, and pgbench's tables")
        create_sources(self._folder, self._rows)
        self._steps.say("trueup apply: publications, connectors, topics, tables of the copies")
        self._commands.apply()
        if self._observation is not None:
            self._observation.begin()
        self._steps.say("workers, and the snapshot")
        self.workers.start()
        self._fill()
        self._steps.say("a table without a key")
        self.refusal = show_keyless_refusal(self._folder, self._commands, self.checks)
        before = self._commands.status().captured
        began_s = time.monotonic()
        self._load.start()
        try:
            self._kill_under_load(began_s)
            self._steps.say("an order with a negative amount, while the writers go on")
            self.negative_order = show_negative_order(self._databases, self._commands, self.ledger, self.checks)
            self._steps.say("the story of the lamp")
            self.story = Scenario(self._databases, self.ledger).play(self.checks)
        finally:
            self._load.stop()
            self.samples = self._load.probes.samples()
        self.load_s = time.monotonic() - began_s
        self._steps.say("writers stopped; waiting until everything is everywhere")
        self._drain(before)
        if self._observation is not None:
            self._observation.check(self.workers.names(), self.checks)
        self._steps.say("trueup verify: every copy against its source")
        self._verify()

    def close(self) -> None:
        """Stop what writes, and close the connections. The workers are left to the caller."""
        self._load.stop()
        self._databases.close()
        if self._observation is not None:
            self._observation.close()

    def _fill(self) -> None:
        """Wait until every copy has as many rows as its source."""
        waiting = list(self._databases.copies())

        def filled() -> bool:
            self.workers.check()
            for place in list(waiting):
                rows = self._databases.rows_at_replica(place)
                if rows and self.first_captured_row_s is None:
                    self.first_captured_row_s = self._steps.seconds
                    self._steps.say(f"the first captured row is in a copy ({place.name})")
                if rows == self._databases.rows_at_source(place):
                    waiting.remove(place)
            return not waiting

        try:
            until(filled, what="every copy is filled", within_s=_FILLED_WITHIN_S, pause_s=_COUNT_PAUSE_S)
        except NotInTime:
            missing = ", ".join(f"{place.name} {self._rows_of(place)}" for place in waiting)
            self.checks.add("existing rows are in every copy", False, missing)
            raise
        self.filled_s = self._steps.seconds
        rows = sum(self._databases.rows_at_replica(place) for place in self._databases.copies())
        count = sum(1 for _ in self._databases.copies())
        self.checks.add("existing rows are in every copy", True, f"{rows:,} rows in {count} copies")

    def _rows_of(self, place: CopyPlace) -> str:
        return f"{self._databases.rows_at_replica(place):,} of {self._databases.rows_at_source(place):,}"

    def _kill_under_load(self, began_s: float) -> None:
        """Let the load run, and kill a worker after each third of it."""
        self._steps.say(f"{self._seconds} s of live load: pgbench, the shop's writer, the warehouse's writer")
        for number, name in enumerate(_KILLED, start=1):
            due_s = began_s + self._seconds * number / (len(_KILLED) + 1)
            time.sleep(max(0.0, due_s - time.monotonic()))
            killed_s = time.monotonic()
            self.workers.kill(name)
            restarted_s = time.monotonic()
            self._steps.say(f"SIGKILL to worker {name}")
            sample = until(
                functools.partial(self._load.probes.first_after, restarted_s),
                what=f"a change written after the restart of worker {name} arrives",
                within_s=_RECOVERED_WITHIN_S,
            )
            outage = Outage(name, killed_s, sample.seen_s)
            self.outages.append(outage)
            old, new = self.workers.kills[name]
            seen = f"process {old}, then {new}; changes waited {outage.ended_s - outage.began_s:.1f} s"
            self.checks.add(f"worker {name} survives SIGKILL", old != new, seen)
            self._steps.say(seen)
        self._load.finish_pgbench()

    def _drain(self, before: dict[str, int]) -> None:
        """Wait until all that was committed has been captured, decided and applied."""
        committed = Counter(self.ledger.changes())

        def drained() -> bool:
            self.workers.check()
            self.status = self._commands.status()
            self.captured = Counter(self.status.captured)
            self.captured.subtract(before)
            same = all(self.captured[table] >= count for table, count in committed.items())
            return same and not self.status.lag

        try:
            until(drained, what="all is applied", within_s=_DRAINED_WITHIN_S)
            late = ""
        except NotInTime as error:
            late = f"; {error}, lag {self.status.lag if self.status else '?'}"
        wrong = {
            table: f"{self.captured[table]} of {count}"
            for table, count in sorted(committed.items())
            if self.captured[table] != count
        }
        text = ", ".join(f"{table} {numbers}" for table, numbers in wrong.items()) + late
        claim = "captured is what was committed"
        self.checks.add(claim, not text, text or f"{committed.total():,} changes, none lost, none twice")

    def _verify(self) -> None:
        """Compare, and look for what may not be there."""
        self.verification = found = self._commands.verify()
        promised = {(place.table.table, place.copy.replica) for place in self._databases.copies()}
        compared = {(entry.table, entry.replica) for entry in found.results}
        rows = sum(entry.rows_replica for entry in found.results)
        text = f"{found.differing} of {rows:,} rows in {len(compared)} of {len(promised)} copies"
        self.checks.add("verify: no row differs from its source", found.differing == 0 and compared == promised, text)
        leaked = self._rolled_back_rows()
        text = f"{leaked} rows of {self._load.rolled_back} rolled-back transactions"
        self.checks.add("what was rolled back is in no copy", leaked == 0 < self._load.rolled_back, text)
        letters = self._commands.dead_letters()
        self.dead_letters = len(letters)
        expected = len(letters) == 1 and str(ORDER_ID) in str(letters[0].key) and letters[0].superseded
        text = ", ".join(f"{letter.table} {letter.key}" for letter in letters[:5]) or "none"
        self.checks.add("the negative order is the only dead letter", expected, text)
        ended = self.workers.ended_by_themselves
        self.checks.add("no worker ended by itself", not ended, ", ".join(ended) or "none")
        problems = self.status.problems if self.status else []
        self.checks.add("status names no problem", not problems, "; ".join(map(str, problems)) or "none")

    def _rolled_back_rows(self) -> int:
        """Count the rows in copies that carry the reason of a rolled-back transaction."""
        count = 0
        for table, column in (("orders", "change_reason"), ("stock", "reason")):
            for place in self._databases.copies():
                if place.table.table == table and place.has(column):
                    count += self._databases.rows_with(place, column, ROLLED_BACK)
        return count
