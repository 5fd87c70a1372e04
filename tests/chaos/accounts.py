"""The books: every record of a topic has exactly one counted outcome, as an independent committed reader counts them.

Versions in a truth topic rise with every record of a key, and no record holds the connector's placeholder.
"""

from tests.chaos.findings import Anomaly, Finding
from tests.chaos.rig import Rig, TopicReading
from tests.committed_reader import committed_messages, topic_ends
from tests.waiting import NeverBecameTrueError, eventually
from trueup.model.registration import Table

VERSION = slice(5, 25)  # behind the frame of five bytes stands the version: twenty bytes that sort as versions do
PLACEHOLDER = "__trueup_unavailable_"
UNWANTED = {"rejected", "escalated"}


def check_accounts(rig: Rig, within_s: float) -> tuple[list[Finding], int, int]:
    """After a drain. Returns what is wrong, and how many records were captured and published."""
    readings = rig.readings
    findings: list[Finding] = []
    captured = published = 0
    for table in rig.project().tables.values():
        for topic in (table.truth_topic, table.capture_topic):
            findings += _read_on(rig, topic, readings.setdefault(topic, TopicReading()), table)
        truths = readings[table.truth_topic].count
        captures = readings[table.capture_topic].count + rig.forgotten[table.capture_topic]
        captured, published = captured + captures, published + truths

        def even(table: Table = table, captures: int = captures, truths: int = truths) -> bool:
            decided = sum(rig.decide_totals(table.capture_topic).values())
            assert decided == captures, f"{table.capture_topic}: {captures} records, {decided} outcomes"
            for copy in table.replicas:
                applied = rig.apply_totals(copy.replica, table.truth_topic)
                assert applied == truths, f"{table.truth_topic}: {truths} records, {applied} outcomes at {copy.replica}"
            return True

        try:
            eventually(even, within_s=within_s, what=f"every record of {table.table} has one outcome")
        except NeverBecameTrueError as error:
            findings.append(Finding(Anomaly.UNACCOUNTED, str(error)))
    for register in rig.copies:
        totals = rig.decide_totals(register.capture_topic)
        findings += [
            Finding(Anomaly.UNACCOUNTED, f"{register.name}: {totals[outcome]} {outcome}, nothing wrong was written")
            for outcome in sorted(UNWANTED)
            if totals[outcome]
        ]
    return findings, captured, published


def _read_on(rig: Rig, topic: str, reading: TopicReading, table: Table) -> list[Finding]:
    """Count what came to a topic since, and look at each truth. All of it each time is too much for many rounds."""
    ends, findings = topic_ends(rig.bootstrap, [topic]), list[Finding]()
    for message in committed_messages(rig.bootstrap, topic, reading.ends):
        partition, offset = message.partition(), message.offset()
        assert partition is not None
        assert offset is not None
        if offset >= ends[topic, partition]:
            continue  # of the next time
        reading.count += 1
        if topic == table.truth_topic:
            key, value = message.key(), message.value()
            assert isinstance(key, bytes), "a truth has a key"
            assert value is not None, "a truth is never null"
            where = f"{topic} {partition}/{offset}"
            if value[VERSION] <= reading.newest.get(key, b""):
                findings.append(Finding(Anomaly.NONMONOTONIC, f"{where}: the version of its key does not rise"))
            reading.newest[key] = value[VERSION]
            if PLACEHOLDER.encode() in value:
                findings.append(Finding(Anomaly.PLACEHOLDER, where))
    reading.ends = ends
    return findings


def check_placeholders(rig: Rig) -> list[Finding]:
    """No value of any copy at any replica is the connector's word for a value it did not have."""
    findings = []
    for replica in rig.replicas:
        tables = rig.query(replica, "SELECT target FROM trueup.copies")
        for (target,) in tables:
            name = ".".join(f'"{part}"' for part in str(target).split(".", 1))
            like = f"SELECT count(*) FROM {name} AS t WHERE strpos(t::text, %s) > 0"
            ((count,),) = rig.query(replica, like, (PLACEHOLDER,))
            if count:
                findings.append(Finding(Anomaly.PLACEHOLDER, f"{target} at {replica}: {count} rows"))
    return findings
