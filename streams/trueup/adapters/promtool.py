"""promtool, which comes with Prometheus: checks rule files and runs their tests. And where such programs are found.

Debian and Ubuntu have them in the packages `prometheus` and `prometheus-alertmanager`; `make prometheus` unpacks these
into the cache folder without installing anything, so nobody has to be root.
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


def find_program(*names: str, cache_dir: Path) -> Path | None:
    """A program by one of its names: on the PATH, else among what `make prometheus` unpacked."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), str(cache_dir / UNPACKED)))
    return next((Path(found) for name in names if (found := shutil.which(name, path=path)) is not None), None)


def program(*names: str, cache_dir: Path) -> Path:
    """As `find_program`. Raises Refused, saying how to get it."""
    found = find_program(*names, cache_dir=cache_dir)
    if found is None:
        raise Refused(
            f'"{names[0]}" is not installed',
            detail=f"looked for {' and '.join(names)} on the PATH and in {cache_dir / UNPACKED}",
            hint="in a checkout: make prometheus (no root; Debian, Ubuntu); "
            "else install the packages prometheus and prometheus-alertmanager, or put the programs on the PATH",
        )
    return found


class Promtool:
    """promtool at a path."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check_rules(self, rules: Path) -> str | None:
        """What is wrong with a rule file, lint included; None: nothing."""
        return self._run("check", "rules", "--lint-fatal", str(rules))

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
