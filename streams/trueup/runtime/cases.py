"""Cases read from their topics, and decided: the decision is a record in the capture log, and the decide worker's to
obey. What it answers is read back from the case.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

from trueup.adapters.kafka_topics import KafkaTopics
from trueup.adapters.postgres_literals import written_by_postgres
from trueup.adapters.secret_references import Secrets
from trueup.adapters.topic_reader import TopicReader
from trueup.core.case_values import captured_value, reason_not_typed, settable
from trueup.core.case_view import CaseCounts, counts, differing_columns
from trueup.core.cases import decode_case
from trueup.core.control import decision_record
from trueup.core.truth_codec import peek_version
from trueup.core.truth_schema import avro_name, captured_table
from trueup.model.case import Case, CaseDecision, CaseStatus
from trueup.model.columns import CapturedTable
from trueup.model.errors import Refused
from trueup.model.registration import Project, Table
from trueup.model.settings import Settings
from trueup.runtime.partition_memory import DECIDE_GROUP, PartitionMemory, topic_identity
from trueup.runtime.truth_schema_file import read_truth_schema

_POLL_S: Final = 0.2


class Cases:
    """The cases of a project."""

    def __init__(self, settings: Settings, project: Project, secrets: Secrets) -> None:
        self._settings, self._project, self._secrets = settings, project, secrets
        self._topics = TopicReader(settings.kafka.bootstrap_servers)

    def all(self, table: str | None = None) -> list[Case]:
        """The newest case of each key that ever had one, the oldest first. Raises Unreachable."""
        tables = [t for t in self._project.tables.values() if table in {None, t.table}]
        ends = self._topics.ends([t.cases_topic for t in tables])
        used = {topic for (topic, _), end in ends.items() if end > 0}
        found = [case for t in tables if t.cases_topic in used for case in self._of_table(t)]
        return sorted(found, key=lambda case: (case.opened_at_us, case.id))

    def _of_table(self, table: Table) -> list[Case]:
        newest = {r.key: r.value for r in self._topics.read(table.cases_topic) if r.value is not None}
        return [decode_case(value) for value in newest.values()]

    def held_apart(self, table: Table) -> list[str]:
        """Keys whose copies need not be what a system has: nobody has decided yet, or a person kept a change of the one
        owner out, and nothing happened since. Raises Unreachable."""
        cases = self.all(table.table)
        newest: dict[bytes | None, str] = {}
        if not table.several_writers and any(case.decision is not None for case in cases):
            for record in self._topics.read(table.truth_topic):
                if record.value is not None:
                    newest[record.key] = peek_version(record.value).hex()
        return [case.key for case in cases if case.is_open or newest.get(case.key.encode()) == case.closed_by]

    def counts(self, now_us: int) -> dict[str, CaseCounts]:
        """Waiting and overdue cases, by table. Raises Unreachable."""
        found: dict[str, list[Case]] = {name: [] for name in self._project.tables}
        for case in self.all():
            found[case.table].append(case)
        return {name: counts(cases, now_us) for name, cases in found.items()}

    def find(self, case_id: str) -> Case:
        """One case by its id. Raises Refused, Unreachable."""
        table = case_id.partition("/")[0]
        for case in self.all(table) if table in self._project.tables else ():
            if case.id == case_id:
                return case
        raise Refused(
            f'there is no case "{case_id}"',
            detail="only the newest case of a key is kept",
            hint="ids stand in: trueup cases list --all",
        )

    def captured(self, case: Case) -> CapturedTable:
        """The columns of a case's table."""
        return captured_table(read_truth_schema(self._settings, case.table))

    def decision(
        self, case: Case, *, take: str | None, values: Mapping[str, str | None], because: str, by: str
    ) -> CaseDecision:
        """What is asked for, ready to be sent. Raises Refused where it cannot be.

        :param take: the letter of a side; None: every differing column is among `values`, so that no side is meant.
        :param values: texts by column; None stands for null.
        """
        if not case.is_open:
            ended = case.decision
            by_whom = "a later change of its key" if ended is None else f"{ended.by}, who took {ended.take}"
            raise Refused(f'case "{case.id}" is {case.status.value}', detail=f"by {by_whom}", hint="nothing is to do")
        if not because.strip():
            raise Refused("a decision needs a reason", hint="--because says why; it travels with the row")
        if values and take is None:
            take = self._base(case, values)
        if take is None or case.side(take) is None:
            raise Refused(
                f'case "{case.id}" has no side "{take or ""}"', hint=f"see its sides: trueup cases show {case.id}"
            )
        return CaseDecision(
            id=uuid.uuid4().hex,
            case=case.id,
            based_on=case.versions,
            take=take,
            because=because.strip(),
            by=by,
            at_us=time.time_ns() // 1000,
            set=self._values(case, values) if values else {},
        )

    def _base(self, case: Case, values: Mapping[str, str | None]) -> str:
        """A side that gives what no value was set for; only where all sides give the same."""
        names = [column.name for column in self.captured(case).columns]
        left = [name for name in differing_columns(case, names) if name not in values]
        if left:
            raise Refused(
                f"the sides differ in more columns: {', '.join(left)}",
                hint="say which side gives them: --take A or --take B",
            )
        return "A"

    def _values(self, case: Case, values: Mapping[str, str | None]) -> dict[str, Any]:
        table, captured = self._project.tables[case.table], self.captured(case)
        system = self._project.systems[table.reference]
        if not table.several_writers:
            raise Refused(
                f'table "{table.table}" has one owner, {system.system}: a value set here would not reach it',
                hint=f"take a side, or write the row at {system.system}: that decides case {case.id} by itself",
            )
        try:
            columns = {settable(captured, name): text for name, text in values.items()}
        except ValueError as exc:
            raise Refused(f"the row cannot be set so: {exc}", hint=f"see: trueup cases show {case.id}") from exc
        typed = {column: text for column, text in columns.items() if text is not None}
        for column in typed:
            if (reason := reason_not_typed(column)) is not None:
                raise Refused(
                    f'column "{column.name}" cannot be set here: {reason}',
                    hint="take the side that is nearest, then write the value at its system",
                )
        texts = written_by_postgres(self._secrets.owner_dsn(system), system.system, typed)
        return {
            avro_name(c.name): None if text is None else captured_value(c, texts[c.name]) for c, text in columns.items()
        }

    def send(self, case: Case, decision: CaseDecision, timeout_s: float) -> Case:
        """Sends a decision and waits until the worker has met it; the case as it is then. Raises Refused, Unreachable.

        Whether it was obeyed is whether it is the decision of the case.
        """
        topic = self._project.tables[case.table].capture_topic
        where = (topic, case.partition)
        committed = self._topics.committed(DECIDE_GROUP, [topic]).get(where)
        kafka = KafkaTopics(self._settings.kafka.bootstrap_servers)
        facts = kafka.describe([topic]).get(topic)
        if committed is None or facts is None:
            raise Refused(
                f'nothing was decided of "{topic}" yet, or it is gone', hint="see what is wrong first: trueup status"
            )
        identity = topic_identity(kafka.cluster().cluster_id, facts.topic_id)
        epoch = PartitionMemory.read(committed[1]).guard.epoch
        record = decision_record(topic, case.partition, epoch, identity.encode(), case.key.encode(), decision)
        offset = self._topics.write(record)
        deadline = time.monotonic() + timeout_s
        while self._topics.committed(DECIDE_GROUP, [topic]).get(where, (0, ""))[0] <= offset:
            if time.monotonic() > deadline:
                raise Refused(
                    f"the decide worker did not come to the decision within {timeout_s:.0f} s",
                    detail="it stands in the log and will be obeyed, unless the case changes before",
                    hint=f"does it run, or is the table stopped? trueup status; then see: trueup cases show {case.id}",
                )
            time.sleep(_POLL_S)
        key = case.key
        return next((c for c in self._of_table(self._project.tables[case.table]) if c.key == key), case)


def why_not_obeyed(before: Case, after: Case, decision: CaseDecision) -> str | None:
    """What kept a decision from being obeyed, as the case says after it; None when it was obeyed."""
    if after.decision is not None and after.decision.id == decision.id:
        return None
    if after.refused is not None and after.refused.id == decision.id:
        return after.refused.why
    if after.id != before.id or after.status is CaseStatus.SUPERSEDED:
        return "a later change of its key had decided it"
    if after.decision is not None:
        return f"{after.decision.by} had decided it, and took {after.decision.take}"
    return "a new epoch had begun: wait for the end of trueup resync"
