"""`make wheel-check`: the wheel alone, in an empty environment outside the checkout, does the main job.

Nothing of the checkout is at hand: another folder, another interpreter, no PYTHONPATH. What the commands read beside
their code (lock files of jars, the connector's template, schemas) must come from the wheel.
"""

import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

from tests.rules.checkout import ROOT
from tests.waiting import eventually
from trueup.adapters.stack_environment import stack_environment

PORT_BASE = int(os.environ.get("TRUEUP_TEST_PORT_BASE", "26400")) + 200
ROWS = 500
FILES = {
    "trueup.toml": f"stack_port_base = {PORT_BASE}\n[worker]\nmetrics_port_base = {PORT_BASE + 40}\n",
    "connectors/systems/shop.yaml": (
        "system: shop\nkind: postgresql\ndsn: ${env:SHOP_DSN}\ncapture_dsn: ${env:SHOP_CAPTURE_DSN}\n"
    ),
    "connectors/replicas/reporting.yaml": (
        "replica: reporting\nkind: postgresql\ndsn: ${env:REPORTING_WRITER_DSN}\nddl_dsn: ${env:REPORTING_DSN}\n"
    ),
    "schemas/tables/parcels.yaml": (
        "table: parcels\nowner: {system: shop}\nsource: {table: public.parcels}\nkey: [id]\n"
        "replicas:\n  - {replica: reporting}\n"
    ),
}

pytestmark = [pytest.mark.soak, pytest.mark.integration, pytest.mark.timeout(900)]


def run(*argv: str | Path, cwd: Path, timeout_s: float = 300) -> str:
    """Output of a program that must succeed. It inherits nothing that could lead it back to the checkout."""
    ended = subprocess.run(
        [str(part) for part in argv],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert ended.returncode == 0, f"{argv}: {ended.returncode}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}"
    return ended.stdout


def environment() -> dict[str, str]:
    hidden = ("TRUEUP_", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    bin_dir = str(Path(sys.executable).parent)
    return kept | {"PATH": os.pathsep.join(p for p in kept["PATH"].split(os.pathsep) if p != bin_dir)}


@pytest.fixture(scope="module")
def trueup_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command `trueup` of an environment that has the wheel and its locked dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    subprocess.run([str(part) for part in build], check=True, capture_output=True)
    (wheel,) = folder.glob("trueup-*.whl")
    lock = shutil.copy(ROOT / "requirements.lock", folder)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "-r", lock, cwd=folder, timeout_s=600)
    run(*pip, "--no-deps", "--no-index", wheel, cwd=folder)
    place = run(python, "-c", "import trueup; print(trueup.__file__)", cwd=folder).strip()
    assert Path(place).is_relative_to(folder), "it would test the checkout"
    return folder / "venv" / "bin" / "trueup"


@pytest.fixture
def project(tmp_path: Path, trueup_program: Path) -> Iterator[Path]:
    """A new project folder; its stack is purged at the end, whatever happened."""
    folder = tmp_path / "project"
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    yield folder
    run(trueup_program, "stack", "down", "--purge", cwd=folder)
    assert not (folder / "var" / "stack").exists()


def test_the_wheel_does_the_main_job_in_a_new_folder(trueup_program: Path, project: Path) -> None:
    run(trueup_program, "stack", "up", cwd=project, timeout_s=600)
    dsns = stack_environment(project / "var")
    with psycopg.connect(dsns["SHOP_DSN"], autocommit=True) as shop:
        shop.execute("CREATE TABLE parcels (id int PRIMARY KEY, weight numeric(8,3), note text)")
        shop.execute(b"INSERT INTO parcels SELECT n, n / 7.0, 'first' FROM generate_series(1, %d) n" % ROWS)
    run(trueup_program, "schemas", cwd=project)
    run(trueup_program, "apply", cwd=project)
    assert (project / "schemas" / "avro" / "parcels.avsc").exists()

    with (project / "workers.log").open("w") as log:
        workers = subprocess.Popen([trueup_program, "worker", "all"], cwd=project, env=environment(), stderr=log)
    try:
        with (
            psycopg.connect(dsns["REPORTING_DSN"], autocommit=True) as reporting,
            psycopg.connect(dsns["SHOP_DSN"], autocommit=True) as shop,
        ):

            def equal() -> bool:
                query = "SELECT id, weight, note FROM parcels ORDER BY id"
                there, here = reporting.execute(query).fetchall(), shop.execute(query).fetchall()
                assert there == here, f"{len(there)} of {len(here)} rows"
                return True

            eventually(equal, within_s=120, what="the existing rows are in the replica")
            shop.execute("UPDATE parcels SET note = 'second' WHERE id % 3 = 0")
            shop.execute("DELETE FROM parcels WHERE id % 10 = 0")
            eventually(equal, within_s=60, what="the changes are in the replica")

        def nothing_is_wrong() -> bool:
            seen = msgspec.json.decode(run(trueup_program, "status", "--json", cwd=project))
            assert seen["problems"] == []
            (copy,) = seen["tables"]
            assert (copy["table"], copy["replica"], copy["lag"]) == ("parcels", "reporting", 0)
            return True

        eventually(nothing_is_wrong, within_s=60, what="status finds nothing wrong")
        run(trueup_program, "verify", cwd=project)
    finally:
        workers.send_signal(signal.SIGTERM)
        code = workers.wait(40)
    assert code == 0, (project / "workers.log").read_text()[-4000:]
    assert not list((project / "var" / "workers").glob("*.json")), "a worker was not ended in good order"
    run(trueup_program, "stack", "down", cwd=project)
