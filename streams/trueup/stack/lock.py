"""Writes the lock files of the Java bundles: `python -m trueup.stack.lock`. For developers, in a checkout.

Each `infra/local/*/jgo.toml` is resolved and each file that follows is hashed into `jgo.lock.toml` beside it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from jgo.env import EnvironmentSpec, LockFile
from jgo.env._lockfile import compute_spec_hash
from jgo.maven import Dependency, MavenContext
from jgo.parse import Coordinate

from trueup.stack.artifacts import BUNDLES, LOCK_FILES
from trueup.stack.data_files import data_path


def lock(folder: Path, context: MavenContext) -> int:
    """Write the lock file of one bundle. Return the number of its files."""
    spec_path = folder / "jgo.toml"
    spec = EnvironmentSpec.load(spec_path)
    exclusions = [context.project(*exclusion.split(":")) for exclusion in spec.exclusions]
    wanted = []
    for text in spec.coordinates:
        dependency = context.create_dependency(Coordinate.parse(text), exclusions)
        dependency.raw = True  # as the POMs say; jgo would let the first one manage the versions of all
        wanted.append(dependency)
    dependencies = _without_excluded(context, wanted, spec.exclusions)
    lock_file = LockFile.from_resolved_dependencies(
        dependencies, environment_name=spec.name, spec_hash=compute_spec_hash(spec_path)
    )
    lock_file.dependencies.sort(key=lambda locked: (locked.groupId, locked.artifactId))
    lock_file.save(folder / "jgo.lock.toml")
    return len(dependencies)


def _without_excluded(context: MavenContext, wanted: list[Dependency], exclusions: list[str]) -> list[Dependency]:
    """Resolve, and leave out what is excluded; an archive is complete in itself."""
    if all(dependency.type == "tar.gz" for dependency in wanted):
        return wanted
    inputs, transitive = context.resolver.resolve(wanted)
    return [d for d in [*inputs, *transitive] if f"{d.groupId}:{d.artifactId}" not in exclusions]


def main() -> int:
    """Lock every bundle."""
    with tempfile.TemporaryDirectory() as repository:
        context = MavenContext(repo_cache=Path(repository), local_repos=[])
        for name in BUNDLES:
            count = lock(data_path(f"{LOCK_FILES}/{name}"), context)
            sys.stdout.write(f"{name}: {count} files locked\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
