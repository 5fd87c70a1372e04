"""`trueup verify`: brings the copies to a heartbeat, compares, and looks again at what differs before it says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Final

import msgspec

from trueup.adapters.postgres_compare import Side, replica_relation, source_relation
from trueup.adapters.postgres_heartbeat import beat
from trueup.adapters.postgres_proofs import ProofStore
from trueup.adapters.schema_registry import SchemaRegistry
from trueup.adapters.secret_references import Secrets
from trueup.adapters.topic_reader import TopicReader
from trueup.core.connector_config import heartbeat_topic
from trueup.core.decode import EnvelopeDecoder, schema_ids
from trueup.core.key_ranges import ranges_fit
from trueup.core.rules_copy import compile_copy
from trueup.core.truth_schema import captured_table
from trueup.core.verify import KEYS_SHOWN_MAX, Comparison, captured_key_text, counted_kinds
from trueup.model.proof import Difference, Finding, PassState, Proof
from trueup.model.registration import Copy, Project, Table
from trueup.model.settings import Settings
from trueup.model.write import CopyPlan
from trueup.runtime.captures import refuse_without_capture
from trueup.runtime.cases import Cases
from trueup.runtime.deadletters import DeadLetters
from trueup.runtime.partition_memory import DECIDE_GROUP
from trueup.runtime.progress_read import ProgressReader
from trueup.runtime.truth_schema_file import read_truth_schema
from trueup.runtime.verify_pass import ComparePass, Pace, PassResult

_POLL_S: Final = 0.1

OnCopy = Callable[[str], None]
OnRows = Callable[[int], None]
"""Rows of the source compared so far, in the present copy."""


class HowToVerify(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a run.

    :param timeout_s: how long a copy may take to catch up.
    :param resume: go on with a pass that was ended, where there is one.
    :param sleep: rests between ranges.
    """

    timeout_s: float = 60.0
    pace: Pace = Pace()
    resume: bool = False
    on_copy: OnCopy = lambda _: None
    on_rows: OnRows = lambda _: None
    stopping: Callable[[], bool] = lambda: False
    sleep: Callable[[float], object] = time.sleep


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison with every finding that nothing explains, for `trueup repair`.

    :param proof: what is recorded of it; None when the pass is not complete.
    :param begin: where and when the pass began.
    """

    comparison: Comparison
    findings: list[Finding]
    proof: Proof | None
    begin: PassState


def compared_copies(table: Table) -> list[Copy]:
    """The copies that are compared with the owner; of several writers the first is what all others must equal."""
    return [copy for copy in table.copies if copy.replica not in table.systems[:1] or not table.several_writers]


class Verification:
    """Compares copies with their owners."""

    def __init__(self, settings: Settings, project: Project, secrets: Secrets, how: HowToVerify) -> None:
        self._settings, self._project, self._secrets, self._how = settings, project, secrets, how
        self._topics = TopicReader(settings.kafka.bootstrap_servers)
        self._progress = ProgressReader(settings.kafka.bootstrap_servers, project, secrets)
        self._registry = SchemaRegistry(settings.registry.url)

    def run(self, tables: list[Table]) -> list[Comparison]:
        """Compares every copy of the tables. Raises Unreachable, Refused.

        Capture is looked at first: without it no heartbeat would come, however long one waits.
        """
        self.refuse_without_capture(tables)
        self.decided(tables, time.monotonic() + self._how.timeout_s)
        return [self.compare(table, copy).comparison for table in tables for copy in compared_copies(table)]

    def refuse_without_capture(self, tables: list[Table]) -> None:
        """Raises Unreachable without Connect; Refused when a connector is missing or failed."""
        refuse_without_capture(self._settings, sorted({system for table in tables for system in table.systems}))

    def catch_up(self, table: Table, replica: str) -> bool:
        """Waits until everything before a fresh heartbeat of the owner is applied at a replica; False at the deadline.

        1. the heartbeat is written and visible in its topic; 2. the end offsets of the capture topics are taken;
        3. the decide group has passed them; 4. the end offsets of the truth topics are taken; 5. the replica passed
        them. The ends are those of one moment: truth topics never rest, a marker comes with each beat.
        """
        deadline = time.monotonic() + self._how.timeout_s
        if not self.decided([table], deadline):  # 1 to 3
            return False
        ends = self._topics.ends([table.truth_topic])  # 4
        return self._until(lambda: self._progress.has_applied(replica, ends), deadline)  # 5

    def decided(self, tables: list[Table], deadline: float) -> bool:
        """Whether the decide workers have passed a fresh heartbeat of each owner before the deadline."""
        for system in {system for table in tables for system in table.systems}:
            if not self._beat(system, deadline):
                return False
        captures = [table.capture_topic for table in tables]
        ends = self._topics.ends(captures)

        def passed() -> bool:
            committed = self._topics.committed(DECIDE_GROUP, captures)
            return all(committed.get(tp, (0, ""))[0] >= end for tp, end in ends.items())

        return self._until(passed, deadline)

    def _until(self, holds: Callable[[], bool], deadline: float) -> bool:
        while not holds():
            if time.monotonic() > deadline or self._how.stopping():
                return False
            time.sleep(_POLL_S)
        return True

    def _beat(self, system: str, deadline: float) -> bool:
        topic = heartbeat_topic(system)
        start = {number: end for (_, number), end in self._topics.ends([topic]).items()}
        wanted = beat(system, self._secrets.owner_dsn(self._project.systems[system]))
        return self._until(lambda: self._newest_beat(system, start) >= wanted, deadline)

    def _newest_beat(self, system: str, start: dict[int, int]) -> int:
        newest, topic = -1, heartbeat_topic(system)
        records = [record for record in self._topics.read(topic, start) if record.value is not None]
        decoders = {i: EnvelopeDecoder(self._registry.schema_by_id(i)) for i in schema_ids(records)}
        for record in records:
            value = record.value or b""
            after = decoders[int.from_bytes(value[1:5], "big")].read(value)["after"]
            if after and after["system"] == system:
                newest = max(newest, int(after["beat"]))
        return newest

    def compare(self, table: Table, copy: Copy) -> Verified:
        """One pass through one copy, recorded at its replica."""
        self._how.on_copy(f"{table.table} at {copy.replica}")
        plan = self.plan_of(table, copy)
        with (
            closing(self.source_side(table, plan)) as source,
            closing(self.replica_side(plan)) as replica,
            closing(self._store(copy)) as store,
        ):
            begin = self._begin(source, store, plan)
            passing = self._pass(table, plan, source, replica, begin, lambda state: self._note(store, plan, state))
            # A copy that does not catch up cannot be judged, and reading it would only show how far behind it is.
            result = passing.run() if self.catch_up(table, copy.replica) else _NOT_CAUGHT_UP
            return self._verified(table, copy, plan, begin, result, store)

    def judge(self, table: Table, copy: Copy, keys: list[str]) -> PassResult:
        """Some keys of a copy, each looked at until it is settled."""
        plan = self.plan_of(table, copy)
        with closing(self.source_side(table, plan)) as source, closing(self.replica_side(plan)) as replica:
            begin = PassState(began_at="", position="", fingerprint=plan.fingerprint)
            return self._pass(table, plan, source, replica, begin, lambda _: None).judge(keys)

    def plan_of(self, table: Table, copy: Copy) -> CopyPlan:
        """The copy as it is registered."""
        return compile_copy(table, copy, captured_table(read_truth_schema(self._settings, table.table)))

    def source_side(self, table: Table, plan: CopyPlan) -> Side:
        """The owner's table."""
        system = self._project.systems[table.reference]
        relation = source_relation(plan, table.source.schema_name, table.source.table_name)
        return Side(f"source {system.system}", self._secrets.owner_dsn(system), relation)

    def replica_side(self, plan: CopyPlan) -> Side:
        """The copy's table."""
        dsn = self._secrets.writer_dsn(self._project.replicas[plan.replica])
        return Side(f"replica {plan.replica}", dsn, replica_relation(plan))

    def _store(self, copy: Copy) -> ProofStore:
        return ProofStore(copy.replica, self._secrets.writer_dsn(self._project.replicas[copy.replica]))

    def _begin(self, source: Side, store: ProofStore, plan: CopyPlan) -> PassState:
        found = store.pass_of(plan.target) if self._how.resume else None
        if found is not None and found.fingerprint == plan.fingerprint:
            return found
        began_at, position = source.position()
        return PassState(began_at=began_at, position=position, fingerprint=plan.fingerprint)

    def _pass(
        self,
        table: Table,
        plan: CopyPlan,
        source: Side,
        replica: Side,
        begin: PassState,
        on_state: Callable[[PassState], None],
    ) -> ComparePass:
        how = self._how
        pace = how.pace if ranges_fit(plan) else msgspec.structs.replace(how.pace, range_rows=None)
        return ComparePass(
            source,
            replica,
            lambda: self.catch_up(table, plan.replica),
            begin,
            pace,
            on_state,
            how.stopping,
            how.sleep,
        )

    def _note(self, store: ProofStore, plan: CopyPlan, state: PassState) -> None:
        store.note(plan.target, state)
        self._how.on_rows(state.rows_source)

    def _verified(
        self, table: Table, copy: Copy, plan: CopyPlan, begin: PassState, result: PassResult, store: ProofStore
    ) -> Verified:
        held = self._held(table, copy.replica) if result.findings else set()
        findings = [finding for finding in result.findings if finding.key not in held]
        differing = len(findings) + result.findings_more
        unproven = len(result.unproven) + result.unproven_more
        explained = len(result.findings) - len(findings)
        proof = None
        if result.complete:
            proof = Proof(
                table=table.table,
                target=plan.target,
                through=None if differing else begin.began_at,
                position=None if differing else begin.position,
                rows=result.rows_source,
                differing_keys=differing,
                unproven_keys=unproven,
                held_keys=explained,
            )
            store.record(proof)
        kinds = counted_kinds(findings)
        comparison = Comparison(
            table=table.table,
            replica=copy.replica,
            rows_source=result.rows_source,
            rows_replica=result.rows_replica,
            differing=differing,
            explained=explained,
            unproven=unproven,
            keys=[finding.key for finding in findings[:KEYS_SHOWN_MAX]],
            kinds=[finding.kind for finding in findings[:KEYS_SHOWN_MAX]],
            caught_up=result.caught_up,
            changed=kinds[Difference.CHANGED],
            missing=kinds[Difference.MISSING],
            extra=kinds[Difference.EXTRA],
            unproven_keys=result.unproven[:KEYS_SHOWN_MAX],
            proven_through=None if proof is None else proof.through,
        )
        return Verified(comparison=comparison, findings=findings, proof=proof, begin=begin)

    def record_mended(self, copy: Copy, verified: Verified, left: PassResult) -> None:
        """Records a pass again after its findings were mended and looked at: every other key was equal before."""
        if verified.proof is None:
            return
        differing = verified.proof.differing_keys - len(verified.findings) + len(left.findings)
        is_equal = left.complete and not differing
        with closing(self._store(copy)) as store:
            store.record(
                msgspec.structs.replace(
                    verified.proof,
                    through=verified.begin.began_at if is_equal else None,
                    position=verified.begin.position if is_equal else None,
                    differing_keys=differing,
                    unproven_keys=verified.proof.unproven_keys + len(left.unproven),
                )
            )

    def _held(self, table: Table, replica: str) -> set[str]:
        """Keys with an open dead letter that concerns this copy, and those that wait for a person or follow one."""
        letters = DeadLetters(self._settings, self._project, self._secrets).entries(table.table)
        concerned = (e for e in letters if not e.superseded and e.where in {"decide", f"replica {replica}"})
        keys = [entry.key for entry in concerned]
        keys += Cases(self._settings, self._project, self._secrets).held_apart(table)
        texts = (captured_key_text(key.encode(), tuple(table.key)) for key in keys)
        return {text for text in texts if text is not None}


_NOT_CAUGHT_UP: Final = PassResult(
    rows_source=0,
    rows_replica=0,
    findings=[],
    findings_more=0,
    unproven=[],
    unproven_more=0,
    complete=False,
    caught_up=False,
)
