"""What `trueup apply` has to do: compares the registration with what is there. Changes nothing.

The order is the guarantee; a run that was killed after any step is completed by the next one:

    1. schemas, in the registry and in the project      nobody writes yet; of a table whose columns changed after 7,
                                                        see `runtime.evolve_plan`
    2. topics                                           the connector finds its own
    3. sources: own schema, identity, publication       what is not published when the slot is made is lost
    4. replicas
    5. a note of tables that the first snapshot brings  before the connector begins it
    6. connectors
    7. fills of tables that joined a running connector  once a heartbeat proves that its task knows the table
    8. what is no longer registered leaves the publication
    9. rebuilds of copies, which may take long          (`runtime.replica_steps`)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from trueup.adapters import postgres_source_sql as sql
from trueup.core.capture_topic import cure
from trueup.core.connector_config import ConnectorPlaces, connector_config
from trueup.core.source_rules import parts_to_identify, why_full_identity
from trueup.core.topic_plan import replication_factor, settings_to_change, system_topics, table_topics
from trueup.model.errors import Refused, UnsafeChange
from trueup.model.registration import Table
from trueup.model.settings import Settings
from trueup.model.topic import ClusterFacts
from trueup.runtime.capture_look import look_at_capture
from trueup.runtime.evolve_plan import must_be_read_again
from trueup.runtime.fill_plan import fill, fill_again, has_late_tables
from trueup.runtime.provision_look import Parts, SystemView
from trueup.runtime.provision_steps import (
    AlterTopic,
    CreateTopic,
    PutConnector,
    RestartConnector,
    SourceSql,
    Step,
)


def plan(
    settings: Settings,
    views: list[SystemView],
    parts: Parts,
    template: Callable[[str], Mapping[str, str]],
    replica_steps: list[Step],
    rebuild_steps: list[Step],
    reread: Collection[str] = (),
) -> list[Step]:
    """All steps in order; empty when there is nothing to do.

    :param template: `adapters.connector_template.connector_template`.
    :param reread: tables whose columns were others for a while: what was captured then is passed over.
    """
    cluster = parts.kafka.cluster()
    for view in views:
        _refuse_other_epoch(view)
        _refuse_lost_topics(view, parts)
    before: list[Step] = []
    after: list[Step] = []
    schemas: dict[bool, list[Step]] = {False: [], True: []}
    log_ends = {view.system.system: view.log_end for view in views}
    for table, view in _each_once(views):
        again = table.table in reread
        schemas[again or view.evolved(table)] += view.schema_steps(table, settings, parts, log_ends, reread=again)
    for view in views:
        earlier, later = _capture_steps(view, settings, cluster, parts, template(view.system.kind), reread)
        before += earlier
        after += later
    return [
        *schemas[False],
        *_topic_steps(views, settings, cluster, parts),
        *(step for view in views for step in _source_steps(view)),
        *replica_steps,
        *before,
        *after,
        *schemas[True],
        *(step for view in views for step in _leaving_steps(view)),
        *rebuild_steps,
    ]


def prerequisites(settings: Settings, view: SystemView, parts: Parts) -> list[Step]:
    """Steps 1 to 3 for one system: what must be there before a connector may run."""
    ends = {view.system.system: view.log_end}
    schemas = [step for table in view.tables for step in view.schema_steps(table, settings, parts, ends)]
    topics = _topic_steps([view], settings, parts.kafka.cluster(), parts)
    return [*schemas, *topics, *_source_steps(view)]


def wanted_config(
    settings: Settings, view: SystemView, parts: Parts, template: Callable[[str], Mapping[str, str]]
) -> dict[str, str]:
    """The settings the connector of a system must have when it begins anew."""
    return _config(view, settings, parts.kafka.cluster(), template(view.system.kind))


def _refuse_other_epoch(view: SystemView) -> None:
    system = view.system
    applied = set(view.state.fills.values())
    if applied - {system.epoch}:
        raise UnsafeChange(
            f'system "{system.system}" has epoch {system.epoch}, and was applied with {max(applied)}',
            detail="a new epoch needs a new slot, a snapshot, and a sweep of what the snapshot did not bring",
            hint=f"trueup resync {system.system} does all of that; to go on as before write epoch: {max(applied)}",
        )


def _refuse_lost_topics(view: SystemView, parts: Parts) -> None:
    """A capture topic that was there and is gone is not simply made anew: changes were in it."""
    filled = [table for table in view.tables if table.table in view.state.fills]
    found = parts.kafka.describe([table.capture_topic for table in filled])
    for table in filled:
        if table.capture_topic not in found:
            raise UnsafeChange(
                f'the capture topic of table "{table.table}" was deleted',
                detail=f'"{table.capture_topic}" held changes that may not have been decided',
                hint=f"a new snapshot brings them: {cure(table)}",
            )


def _each_once(views: list[SystemView]) -> Iterator[tuple[Table, SystemView]]:
    """Every table with a view of it: one that several systems write is captured from the first that is looked at."""
    seen = set()
    for view in views:
        for table in view.tables:
            if table.table not in seen:
                seen.add(table.table)
                yield table, view


def _topic_steps(views: list[SystemView], settings: Settings, cluster: ClusterFacts, parts: Parts) -> list[Step]:
    copies = replication_factor(settings, cluster)
    wanted = [
        *(spec for view in views for spec in system_topics(view.system.system, copies)),
        *(spec for table, _ in _each_once(views) for spec in table_topics(table, settings, copies)),
    ]
    found = parts.kafka.describe([spec.name for spec in wanted])
    steps: list[Step] = []
    for spec in wanted:
        if spec.name not in found:
            steps.append(CreateTopic(spec=spec))
        elif changes := settings_to_change(spec, found[spec.name]):
            steps.append(AlterTopic(name=spec.name, config=changes))
    return steps


def _source_steps(view: SystemView) -> list[Step]:
    system, state = view.system.system, view.state
    steps: list[Step] = [SourceSql(system=system, statement=text) for text in sql.own_schema(system, state)]
    for table in view.tables:
        facts = view.found[table.table]
        why = why_full_identity(table, facts)
        steps += [
            SourceSql(system=system, statement=sql.full_identity(part.schema, part.table), why=why)
            for part in parts_to_identify(table, facts)
        ]
    statements = [
        *sql.grant(view.login.user, state.missing),
        *sql.publish(view.name, view.published, state.publication, view.server),
    ]
    return steps + [SourceSql(system=system, statement=text) for text in statements]


def _capture_steps(
    view: SystemView,
    settings: Settings,
    cluster: ClusterFacts,
    parts: Parts,
    template: Mapping[str, str],
    reread: Collection[str],
) -> tuple[list[Step], list[Step]]:
    """Before: the note of what the first snapshot brings, and the connector. After: fills."""
    system, state = view.system, view.state
    running = parts.connect.config(view.name)
    # A slot without a connector: it was removed and comes back where it stood, without a new snapshot.
    begins = running is None and not state.slot
    late = not begins and has_late_tables(view.tables, state)
    config = _config(view, settings, cluster, template, has_late_tables=late)
    if parts.connect.plugin_version(config["connector.class"]) is None:
        raise Refused(
            f'"connect" does not have {config["connector.class"]}',
            hint='install the plugin; see "What Kafka and Connect must allow" in infra/README.md',
        )
    if (
        running is not None
        and (problem := look_at_capture(system.system, parts.source(system), parts.connect)) is not None
    ):
        raise problem
    unfilled = [table for table in view.tables if table.table not in state.fills]
    before: list[Step] = []
    after: list[Step] = []
    if unfilled and begins:
        names = [table.table for table in unfilled]
        statement = sql.fill_by_first_snapshot(system.system, names, system.epoch)
        before.append(SourceSql(system=system.system, statement=statement))
    elif unfilled:
        after += [fill(system, table, view.captured(table), config) for table in unfilled]
    after += [
        fill_again(system, table, view.captured(table), config)
        for table in view.tables
        if table not in unfilled and (table.table in reread or _must_be_read_again(table, view, parts))
    ]
    if running != config:
        changed = sorted(k for k in {*config, *(running or {})} if (running or {}).get(k) != config.get(k))
        put = PutConnector(
            system=system.system,
            name=view.name,
            config=config,
            changed=() if running is None else tuple(changed),
            streams=not begins and state.heartbeat_config is not None,
        )
        before.append(put)
    elif (status := parts.connect.status(view.name)) is not None and status.failed:
        before.append(RestartConnector(system=system.system, name=view.name))
    return before, after


def _must_be_read_again(table: Table, view: SystemView, parts: Parts) -> bool:
    applied, columns = view.applied[table.table], view.captured(table)
    return view.evolved(table) and must_be_read_again(table, applied, columns, parts.source(view.system))


def _config(
    view: SystemView,
    settings: Settings,
    cluster: ClusterFacts,
    template: Mapping[str, str],
    *,
    has_late_tables: bool = False,
) -> dict[str, str]:
    generated = view.server.publishes_generated
    return connector_config(
        view.system,
        view.tables,
        template,
        view.login,
        ConnectorPlaces(
            registry_url=settings.registry.url,
            cluster_id=cluster.cluster_id,
            transaction_timeout_ms=settings.kafka.transaction_timeout_ms,
        ),
        message_keys={
            table.source.table: tuple(table.key)
            for table in view.tables
            if set(table.key) != set(view.found[table.table].primary_key)
        },
        excluded_columns=[
            f"{table.source.table}.{column}"
            for table in view.tables
            for column in view.found[table.table].uncaptured(generated=generated)
        ],
        has_late_tables=has_late_tables,
    )


def _leaving_steps(view: SystemView) -> list[Step]:
    gone = [name for name in view.state.fills if name not in {table.table for table in view.tables}]
    statements = [
        *sql.unpublish(view.name, view.published, view.state.publication),
        *sql.forget_fills(view.system.system, gone),
    ]
    return [SourceSql(system=view.system.system, statement=text) for text in statements]
