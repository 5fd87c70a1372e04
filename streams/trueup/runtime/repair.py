"""`trueup repair`: keys of a copy that are proven different are put right from the truth, then compared again.

    1. the copy is compared with its owner, as `trueup verify` does; held keys are left alone
    2. the truth topic is read for what it says of the differing keys
    3. some keys at a time: the copy's progress is locked, the truth is read up to it, each key gets its newest record
       by the ordinary merge, and the row must then be what the owner has, or the key is rolled back and named
    4. these keys are compared again; that is the proof

The worker runs on: it waits for the lock like for any other writer, for as long as some keys take. A run that was
killed has mended whole keys, with their audit; the next one finds the others.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
from collections.abc import Callable, Sequence
from contextlib import aclosing, closing
from functools import partial
from typing import Any, Final

import msgspec
import tenacity

from trueup.adapters.kafka_consumer import log_records
from trueup.adapters.postgres_repair import Repair, RepairStatements, key_texts, repair
from trueup.adapters.postgres_replica import connect, find_recorded
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.adapters.truth_log import TruthLog
from trueup.core.boundary import Boundary, compile_copy_checks
from trueup.core.reduce import reduce_batch
from trueup.core.rules_copy import CopyRules
from trueup.core.truth_codec import TruthReader
from trueup.core.truth_of_keys import TruthOfKeys
from trueup.core.truth_schema import captured_table
from trueup.model.errors import Refused, TransientReplica
from trueup.model.proof import Finding, key_of_text
from trueup.model.registration import Copy, Project, Table
from trueup.model.repair import KeyRepair, RepairOutcome
from trueup.model.settings import Settings
from trueup.model.write import CopyPlan
from trueup.runtime.truth_schema_file import read_truth_schema
from trueup.runtime.verify_pass import PassResult
from trueup.runtime.verify_run import HowToVerify, Verification, Verified

KEYS_AT_ONCE: Final = 25  # while they are written the copy's worker waits; 5 ms a key
# A worker may hold what is wanted, or take part in a deadlock.
_PATIENT: Final = tenacity.AsyncRetrying(
    retry=tenacity.retry_if_exception_type(TransientReplica),
    stop=tenacity.stop_after_attempt(5),
    wait=tenacity.wait_fixed(0.5),
    reraise=True,
)

OnRepaired = Callable[[int, int], None]
"""Keys done, and how many there are."""


class Repaired(msgspec.Struct, frozen=True, kw_only=True):
    """The repair of one copy.

    :param found: what was proven different before; `keys` says what became of each.
    :param left: keys that are still different when they were compared again; None: it was a dry run.
    """

    table: str
    replica: str
    dry_run: bool
    found: int
    held: int
    mended: int
    keys: list[KeyRepair]
    left: list[str] | None
    unproven: list[str]
    caught_up: bool


class CopyRepair:
    """Repairs the copies of one table."""

    def __init__(
        self, settings: Settings, project: Project, secrets: Secrets, how: HowToVerify, on_repaired: OnRepaired
    ) -> None:
        self._settings, self._project, self._secrets = settings, project, secrets
        self._verification = Verification(settings, project, secrets, how)
        self._on_repaired = on_repaired

    def run(self, table: Table, copy: Copy, *, dry_run: bool) -> Repaired:
        """Raises Unreachable, Refused, TransientReplica, Stop."""
        if copy.replica in table.writers:
            raise Refused(
                f'table "{table.table}" at "{copy.replica}" is the users\' own, not a copy',
                detail="several systems write it, and nobody but they may say which row is right",
                hint=f"write the row at the writer that is wrong; what differs: trueup verify {table.table}",
            )
        self._verification.refuse_without_capture([table])
        verified = self._verification.compare(table, copy)
        keys: list[KeyRepair] = []
        if verified.findings:
            keys = asyncio.run(self._repair(table, copy, verified.findings, dry_run=dry_run))
            keys = self._explained(table, copy, keys, {f.key: f for f in verified.findings})
        left = None if dry_run or not keys else self._verification.judge(table, copy, [key.key for key in keys])
        if left is not None:
            self._verification.record_mended(copy, verified, left)
        return _repaired(verified, keys, left, dry_run=dry_run)

    async def _repair(self, table: Table, copy: Copy, findings: Sequence[Finding], *, dry_run: bool) -> list[KeyRepair]:
        plan = self._verification.plan_of(table, copy)
        log = TruthLog(self._settings.kafka.bootstrap_servers)
        registry = SchemaRegistry(self._settings.registry.url)
        dsn = self._secrets.writer_dsn(self._project.replicas[copy.replica])
        name = f"trueup repair {copy.replica}"
        captured = captured_table(read_truth_schema(self._settings, table.table))
        checks = compile_copy_checks(copy, plan, captured, self._project.functions)
        try:
            async with await connect(copy.replica, dsn, application_name=name) as connection:
                if await find_recorded(connection, plan) != plan:
                    raise Refused(
                        f'copy "{plan.target}" at replica "{plan.replica}" is not as registered',
                        hint="trueup apply --rebuild",
                    )
                truth = _Truth(plan, log, registry, Boundary(plan, checks), [finding.key for finding in findings])
                ended: list[KeyRepair] = []
                async with await connect(copy.replica, dsn, application_name=name) as reading:
                    await truth.read(reading, {})
                    for first in range(0, len(findings), KEYS_AT_ONCE):
                        judge = partial(truth.judge, reading, findings[first : first + KEYS_AT_ONCE])
                        ended += await _PATIENT(
                            repair, connection, plan, truth.statements, judge, by=_who(), dry_run=dry_run
                        )
                        self._on_repaired(len(ended), len(findings))
                return ended
        finally:
            await log.stop()
            registry.close()

    def _explained(
        self, table: Table, copy: Copy, keys: Sequence[KeyRepair], findings: dict[str, Finding]
    ) -> list[KeyRepair]:
        """A key whose truth differs from its owner: has the owner moved since, or is the truth not right?"""
        doubtful = [key.key for key in keys if key.outcome is RepairOutcome.TRUTH_DIFFERS]
        if not doubtful:
            return list(keys)
        plan = self._verification.plan_of(table, copy)
        with closing(self._verification.source_side(table, plan)) as source:
            seen = source.look([key_of_text(key) for key in doubtful])
        changed = msgspec.structs.replace
        told = []
        for key in keys:
            now = None if (row := seen.get(key.key)) is None else row.hash
            if key.outcome is not RepairOutcome.TRUTH_DIFFERS:
                told.append(key)
            elif now != findings[key.key].source_hash:
                told.append(changed(key, outcome=RepairOutcome.MOVED, why="the owner changed it meanwhile"))
            else:
                why = key.why or "the truth has another row than the owner"
                told.append(changed(key, why=why, next=_truth_cure(table, key.key, has_row=now is not None)))
        return told


def _truth_cure(table: Table, key: str, *, has_row: bool) -> str:
    """A row is read again; one that is gone at its owner is brought by no snapshot."""
    if not has_row:
        return f"trueup resync {table.reference}"
    values = key_of_text(key)
    if len(values) == 1 and not values[0].lstrip().startswith("{"):
        return f"trueup resnapshot {table.table} --key '{values[0]}'"
    return f"trueup resnapshot {table.table} --key '{json.dumps(dict(zip(table.key, values, strict=True)))}'"


def _repaired(verified: Verified, keys: list[KeyRepair], left: PassResult | None, *, dry_run: bool) -> Repaired:
    comparison = verified.comparison
    return Repaired(
        table=comparison.table,
        replica=comparison.replica,
        dry_run=dry_run,
        found=comparison.differing,
        held=comparison.explained,
        mended=0 if dry_run else sum(key.outcome is RepairOutcome.MENDED for key in keys),
        keys=keys,
        left=None if left is None else [finding.key for finding in left.findings],
        unproven=comparison.unproven_keys if left is None else left.unproven,
        caught_up=comparison.caught_up and (left is None or left.caught_up),
    )


def _who() -> str:
    """Who repairs, as this host knows the person."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = "nobody named"
    return f"{user} at {socket.gethostname()}"


