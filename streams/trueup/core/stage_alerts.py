"""Alerts about tables at a stage: no progress, stopped, recovery, dead letters, cases. Pure."""

from __future__ import annotations

from typing import Final

from trueup.model.alerting import Alert, RuleGroup

PREPARING_S_MAX: Final = 120  # a million keys are recovered in some 15 s
_FLOOD_MIN: Final = 100  # in 5 minutes; a table that only produces letters passes its cap within the day
_PLACE: Final = "stage, table, replica"
_WHERE: Final = (
    'table "{{ $labels.table }}" at stage {{ $labels.stage }}'
    '{{ if $labels.replica }} of replica "{{ $labels.replica }}"{{ end }}'
)
_LETTERS: Final = 'trueup_records_total{outcome="rejected"}'
_WORKER: Final = "job, instance"


def stage_group() -> RuleGroup:
    """The alerts; one rule each for all tables."""
    return RuleGroup(
        name="trueup tables",
        rules=(
            Alert(
                alert="TrueUpNoProgress",
                # Idle is lag 0 now and then: markers come all the time, and one may lie there at a scrape. A partition
                # that is not worked on has no lag: that is recovery, or stopped.
                expr=f"sum by ({_PLACE}) (min_over_time(trueup_lag_records[1m])) > 0\n"
                f"and sum by ({_PLACE}) (increase(trueup_records_total[2m])) == 0",
                for_s=60,
                severity="page",
                summary=f"{_WHERE} has records to work on and works on none",
                runbook="A table makes no progress",
            ),
            Alert(
                alert="TrueUpTableStopped",
                expr=f'max by ({_PLACE}, error_class) (trueup_table_stopped{{error_class!="SourceWentBack"}}) == 1',
                severity="page",
                summary=f"{_WHERE} is stopped by {{{{ $labels.error_class }}}} and waits for somebody",
                runbook="A table is stopped",
            ),
            Alert(
                alert="TrueUpTableWentBack",
                expr=f'max by ({_PLACE}) (trueup_table_stopped{{error_class="SourceWentBack"}}) == 1',
                severity="page",
                summary=f"{_WHERE} is stopped: its source went back to an earlier state",
                runbook="The source went back",
            ),
            Alert(
                alert="TrueUpRecoveryTooLong",
                expr=f"max by ({_PLACE}) (\n"
                f"  trueup_preparing_seconds > {PREPARING_S_MAX}\n"
                f"  unless on ({_WORKER}) max by ({_WORKER}) (trueup_outage) == 1\n)",
                severity="page",
                summary=f"{_WHERE} is being recovered for more than {PREPARING_S_MAX} s",
                runbook="Recovery takes too long",
            ),
            Alert(
                alert="TrueUpDeadLettersRise",
                expr=f"sum by ({_PLACE}) (increase({_LETTERS}[15m])) > 0",
                severity="ticket",
                summary=f"{_WHERE} got new dead letters in the last 15 minutes",
                runbook="Dead letters rise",
            ),
            Alert(
                alert="TrueUpDeadLettersFlood",
                expr=f"sum by ({_PLACE}) (increase({_LETTERS}[5m])) > {_FLOOD_MIN}",
                severity="page",
                summary=f"{_WHERE} got more than {_FLOOD_MIN} dead letters in 5 minutes",
                runbook="Dead letters rise",
            ),
            Alert(
                alert="TrueUpCasesOverdue",
                expr="sum by (table) (trueup_cases_overdue) > 0",
                for_s=60,
                severity="ticket",
                summary='table "{{ $labels.table }}" has cases that nobody decided in time',
                runbook="Cases are overdue",
            ),
        ),
    )
