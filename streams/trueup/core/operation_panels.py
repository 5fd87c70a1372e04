"""What stands on the dashboards of workers and capture. Pure; those of tables and copies: `core.dashboard_panels`."""

from __future__ import annotations

from trueup.model.dashboard import Panel

_THIRD = 8


def hop_quantile(of: str) -> str:
    """The slowest hundredth of a hop."""
    return f"histogram_quantile(0.99, sum by (le, hop, table, replica) (rate(trueup_hop_seconds_bucket{of}[5m])))"


def worker_panels() -> tuple[Panel, ...]:
    mine = "* on (job, instance) group_left (name) trueup_worker_info"
    name = "{{name}}"
    return (
        Panel(
            title="Ready",
            says="1 when every assigned partition is being worked on.",
            queries={name: f"trueup_worker_ready {mine}"},
        ),
        Panel(
            title="Waits for",
            says="1 while a worker waits for a part.",
            queries={name + " for {{part}}": f"trueup_outage {mine}"},
        ),
        Panel(
            title="Memory",
            says="Resident.",
            queries={name: f"process_resident_memory_bytes {mine}"},
            unit="bytes",
        ),
        Panel(
            title="CPU",
            says="Cores.",
            queries={name: f"rate(process_cpu_seconds_total[1m]) {mine}"},
        ),
        Panel(
            title="Restarts in an hour",
            says="A worker that ends is started anew by its supervisor.",
            queries={name: f"changes(process_start_time_seconds[1h]) {mine}"},
        ),
        Panel(
            title="Rebalances and outages in an hour",
            says="Assignments of partitions; outages that began.",
            queries={
                name + " rebalances": f"increase(trueup_rebalances_total[1h]) {mine}",
                name + " outages of {{part}}": f"increase(trueup_outages_total[1h]) {mine}",
            },
        ),
        Panel(
            title="Recovery of truth tables",
            says="Seconds of the latest catch-up, by table.",
            queries={"{{table}}": "max by (table) (trueup_recovery_seconds)"},
            unit="s",
        ),
        Panel(
            title="Disk of the state folder, free",
            says="Of its size.",
            queries={name: f"trueup_state_disk_free_bytes / trueup_state_disk_size_bytes {mine}"},
            unit="percentunit",
        ),
    )


def capture_panels() -> tuple[Panel, ...]:
    of = '{system=~"$system"}'
    system = "{{system}}"
    return (
        Panel(
            title="Runs",
            says="1 while connector and task run.",
            queries={system: f"max by (system) (trueup_capture_running{of})"},
            kind="stat",
            width=_THIRD,
        ),
        Panel(
            title="State",
            says="Of connector and task.",
            queries={system + " {{part}} {{state}}": f"max by (system, part, state) (trueup_capture_state{of}) == 1"},
            kind="stat",
            width=_THIRD,
        ),
        Panel(
            title="Lost",
            says="1: capture may not go on without a resync.",
            queries={system + " {{error_class}}": f"max by (system, error_class) (trueup_capture_lost{of})"},
            kind="stat",
            width=_THIRD,
            red_from=1,
        ),
        Panel(
            title="Log that is not captured yet",
            says="Of the source. It moves while the source is idle too: heartbeats.",
            queries={system: f"max by (system) (trueup_capture_behind_bytes{of})"},
            unit="bytes",
        ),
        Panel(
            title="Log kept for the slot, and room",
            says="Room is what may be written until the source gives the slot up; without a line it has no limit.",
            queries={
                "kept for " + system: f"max by (system) (trueup_slot_retained_bytes{of})",
                "room of " + system: f"max by (system) (trueup_slot_headroom_bytes{of}) < +Inf",
            },
            unit="bytes",
        ),
        Panel(
            title="Slot is read",
            says="1 while the connector reads it.",
            queries={system: f"max by (system) (trueup_slot_active{of})"},
        ),
        Panel(
            title="Restarts in an hour",
            says="By the capture worker, of what failed.",
            queries={system: f"sum by (system) (increase(trueup_capture_restarts_total{of}[1h]))"},
        ),
        Panel(
            title="Capture hop, p99",
            says="From the source's commit to Kafka, by table.",
            queries={"{{table}}": hop_quantile('{hop="capture"}')},
            unit="s",
        ),
    )
