"""Benchmarks on real servers: measured and reported, never timed tests. `make bench-drain` is the one there is."""
