"""The end of a scenario: writers stop, a sentinel passes through every copy, then everything is compared."""

import psycopg

from tests.chaos.accounts import check_accounts, check_placeholders
from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.ledger import Ending, Write
from tests.chaos.register_check import check_final
from tests.chaos.registers import SENTINEL_KEY, Copy, RegisterTable, rows_at, rows_at_source
from tests.chaos.rig import Rig
from tests.chaos.writers import digest
from tests.waiting import NeverBecameTrueError, eventually

SENTINEL_WITHIN_S = 60.0
"""A worker that just came back waits for its former session to end (6 s), starts (5 s) and catches up."""

ACCOUNTS_WITHIN_S = 30.0
FILLED_WITHIN_S = 300.0
"""The start of two connectors and their snapshots, on a machine that does other things too."""


def drain(rig: Rig, report: Report) -> None:
    """Let everything arrive, and write into the report what is not as it must be. The writers have stopped."""
    for table in rig.copies:
        write_sentinel(rig, table)
    try:
        sentinels_arrive(rig)
    except NeverBecameTrueError as error:
        report.findings.append(Finding(Anomaly.STUCK, str(error)))
        report.facts["status says"] = str(rig.json("status")["problems"])
        return
    report.findings += check_copies(rig)
    report.findings += check_verify(rig)
    wrong, captured, published = check_accounts(rig, ACCOUNTS_WITHIN_S)
    report.findings += wrong
    report.facts["accounts"] = (
        f"{captured} captured, {published} published, each with one outcome" if not wrong else "-"
    )
    report.findings += check_placeholders(rig)


def write_sentinel(rig: Rig, table: RegisterTable) -> None:
    """The newest change of a table."""
    rig.sentinels += 1
    key, value = SENTINEL_KEY + rig.sentinels, f"sentinel/{rig.sentinels}"
    sql = f"INSERT INTO {table.source} VALUES (%s, %s, 'sentinel', nextval(%s)) RETURNING n"
    ((number,),) = rig.query(table.system, sql, (key, value, table.sequence))
    rig.ledgers[table].record([Write(key, number, digest(value))], Ending.OK)


def first_filling_is_complete(rig: Rig) -> None:
    """Before the first scenario: the sources' first snapshots are over, and what follows them arrives."""
    for table in rig.copies:
        write_sentinel(rig, table)
    sentinels_arrive(rig, FILLED_WITHIN_S)


def sentinels_arrive(rig: Rig, within_s: float = SENTINEL_WITHIN_S) -> None:
    """Raises NeverBecameTrueError."""
    for table, copy in rig.all_copies():
        wanted = f"SELECT count(*) FROM {table.source} WHERE k > {SENTINEL_KEY}"
        arrived = f"SELECT count(*) FROM {copy.target} WHERE {copy.key_column} > {SENTINEL_KEY}"
        sentinels = rig.query(table.system, wanted)
        eventually(
            lambda copy=copy, arrived=arrived, sentinels=sentinels: rig.query(copy.replica, arrived) == sentinels,  # type: ignore[misc]
            within_s=within_s,
            what=f"the sentinel of {table.name} at {copy.replica}",
        )


def check_copies(rig: Rig) -> list[Finding]:
    """Every register, at its source and at every copy, is at its last write, as the ledger has it."""
    findings = []
    for table, ledger in rig.ledgers.items():
        with psycopg.connect(rig.dsn(table.system), autocommit=True) as connection:
            findings += check_final(rows_at_source(connection, table), ledger, f"source {table.name}")
    for table, copy in rig.all_copies():

        def at_last_write(table: RegisterTable = table, copy: Copy = copy) -> bool:
            with psycopg.connect(rig.dsn(copy.replica), autocommit=True) as connection:
                found = check_final(rows_at(connection, copy), rig.ledgers[table], f"{copy.target} at {copy.replica}")
            assert not found, found
            return True

        # The sentinel has its own partition; the others may be a moment behind.
        try:
            eventually(at_last_write, within_s=SENTINEL_WITHIN_S, what=f"{table.name} at {copy.replica} is at its end")
        except NeverBecameTrueError:
            with psycopg.connect(rig.dsn(copy.replica), autocommit=True) as connection:
                findings += check_final(
                    rows_at(connection, copy), rig.ledgers[table], f"{copy.target} at {copy.replica}"
                )
    return findings


def check_verify(rig: Rig) -> list[Finding]:
    """What TrueUp's own command says of all tables."""
    answer = rig.json("verify")
    findings = [
        Finding(Anomaly.DIFFERS, f"{result['table']} at {result['replica']}: {result['differing']}: {result['keys']}")
        for result in answer["results"]
        if result["differing"] or result["explained"]
    ]
    if not answer["caught_up"]:
        findings.append(Finding(Anomaly.STUCK, "verify: copies did not catch up"))
    return findings
