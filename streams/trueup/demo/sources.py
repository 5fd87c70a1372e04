"""The source databases as they are before TrueUp: schemas and rows, made in the databases themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import psycopg

from trueup.demo.folder import DemoFolder
from trueup.demo.pgbench import initialise_pgbench

SYSTEMS = ("shop", "warehouse")


def create_sources(folder: DemoFolder, rows: int) -> None:
    """Make schemas and rows of both systems, and pgbench's tables in the shop's database. Safe to repeat.

    :param rows: in all owned tables together, pgbench's not counted.
    """
    with ThreadPoolExecutor(len(SYSTEMS) + 1) as pool:
        tasks = [pool.submit(create_source, folder.dsn(system), system, rows) for system in SYSTEMS]
        tasks.append(pool.submit(initialise_pgbench, folder.dsn("shop"), folder.log_dir / "pgbench_init.log"))
        for task in tasks:
            task.result()


def create_source(dsn: str, system: str, rows: int) -> None:
    """Run the script of one system, in one transaction."""
    script = files("trueup.demo").joinpath(f"sources_{system}.sql").read_text(encoding="utf-8")
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT set_config('demo.rows', %s, true)", [str(rows)])
        connection.execute(script.encode())
