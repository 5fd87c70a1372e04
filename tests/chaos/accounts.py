"""The books: every record of a topic has exactly one counted outcome, as an independent committed reader counts them.

Versions in a truth topic rise with every record of a key, and no record holds the connector's placeholder.
"""

from confluent_kafka import Message

from tests.chaos.findings import Anomaly, Finding
from tests.chaos.rig import Rig, TopicReading
from tests.committed_reader import Ends, committed_messages, topic_ends
from tests.waiting import NeverBecameTrueError, eventually
from trueup.model.registration import Table

VERSION = slice(5, 25)  # behind the frame of five bytes stands the version: twenty bytes that sort as versions do
PLACEHOLDER = "__trueup_unavailable_"
UNWANTED = {"rejected", "escalated"}


def check_accounts(rig: Rig, within_s: float) -> tuple[list[Finding], int, int]:
    """After a drain. Returns what is wrong, and how many records were captured and published."""
    tables = list(rig.project().tables.values())
    findings = _read_on(rig, tables)
    captured = published = 0
    for table in tables:
        truths = rig.readings[table.truth_topic].count
        captures = rig.readings[table.capture_topic].count + rig.forgotten[table.capture_topic]
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


def _read_on(rig: Rig, tables: list[Table]) -> list[Finding]:
    """Count what came to the topics since, and look at each truth. All of it each time is too much for many rounds."""
    truth_topics = {table.truth_topic for table in tables}
    topics = [*truth_topics, *(table.capture_topic for table in tables)]
    readings = {topic: rig.readings.setdefault(topic, TopicReading()) for topic in topics}
    starts: Ends = {place: end for reading in readings.values() for place, end in reading.ends.items()}
    ends, findings = topic_ends(rig.bootstrap, topics), list[Finding]()
    for message in committed_messages(rig.bootstrap, topics, starts):
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        assert topic is not None
        assert partition is not None
        assert offset is not None
        if offset >= ends[topic, partition]:
            continue  # of the next time
        readings[topic].count += 1
        if topic in truth_topics:
            findings += _look_at(message, readings[topic], f"{topic} {partition}/{offset}")
    for place, end in ends.items():
        readings[place[0]].ends[place] = end
    return findings


def _look_at(message: Message, reading: TopicReading, where: str) -> list[Finding]:
    key, value, findings = message.key(), message.value(), list[Finding]()
    assert isinstance(key, bytes), "a truth has a key"
    assert value is not None, "a truth is never null"
    if value[VERSION] <= reading.newest.get(key, b""):
        findings.append(Finding(Anomaly.NONMONOTONIC, f"{where}: the version of its key does not rise"))
    reading.newest[key] = value[VERSION]
    if PLACEHOLDER.encode() in value:
        findings.append(Finding(Anomaly.PLACEHOLDER, where))
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
