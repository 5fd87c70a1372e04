"""Target files of Prometheus' file discovery: each worker of a host writes its own, so that any number is found.

A worker that ends in good order takes its file away; the file of a killed one stays, and its target is down.
Format: a list of {"targets": ["host:port"], "labels": {...}}, read anew by Prometheus when it changes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec


def targets_dir(state_dir: Path) -> Path:
    """The folder that Prometheus is pointed at, with `*.json`."""
    return state_dir / "targets"


def write_target(state_dir: Path, worker: str, address: str) -> None:
    """Say where a worker is scraped. Readers see all of it or nothing."""
    folder = targets_dir(state_dir)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{worker}.new"
    partial.write_bytes(msgspec.json.encode([{"targets": [address], "labels": {"worker": worker}}]) + b"\n")
    partial.replace(folder / f"{worker}.json")


def remove_target(state_dir: Path, worker: str) -> None:
    """The worker ended in good order."""
    (targets_dir(state_dir) / f"{worker}.json").unlink(missing_ok=True)
