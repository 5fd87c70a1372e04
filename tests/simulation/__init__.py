"""The deterministic simulation: the real core, lane, transactions and merges on simulated parts, driven by one seed.

Reading order: `schedule` (time, processes, faults), `log` and `kafka_clients`, `database` and `database_session`,
`source` (what is captured, and the model), `worker` (real handlers on simulated parts), `director` (one run),
`invariants`, `campaign` (many runs) and `planted_bugs`.
"""
