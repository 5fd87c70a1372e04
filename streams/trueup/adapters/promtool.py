"""promtool, which comes with Prometheus: checks rule files and runs their tests. And where such programs are found.

Debian and Ubuntu have them in the packages `prometheus` and `prometheus-alertmanager`. `make prometheus` unpacks the
first into the cache folder without installing it, so nobody has to be root; Debian's Alertmanager reads a template at
a fixed place below /usr/share, so that one works only installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from trueup.model.errors import Refused

_TIMEOUT_S: Final = 600.0  # the tests of a hundred tables take minutes on a busy machine
UNPACKED: Final = Path("prometheus") / "usr" / "bin"  # below the cache folder


def find_program(name: str, *, cache_dir: Path) -> Path | None:
    """A program of the package `prometheus`: on the PATH, else among what `make prometheus` unpacked."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), str(cache_dir / UNPACKED)))
    found = shutil.which(name, path=path)
    return None if found is None else Path(found)


def program(name: str, *, cache_dir: Path) -> Path:
    """As `find_program`. Raises Refused, saying how to get it."""
    found = find_program(name, cache_dir=cache_dir)
    if found is None:
        raise Refused(
            f'"{name}" is not installed',
            detail=f"looked for it on the PATH and in {cache_dir / UNPACKED}",
            hint="install the package prometheus (Debian, Ubuntu); without root, in a checkout: make prometheus",
        )
    return found


def find_alertmanager() -> Path | None:
    """Alertmanager under Debian's name or its own, on the PATH."""
    found = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    return None if found is None else Path(found)


class Promtool:
    """promtool at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check_rules(self, rules: Path) -> str | None:
        """What is wrong with a rule file, lint included; None: nothing."""
        return self._run("check", "rules", "--lint-fatal", str(rules))

    def check_config(self, config: Path) -> str | None:
        """What is wrong with a configuration of Prometheus; None: nothing."""
        return self._run("check", "config", str(config))

    def test_rules(self, tests: Path) -> str | None:
        """What does not come about as a test file says; None: nothing."""
        return self._run("test", "rules", str(tests))

    def _run(self, *arguments: str) -> str | None:
        done = subprocess.run(
            [self._path, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        return None if done.returncode == 0 else (done.stdout + done.stderr).strip() or f"exit code {done.returncode}"
