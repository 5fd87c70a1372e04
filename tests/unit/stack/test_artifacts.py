"""The lock files belong to their specifications, name a hash for every file, and are obeyed."""

import gc
import hashlib
import re
import tarfile
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from trueup.model.errors import Unreachable
from trueup.stack import artifacts
from trueup.stack.data_files import data_path

CONTENT = b"the right bytes"

# jgo leaves the response of a file that is not there to the garbage collector; `mirror` lets it be found here, and not
# in whichever test comes next.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def lock_of(bundle: str) -> dict[str, Any]:
    return tomllib.loads(data_path(f"infra/local/{bundle}/jgo.lock.toml").read_text())


@pytest.mark.parametrize("bundle", artifacts.BUNDLES)
def test_a_lock_file_belongs_to_its_specification(bundle: str) -> None:
    specification = data_path(f"infra/local/{bundle}/jgo.toml").read_bytes()
    wanted = hashlib.sha256(specification).hexdigest()
    assert wanted.startswith(lock_of(bundle)["metadata"]["spec_hash"]), "python -m trueup.stack.lock"


@pytest.mark.parametrize("bundle", artifacts.BUNDLES)
def test_every_locked_file_has_a_hash_and_a_name_of_its_own(bundle: str) -> None:
    dependencies = lock_of(bundle)["dependencies"]
    assert all(re.fullmatch("[0-9a-f]{64}", dependency["sha256"]) for dependency in dependencies)
    names = [(dependency["artifactId"], dependency["version"]) for dependency in dependencies]
    assert len(set(names)) == len(names)


def test_the_converter_brings_no_class_that_connect_gives() -> None:
    names = {dependency["artifactId"] for dependency in lock_of("avro-converter")["dependencies"]}
    assert not names & {"connect-api", "connect-json", "kafka-clients"}


def write_bundle(folder: Path, sha256: str) -> None:
    folder.mkdir()
    (folder / "jgo.lock.toml").write_text(
        '[metadata]\njgo_version = "2.0.0"\n[[dependencies]]\ngroupId = "org.example"\nartifactId = "thing"\n'
        f'version = "1.0"\npackaging = "jar"\nsha256 = "{sha256}"\n'
    )


class Repository(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path.endswith("/thing-1.0.jar")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(CONTENT) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Be silent."""


@pytest.fixture
def mirror() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Repository) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
    gc.collect()


@pytest.fixture
def bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(artifacts, "data_path", lambda relative: tmp_path / Path(relative).relative_to("infra"))
    (tmp_path / "local").mkdir()
    return tmp_path / "local"


def test_the_locked_file_is_laid_out_once(bundles: Path, mirror: str, tmp_path: Path) -> None:
    write_bundle(bundles / "thing", hashlib.sha256(CONTENT).hexdigest())
    folder = artifacts.fetch_bundle("thing", tmp_path / "cache", maven_url=mirror)
    assert (folder / "thing-1.0.jar").read_bytes() == CONTENT
    unreachable = "http://127.0.0.1:1"
    assert artifacts.fetch_bundle("thing", tmp_path / "cache", maven_url=unreachable) == folder
    assert [entry.name for entry in (tmp_path / "cache").glob("incoming-*")] == []


def test_a_changed_file_is_refused_by_name_and_leaves_nothing(bundles: Path, mirror: str, tmp_path: Path) -> None:
    write_bundle(bundles / "thing", hashlib.sha256(b"other bytes").hexdigest())
    with pytest.raises(artifacts.ArtifactRefused, match=r"org\.example:thing:1\.0"):
        artifacts.fetch_bundle("thing", tmp_path / "cache", maven_url=mirror)
    assert not artifacts.bundle_path("thing", tmp_path / "cache").exists()


def test_a_missing_file_is_refused_by_name(bundles: Path, mirror: str, tmp_path: Path) -> None:
    write_bundle(bundles / "thing", "0" * 64)
    lock = bundles / "thing" / "jgo.lock.toml"
    lock.write_text(lock.read_text().replace('"1.0"', '"2.0"'))
    with pytest.raises(artifacts.ArtifactRefused, match=r"org\.example:thing:2\.0"):
        artifacts.fetch_bundle("thing", tmp_path / "cache", maven_url=mirror)


def test_no_network_is_unreachable(bundles: Path, tmp_path: Path) -> None:
    write_bundle(bundles / "thing", "0" * 64)
    with pytest.raises(Unreachable, match="Maven"):
        artifacts.fetch_bundle("thing", tmp_path / "cache", maven_url="http://127.0.0.1:1")


@pytest.mark.parametrize("python_has_filters", [True, False])
def test_an_archive_is_unpacked_also_by_a_python_without_filters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, python_has_filters: bool
) -> None:
    """Debian 12 has Python 3.11.2; the filters came with 3.11.4."""
    if not python_has_filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    (tmp_path / "inner.jar").write_bytes(CONTENT)
    with tarfile.open(tmp_path / "thing.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "inner.jar", "lib/inner.jar")
    artifacts._lay_out(tmp_path / "thing.tar.gz", tmp_path / "layout")
    assert (tmp_path / "layout" / "lib" / "inner.jar").read_bytes() == CONTENT
