"""The faults, by their ids in the list of faults: what is done to the rig while writers write and readers look.

To add one: a function (rig, dice, report) in the neighbour it belongs to, and its line here. They share a rig, so the
order counts: what leaves least behind comes first, what makes topics anew and what is large come last.
"""

import msgspec

from tests.chaos import failpoints
from tests.chaos.brokers import each_broker_killed
from tests.chaos.crashes import APPLY, dies_at, raises_at, worker_blocked
from tests.chaos.kills import local_state_lost, workers_killed, workers_terminated, workers_terminated_in_a_write
from tests.chaos.losses import (
    clock_jumps,
    group_offsets_deleted,
    partitions_added,
    retention_passed_the_undecided,
    slot_advanced,
    slot_dropped,
    source_went_back,
    topic_deleted,
)
from tests.chaos.outages import (
    broker_down,
    cable_cut,
    cable_silent,
    one_replica_down,
    replica_killed,
    source_killed,
)
from tests.chaos.rebalances import (
    STILL_S_MAX,
    rebalance_while_a_batch_is_stuck,
    workers_restarted_one_by_one,
    workers_scaled,
)
from tests.chaos.refusals import deadlocks, replica_full, replica_read_only, sessions_ended
from tests.chaos.rig import BROKER_CABLE, DECIDE, REPLICA_CABLE, SOURCE_CABLE
from tests.chaos.scenario import Inject
from tests.chaos.snapshots import (
    connect_killed_between_interleaved_transactions,
    connect_killed_in_a_copy,
    connect_killed_in_a_snapshot,
    connect_killed_in_the_stream,
    transaction_open_across_a_snapshot,
)
from tests.chaos.volumes import huge_row, huge_transaction
from tests.chaos.zombies import apply_zombie, decide_zombie


class Fault(msgspec.Struct, frozen=True):
    """What is done, and to which rig.

    :param brokers: of the rig.
    :param still_s_max: no copy may stand still for longer while it is done; None: that is not what it is about.
    """

    inject: Inject
    brokers: int = 1
    still_s_max: float | None = None


FAULTS: dict[str, Fault] = {
    "F-01": Fault(workers_killed),
    "F-02": Fault(dies_at(failpoints.applied, APPLY)),
    "F-03-open": Fault(dies_at(failpoints.offset_sent, DECIDE)),
    "F-03-committed": Fault(dies_at(failpoints.committed, DECIDE)),
    "F-04-decide": Fault(raises_at(failpoints.decide_raises, DECIDE)),
    "F-04-apply": Fault(raises_at(failpoints.apply_raises, APPLY)),
    "F-05-load": Fault(workers_terminated),
    "F-05-lock": Fault(workers_terminated_in_a_write),
    "F-06-decide": Fault(decide_zombie),
    "F-06-apply": Fault(apply_zombie),
    "F-07-scale": Fault(workers_scaled, still_s_max=STILL_S_MAX),
    "F-07-rolling": Fault(workers_restarted_one_by_one, still_s_max=STILL_S_MAX),
    "F-08": Fault(rebalance_while_a_batch_is_stuck),
    "F-10-cut": Fault(cable_cut(BROKER_CABLE)),
    "F-10-silent": Fault(cable_silent(BROKER_CABLE)),
    "F-10-down": Fault(broker_down),
    "F-12-stream": Fault(connect_killed_in_the_stream),
    "F-13": Fault(connect_killed_in_a_copy),
    "F-14": Fault(connect_killed_between_interleaved_transactions),
    "F-15-cut": Fault(cable_cut(SOURCE_CABLE)),
    "F-15-silent": Fault(cable_silent(SOURCE_CABLE)),
    "F-15-killed": Fault(source_killed),
    "F-18-cut": Fault(cable_cut(REPLICA_CABLE)),
    "F-18-silent": Fault(cable_silent(REPLICA_CABLE)),
    "F-18-sessions": Fault(sessions_ended),
    "F-18-read-only": Fault(replica_read_only),
    "F-18-full": Fault(replica_full),
    "F-18-killed": Fault(replica_killed),
    "F-19": Fault(one_replica_down),
    "F-20": Fault(deadlocks),
    "F-21-lost": Fault(local_state_lost),
    "F-21-stored": Fault(dies_at(failpoints.stored, DECIDE)),
    "F-23": Fault(group_offsets_deleted),
    "F-25": Fault(clock_jumps),
    "F-26": Fault(worker_blocked),
    "F-11": Fault(transaction_open_across_a_snapshot),
    "F-12-snapshot": Fault(connect_killed_in_a_snapshot),
    "F-16-dropped": Fault(slot_dropped),
    "F-16-advanced": Fault(slot_advanced),
    "F-17": Fault(source_went_back),
    "F-22-retention": Fault(retention_passed_the_undecided),
    "F-22-deleted": Fault(topic_deleted),
    "F-22-partitions": Fault(partitions_added),
    "F-24-row": Fault(huge_row),
    "F-24-transaction": Fault(huge_transaction),
    "F-09": Fault(each_broker_killed, brokers=3),
}
