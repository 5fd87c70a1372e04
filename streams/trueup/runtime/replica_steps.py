"""The part of `trueup apply` that happens at replicas: what is missing there, and which copies must be filled anew."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from trueup.adapters.postgres_connect import dsn_parts
from trueup.adapters.postgres_freshness import CopyWindow, plan_freshness
from trueup.adapters.postgres_rebuild import look_at_old, plan_shadow, refusal
from trueup.adapters.postgres_rebuild_sql import swap
from trueup.adapters.postgres_replica import connect
from trueup.adapters.postgres_replica_ddl import (
    execute,
    find_rebuilds,
    instance_of,
    plan_replica,
    refuse_other_database,
)
from trueup.adapters.secret_references import Secrets
from trueup.core.boundary import compile_copy_checks
from trueup.core.rules_copy import compile_copy
from trueup.model.columns import CapturedTable
from trueup.model.errors import Refused
from trueup.model.rebuild import Rebuild
from trueup.model.registration import Project, Replica, duration_ms
from trueup.model.settings import Settings
from trueup.model.write import CopyPlan
from trueup.runtime.provision_steps import RebuildCopy, ReplicaSql, Step
from trueup.runtime.rebuild import OnFill, RebuildAddresses, RebuildRun

_NAME: Final = "trueup apply"


class Replicas:
    """The replicas of a project, as one run of `trueup apply` sees them.

    :param rebuild: copies whose content changed may be filled anew; without it they are refused.
    """

    def __init__(self, settings: Settings, project: Project, secrets: Secrets, *, adopt: bool, rebuild: bool) -> None:
        self._settings, self._project, self._secrets = settings, project, secrets
        self._adopt, self._rebuild = adopt, rebuild
        self._captured: Mapping[str, CapturedTable] = {}
        self._added: Mapping[str, frozenset[str]] = {}
        self._instances: Mapping[str, str] = {}
        self._seen: dict[str, str] = {}  # the replica of each database

    def steps(
        self,
        captured: Mapping[str, CapturedTable],
        added: Mapping[str, frozenset[str]],
        instances: Mapping[str, str],
    ) -> tuple[list[Step], list[Step]]:
        """What is made at replicas, and the rebuilds. Raises UnsafeChange naming every copy that may not change, and
        Refused when two replicas are one database.

        :param added: by table, columns of the source that no truth record has yet; a copy gets them in its place.
        :param instances: what tells the database of each system.
        """
        self._captured, self._added, self._instances, self._seen = captured, added, instances, {}
        made: list[Step] = []
        rebuilt: list[Step] = []
        refused: list[Rebuild] = []
        for replica in self._project.replicas.values():
            plans = self._plans(replica, captured)
            if not plans:
                continue
            statements, rebuilds, steps = asyncio.run(self._look(replica, plans))
            if statements:
                made.append(ReplicaSql(replica=replica.replica, statements=tuple(statements), plans=tuple(plans)))
            refused += [] if self._rebuild else rebuilds
            rebuilt += steps
        if refused:
            raise refusal(refused)
        return made, rebuilt

    def carry_out(self, step: ReplicaSql) -> None:
        """What is missing is looked up again before it is made: a source's database has changed."""
        asyncio.run(self._make(self._project.replicas[step.replica], step.plans))

    def rebuild(self, rebuild: Rebuild, on_fill: OnFill) -> None:
        """Fill a copy anew and swap it in."""
        replica = self._project.replicas[rebuild.new.replica]
        where = RebuildAddresses(
            settings=self._settings,
            writer_dsn=self._secrets.writer_dsn(replica),
            writer_role=self._writer_role(replica),
            ddl_dsn=self._secrets.ddl_dsn(replica),
        )
        table = self._project.tables[rebuild.new.table]
        copy = table.copy_at(replica.replica)
        assert copy is not None
        captured, functions = self._captured[table.table], self._project.functions
        checks = compile_copy_checks(copy, rebuild.new, captured, functions)
        asyncio.run(RebuildRun(rebuild, where, on_fill, checks).run())

    def _plans(self, replica: Replica, captured: Mapping[str, CapturedTable]) -> list[CopyPlan]:
        copies = self._project.tables_copied_to(replica.replica)
        try:
            return [compile_copy(table, copy, captured[table.table]) for table, copy in copies]
        except ValueError as exc:
            hint = "correct the columns of the copy in schemas/tables"
            raise Refused(f'replica "{replica.replica}": {exc}', hint=hint) from exc

    def _windows(self, replica: Replica) -> list[CopyWindow]:
        partitions = self._settings.kafka.partitions  # what the truth topics were made with: another number is refused
        windows = [(t.table, t.window_of(copy)) for t, copy in self._project.tables_copied_to(replica.replica)]
        return [
            CopyWindow(name, partitions, None, None)
            if window is None
            else CopyWindow(name, partitions, duration_ms(window.within), window.objective.removesuffix("%"))
            for name, window in windows
        ]

    def _writer_role(self, replica: Replica) -> str:
        return str(dsn_parts(replica.replica, self._secrets.writer_dsn(replica)).get("user", ""))

    async def _look(self, replica: Replica, plans: Sequence[CopyPlan]) -> tuple[list[str], list[Rebuild], list[Step]]:
        role = self._writer_role(replica)
        dsn = self._secrets.ddl_dsn(replica)
        async with await connect(replica.replica, dsn, application_name=_NAME) as connection:
            if any(plan.writer for plan in plans):
                await refuse_other_database(connection, replica.replica, self._instances.get(replica.replica, ""))
            self._refuse_second_name(replica.replica, await instance_of(connection, replica.replica))
            rebuilds = await find_rebuilds(connection, plans, self._added)
            statements = await plan_replica(
                connection, plans, role, adopt=self._adopt, rebuilds=rebuilds, added=self._added
            )
            statements += await plan_freshness(connection, self._windows(replica), replica=replica.replica)
            steps: list[Step] = []
            for rebuild in rebuilds if self._rebuild else ():
                old = await look_at_old(connection, rebuild)
                shadow = await plan_shadow(connection, rebuild, old, role)
                steps.append(RebuildCopy(rebuild=rebuild, shadow=tuple(shadow), swap=tuple(swap(rebuild, old))))
            return statements, rebuilds, steps

    def _refuse_second_name(self, replica: str, instance: str) -> None:
        """`core.registration_rules` refuses one reference for two replicas; two can lead to one database as well."""
        earlier = self._seen.setdefault(instance, replica)
        if earlier != replica:
            raise Refused(
                f'replica "{replica}" is the same database as replica "{earlier}"',
                detail="progress, recorded copies and windows are kept once in a database, not for each replica name",
                hint="one replica per database: tables for both can be registered under one replica name; else correct"
                f" dsn and ddl_dsn in connectors/replicas/{replica}.yaml",
            )

    async def _make(self, replica: Replica, plans: Sequence[CopyPlan]) -> None:
        dsn = self._secrets.ddl_dsn(replica)
        async with await connect(replica.replica, dsn, application_name=_NAME) as connection:
            # Workers commit without waiting for the disk; a table that is said to be there must be there.
            await connection.execute("SET synchronous_commit = on")
            rebuilds = await find_rebuilds(connection, plans, self._added)
            role = self._writer_role(replica)
            statements = await plan_replica(
                connection, plans, role, adopt=self._adopt, rebuilds=rebuilds, added=self._added
            )
            statements += await plan_freshness(connection, self._windows(replica), replica=replica.replica)
            await execute(connection, statements, replica=replica.replica)
