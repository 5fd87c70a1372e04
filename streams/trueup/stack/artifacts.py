"""Java programs of the stack: fetched as their lock file says, checked by SHA-256, laid out as folders.

A bundle is a folder of `infra/local` with two files in jgo's own format: `jgo.toml` (what is wanted)
and `jgo.lock.toml` (every file that follows from it, with its hash). `lock` writes the second; this module
obeys it.
"""

from __future__ import annotations

import fcntl
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import requests
import tenacity
from jgo.env import LockFile
from jgo.env._lockfile import LockedDependency, compute_sha256
from jgo.maven import MavenContext, PythonResolver

from trueup.model.errors import Refused, Unreachable
from trueup.stack.data_files import data_path

BUNDLES = ("kafka", "avro-converter", "debezium-postgres", "apicurio-registry")
LOCK_FILES = "infra/local"

_DOWNLOADS_AT_ONCE = 8  # a hundred small files: the time is round trips, not bytes
_ATTEMPTS = 3  # for a connection that broke; a missing or changed file is not tried again
_TIMEOUT_S = 30

Meter = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows one download: file name and bytes in total; gives what is called with the bytes of each piece."""


class ArtifactRefused(Refused):
    """A downloaded file is not the one that was locked."""


def bundle_path(name: str, cache_dir: Path) -> Path:
    """Return the folder a bundle has once it is fetched. Another lock file means another folder."""
    return cache_dir / "bundles" / f"{name}-{compute_sha256(_lock_path(name))[:16]}"


def missing_bundles(cache_dir: Path) -> list[str]:
    """Return the bundles that are not laid out yet."""
    return [name for name in BUNDLES if not bundle_path(name, cache_dir).exists()]


def fetch_bundle(name: str, cache_dir: Path, *, maven_url: str | None = None, meter: Meter | None = None) -> Path:
    """Return the folder of a bundle, downloading and checking what is not there yet.

    Jars lie side by side; an archive is unpacked. A folder is complete or not there: it is built under
    another name.
    """
    target = bundle_path(name, cache_dir)
    if target.exists():
        return target
    cache_dir.mkdir(parents=True, exist_ok=True)
    with exclusive(cache_dir / "lock"):
        if target.exists():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        locked = LockFile.load(_lock_path(name)).dependencies
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix="incoming-") as incoming:
            context = MavenContext(
                resolver=PythonResolver(progress_callback=meter),
                repo_cache=Path(incoming) / "repository",
                local_repos=[],
                remote_repos=None if maven_url is None else {"mirror": maven_url},
                timeout=_TIMEOUT_S,
            )
            with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
                files = list(pool.map(lambda dependency: _download(context, dependency), locked))
            layout = Path(incoming) / "layout"
            layout.mkdir()
            for file in files:
                _lay_out(file, layout)
            layout.chmod(0o755)
            layout.replace(target)
    return target


@contextmanager
def exclusive(lock_file: Path) -> Iterator[None]:
    """Hold a lock that other programs of this user wait for; it ends with the process at the latest."""
    with lock_file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _lock_path(name: str) -> Path:
    """Return the lock file of a bundle."""
    return data_path(f"{LOCK_FILES}/{name}/jgo.lock.toml")


def _download(context: MavenContext, locked: LockedDependency) -> Path:
    """Fetch one file and compare its hash with the locked one."""
    coordinates = f"{locked.groupId}:{locked.artifactId}:{locked.version}"
    component = context.project(locked.groupId, locked.artifactId).at_version(locked.version)
    artifact = component.artifact(locked.classifier or "", locked.packaging)

    def attempt() -> Path:
        if artifact.cached_path is not None:
            artifact.cached_path.unlink(missing_ok=True)  # what an attempt before left half done
        return artifact.resolve()

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(requests.RequestException),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_exponential_jitter(multiplier=0.5, max=5),
        reraise=True,
    )
    try:
        path = retrying(attempt)
    except requests.RequestException as error:
        hint = "check the network; the download goes on where it was when the command is repeated"
        raise Unreachable("Maven repository", detail=f"{coordinates}: {error}", hint=hint) from error
    except RuntimeError as error:
        msg = f'artifact "{coordinates}" is not in the Maven repository'
        raise ArtifactRefused(msg, detail=str(error), hint="check the address of the mirror") from error
    found = compute_sha256(path)
    if found != locked.sha256:
        raise ArtifactRefused(
            f'artifact "{coordinates}" is not the file that was locked',
            detail=f"SHA-256 {found}, locked {locked.sha256}",
            hint="the repository or something on the way changed the file: do not use it; try another mirror",
        )
    return path


def _lay_out(file: Path, folder: Path) -> None:
    """Move a jar into the folder, or unpack an archive there."""
    if file.name.endswith(".tar.gz"):
        with tarfile.open(file) as archive:
            # Python before 3.11.4 (Debian 12) has no filters; there the locked hash alone vouches for the content.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            archive.extractall(folder)  # noqa: S202 - filtered by the line above
        return
    destination = folder / file.name
    if destination.exists():
        msg = f'artifact "{file.name}" is in a lock file twice'
        raise ArtifactRefused(msg, hint="write the lock files anew: python -m trueup.stack.lock")
    file.replace(destination)
