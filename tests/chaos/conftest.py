"""One rig for all scenarios of a run, in the order they are written; a report of each at the end."""

from collections.abc import Callable, Iterator

import pytest

from tests.chaos.drain import first_filling_is_complete
from tests.chaos.faults import FAULTS
from tests.chaos.findings import Report
from tests.chaos.rig import Rig

REPORTS = pytest.StashKey[list[Report]]()

Book = Callable[[Report], None]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORTS] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Scenarios share a rig and build on each other: the new replica comes after the kills. Others stay in place."""
    places = [place for place, item in enumerate(items) if item.get_closest_marker("chaos")]
    written = sorted((items[place] for place in places), key=lambda item: (item.location[0], item.location[1] or 0))
    for place, item in zip(places, written, strict=True):
        items[place] = item


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every chosen fault, in every round. F-06 stands for F-06-decide and F-06-apply."""
    if not {"fault", "round_number"} <= set(metafunc.fixturenames):
        return
    wanted = [name for name in metafunc.config.getoption("faults").split(",") if name]
    unknown = [name for name in wanted if not any(_is_meant(fault, name) for fault in FAULTS)]
    if unknown:
        raise pytest.UsageError(f"there is no fault {', '.join(unknown)}; faults are {', '.join(FAULTS)}")
    chosen = [fault for fault in FAULTS if not wanted or any(_is_meant(fault, name) for name in wanted)]
    rounds = range(1, metafunc.config.getoption("rounds") + 1)
    pairs = [(fault, number) for number in rounds for fault in chosen]
    metafunc.parametrize(("fault", "round_number"), pairs, ids=[f"{fault}-{number}" for fault, number in pairs])


def _is_meant(fault: str, name: str) -> bool:
    return fault == name or fault.startswith(f"{name}-")


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    running = Rig(tmp_path_factory.mktemp("chaos"))
    try:
        running.start()
        first_filling_is_complete(running)
        yield running
    finally:
        running.stop()


@pytest.fixture
def seed(pytestconfig: pytest.Config, request: pytest.FixtureRequest) -> str:
    """Of this scenario; the run's own number stands in the header and is repeated with `--randomly-seed=N`."""
    return f"{pytestconfig.getoption('randomly_seed')}/{request.node.name}"


@pytest.fixture
def book(pytestconfig: pytest.Config) -> Book:
    """Keeps a report for the end of the run, and fails the test for what was found."""

    def keep(report: Report) -> None:
        pytestconfig.stash[REPORTS].append(report)
        assert not report.findings, "\n" + "\n".join(report.lines())

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports = config.stash[REPORTS]
    if not reports:
        return
    terminalreporter.section(f"chaos, seed {config.getoption('randomly_seed')}")
    for report in reports:
        for line in report.lines():
            terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The last line of a run."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and config.stash[REPORTS]:
        passed, failed = len(reporter.stats.get("passed", [])), len(reporter.stats.get("failed", []))
        failed += len(reporter.stats.get("error", []))
        reporter.write_line(f"{passed} passed, {failed} failed")
