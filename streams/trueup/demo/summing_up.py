"""From what a performance left behind to the numbers of its summary. Pure."""

from __future__ import annotations

from collections import Counter

from trueup.demo.performance import Performance
from trueup.demo.probes import percentile
from trueup.demo.summary import Summary


def sum_up(performance: Performance, *, seed: int, seconds: float) -> Summary:
    """Return the summary; what was never reached is None or nothing."""
    status, verification = performance.status, performance.verification
    other: Counter[str] = Counter()
    if status is not None:
        for counts in (*(entry.counts for entry in status.decide), *(entry.other for entry in status.tables)):
            other.update({outcome: count for outcome, count in counts.items() if outcome != "applied"})
    delays_s = [sample.delay_s for sample in performance.samples]
    calm_s = [
        sample.delay_s
        for sample in performance.samples
        if not any(outage.touches(sample) for outage in performance.outages)
    ]
    captured = performance.captured.total()
    return Summary(
        seed=seed,
        first_captured_row_s=performance.first_captured_row_s,
        filled_s=performance.filled_s,
        captured=captured,
        committed=sum(performance.ledger.changes().values()),
        applied=sum(entry.applied or 0 for entry in status.tables) if status else 0,
        other=dict(other),
        per_second=captured / performance.load_s if performance.load_s else 0.0,
        convergence_p50_s=percentile(calm_s, 0.50) if calm_s else None,
        convergence_p99_s=percentile(calm_s, 0.99) if calm_s else None,
        convergence_max_s=max(delays_s, default=None),
        differing=verification.differing if verification else None,
        kills_survived=len(performance.outages),
        outages_s={outage.worker: outage.ended_s - outage.began_s for outage in performance.outages},
        dead_letters=performance.dead_letters,
        checks=performance.checks.results,
        seconds=seconds,
    )
