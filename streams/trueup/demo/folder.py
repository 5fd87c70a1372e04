"""Where the demo lives: a state folder, a stack and a project of its own; nobody's stack is touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from trueup.adapters.promtool import find_alertmanager
from trueup.adapters.scrape_targets import targets_dir
from trueup.stack.credentials import environment_lines
from trueup.stack.data_files import data_path
from trueup.stack.settings import PORTS_PER_STACK, Observability, StackSettings

_REGISTRATIONS = ("schemas", "connectors")


class DemoFolder:
    """Paths, addresses and environment of one demo. Touches no file before it is asked to."""

    def __init__(self, state_dir: Path, port_base: int, *, observe: bool = False) -> None:
        self.state_dir = state_dir.resolve()
        self.project_dir = self.state_dir / "project"
        self.log_dir = self.state_dir / "logs"
        stack_dir = self.state_dir / "stack"
        self.observed = (
            Observability(
                targets_dir=targets_dir(self.state_dir),
                rules_file=stack_dir / "prometheus" / "rules.yml",
                alertmanager=find_alertmanager(),
            )
            if observe
            else None
        )
        self.stack = StackSettings(state_dir=stack_dir, port_base=port_base, observability=self.observed)
        self.metrics_port_base = port_base + PORTS_PER_STACK

    def write_project(self) -> None:
        """Make the demo's project folder."""
        self.copy_project(self.project_dir)
        self.log_dir.mkdir(parents=True, exist_ok=True)

    def copy_project(self, target: Path) -> None:
        """Copy the registrations that come with TrueUp, and point them at the demo's own stack."""
        for name in _REGISTRATIONS:
            shutil.rmtree(target / name, ignore_errors=True)
            shutil.copytree(data_path(name), target / name)
        (target / "trueup.toml").write_text(self._settings_text(), encoding="utf-8")

    def environment(self) -> dict[str, str]:
        """Return what TrueUp's commands are run with. Valid once the stack has been up."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("TRUEUP_")}
        kept = {"TRUEUP_CACHE_DIR": str(self.stack.cache_dir)}
        own = {"TRUEUP_STATE_DIR": str(self.state_dir), "TRUEUP_STACK_PORT_BASE": str(self.stack.port_base)}
        return inherited | kept | own | environment_lines(self.stack)

    def dsn(self, database: str) -> str:
        """Return the address of a database, as its owner."""
        return environment_lines(self.stack)[f"{database.upper()}_DSN"]

    def _settings_text(self) -> str:
        """Return trueup.toml. With it a person can go on by hand: the state folder leads to `stack.env`."""
        return f"""\
# Written by trueup demo.
state_dir = "{self.state_dir}"
stack_port_base = {self.stack.port_base}

[worker]
metrics_port_base = {self.metrics_port_base}
"""
