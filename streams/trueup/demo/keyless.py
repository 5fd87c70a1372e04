"""A registration that must be refused: pgbench_history has no key to say which row a change is about."""

from __future__ import annotations

import shutil

from trueup.demo.checks import Checks
from trueup.demo.commands import Commands
from trueup.demo.folder import DemoFolder

TABLE = "pgbench_history"
_REFUSED = 2
_REGISTRATION = """\
table: pgbench_history
owner: {system: shop}
source: {table: public.pgbench_history}
key: [aid]
replicas:
  - {replica: reporting}
"""


def show_keyless_refusal(folder: DemoFolder, commands: Commands, checks: Checks) -> str:
    """Ask for it in a copy of the project, which is thrown away. Return what TrueUp answered."""
    project = folder.state_dir / "project_with_history"
    project.mkdir(exist_ok=True)
    try:
        folder.copy_project(project)
        (project / "schemas" / "tables" / f"{TABLE}.yaml").write_text(_REGISTRATION, encoding="utf-8")
        result = commands.run("apply", "--dry-run", project_dir=project)
    finally:
        shutil.rmtree(project)
    answer = result.stderr.strip()
    held = result.returncode == _REFUSED and TABLE in answer and "key" in answer
    checks.add("a table without a key is refused", held, f"{TABLE}: exit {result.returncode}, with the reason")
    return answer
