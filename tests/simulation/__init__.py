"""The deterministic simulation: the real core, lane, transactions and merges on simulated parts, driven by one seed.

Reading order: `schedule` (time, processes, faults), `log` and `kafka_clients`, `database` and `database_session`,
`source` and `writers` (what is captured), `desk` (people, and the model), `worker` (real handlers on simulated parts),
`director` (one run) with its kinds `owner_run` and `writers_run`, `invariants`, `undisturbed`, `runs`, `campaign` (many
runs) and the three files of planted bugs.
"""