class _Truth:
    """What the truth topic says of the wanted keys, as far as it was read."""

    def __init__(
        self, plan: CopyPlan, log: TruthLog, registry: SchemaRegistry, boundary: Boundary, keys: Sequence[str]
    ) -> None:
        self._plan, self._log, self._registry, self._boundary = plan, log, registry, boundary
        self._rules, self._reader = CopyRules(plan), TruthReader()
        self._known = TruthOfKeys(keys)
        self._positions: dict[int, int] = {}
        self.statements = RepairStatements(plan)

    async def read(self, connection: Any, offsets: dict[int, int]) -> None:
        """Reads on, up to the present end; or, where offsets are given, up to these at least."""
        topic = self._plan.truth_topic
        for partition in range(await self._log.partitions(topic)):
            if partition in offsets and self._positions.get(partition, 0) >= offsets[partition]:
                continue
            begin, end = await self._log.bounds(topic, partition)
            start = self._positions.get(partition, begin)
            async with aclosing(self._log.read_records(topic, partition, start, end)) as batches:
                async for records, position in batches:
                    await self._add(connection, records)
                    self._positions[partition] = position
            self._positions[partition] = max(start, end)

    async def _add(self, connection: Any, found: Sequence[Any]) -> None:
        records = log_records(found)
        keys = {record.key for record in records if record.key is not None and record.value is not None}
        staged = []
        for key in keys:
            try:
                staged.append((key, self._rules.key_values(key)))
            except (ValueError, KeyError, TypeError):
                continue  # no key of this table
        self._known.add(records, await key_texts(connection, self._plan, self.statements, staged))

    async def judge(self, connection: Any, findings: Sequence[Finding], offsets: dict[int, int]) -> list[Repair]:
        """What is to be done with some keys, while the copy stands at these offsets."""
        await self.read(connection, offsets)
        return [await self.repair_of(finding, offsets) for finding in findings]

    async def repair_of(self, finding: Finding, offsets: dict[int, int]) -> Repair:
        """What is to be done with a key, while the copy stands at these offsets."""
        record = self._known.newest(finding.key)
        if record is None:
            return Repair(finding)
        if self._known.is_on_its_way(finding.key, offsets):
            return Repair(finding, outcome=RepairOutcome.ON_ITS_WAY, why="the worker brings a newer change")
        for schema_id in self._reader.unknown_ids([record.value or b""]):
            self._reader.learn(schema_id, await asyncio.to_thread(self._registry.schema_by_id, schema_id))
        judged = self._boundary.judge(reduce_batch([record]), [record], self._reader.decode)
        if judged.refused:
            return Repair(finding, outcome=RepairOutcome.REFUSED, why=judged.refused[0].reason)
        return Repair(finding, write=judged.writes[0])
