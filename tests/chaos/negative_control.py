"""The negative control of every run: what is spoiled by hand is found, all of it and nothing else (F-52)."""

import random
from typing import Any

import psycopg

from tests.chaos.findings import Anomaly, Finding, Report
from tests.chaos.register_check import check_final
from tests.chaos.registers import KEYS, Copy, RegisterTable, rows_at
from tests.chaos.rig import Rig

ADDED_KEY = KEYS + 1
"""No writer has it."""


def control(rig: Rig, report: Report, dice: random.Random) -> None:
    """After a drain, with nobody reading: spoil a copy, look, put it right, look again."""
    blind = _control(rig, dice)
    report.findings += blind
    report.facts["negative control"] = "NOT found" if blind else "3 of 3 found, then put right"


def _control(rig: Rig, dice: random.Random) -> list[Finding]:
    """Change one row of a copy, delete one, add one."""
    table, copy = dice.choice(rig.all_copies())
    place = f"{copy.target} at {copy.replica}"
    with psycopg.connect(rig.dsn(copy.replica), autocommit=True) as connection:
        present = sorted(key for key in rows_at(connection, copy) if key <= KEYS)
        if len(present) < 3:
            return [Finding(Anomaly.BLIND_CHECKER, f"{place} has too few rows to spoil")]
        changed, deleted = dice.sample(present, 2)
        before = _save(connection, copy, [changed, deleted])
        try:
            _spoil(connection, copy, changed, deleted)
            spoiled = {changed, deleted, ADDED_KEY}
            findings = _look(rig, table, copy, spoiled)
            own = check_final(rows_at(connection, copy), rig.ledgers[table], place)
            if len(own) != len(spoiled):
                findings.append(Finding(Anomaly.BLIND_CHECKER, f"{place}: 3 rows spoiled, the ledger finds {own}"))
        finally:
            _restore(connection, copy, before)
    return findings + _look(rig, table, copy, set())


def _look(rig: Rig, table: RegisterTable, copy: Copy, spoiled: set[int]) -> list[Finding]:
    """What `trueup verify` says of the table, against what was spoiled."""
    found = {result["replica"]: set(result["keys"]) for result in rig.json("verify", table.name)["results"]}
    expected: dict[str, set[str]] = {other.replica: set() for other in rig.copies[table]}
    expected[copy.replica] = {f'["{key}"]' for key in spoiled}
    if found == expected:
        return []
    return [Finding(Anomaly.BLIND_CHECKER, f"spoiled {expected}, verify finds {found}")]


def _save(connection: psycopg.Connection[Any], copy: Copy, keys: list[int]) -> list[tuple[Any, ...]]:
    sql = f"SELECT * FROM {copy.target} WHERE {copy.key_column} = ANY(%s)"
    return connection.execute(sql.encode(), (keys,)).fetchall()


def _spoil(connection: psycopg.Connection[Any], copy: Copy, changed: int, deleted: int) -> None:
    key, number, value = copy.columns
    with connection.transaction():
        connection.execute(
            f"INSERT INTO {copy.target} ({key}, {number}, {value}, _trueup_version)"
            f" SELECT %s, 0, 'added by hand', _trueup_version FROM {copy.target} LIMIT 1".encode(),
            (ADDED_KEY,),
        )
        connection.execute(f"UPDATE {copy.target} SET {value} = 'by hand' WHERE {key} = %s".encode(), (changed,))
        connection.execute(f"DELETE FROM {copy.target} WHERE {key} = %s".encode(), (deleted,))


def _restore(connection: psycopg.Connection[Any], copy: Copy, rows: list[tuple[Any, ...]]) -> None:
    """As it was, versions included."""
    with connection.transaction():
        keys = [ADDED_KEY, *(row[0] for row in rows)]
        connection.execute(f"DELETE FROM {copy.target} WHERE {copy.key_column} = ANY(%s)".encode(), (keys,))
        for row in rows:
            places = ", ".join(["%s"] * len(row))
            connection.execute(f"INSERT INTO {copy.target} VALUES ({places})".encode(), row)
