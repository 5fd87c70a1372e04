"""Target files of Prometheus' file discovery: each worker of a host writes its own, so that any number is found.

A worker that ends in good order takes its file away; the file of a killed one stays, and its target is down.
Format: a list of {"targets": ["host:port"], "labels": {...}}, read anew by Prometheus when it changes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from trueup.adapters.whole_file import write_whole


def targets_dir(state_dir: Path) -> Path:
    """The folder that Prometheus is pointed at, with `*.json`."""
    return state_dir / "targets"


def write_target(state_dir: Path, worker: str, address: str) -> None:
    """Say where a worker is scraped. Readers see all of it or nothing."""
    targets = msgspec.json.encode([{"targets": [address], "labels": {"worker": worker}}])
    write_whole(targets_dir(state_dir) / f"{worker}.json", targets + b"\n")


def remove_target(state_dir: Path, worker: str) -> None:
    """The worker ended in good order."""
    (targets_dir(state_dir) / f"{worker}.json").unlink(missing_ok=True)
