"""Tests of the demo: its numbers, its choices and what it shows. The demo itself is run by `make demo`."""
