"""One rig for all scenarios of a run, in the order they are written; a report of each at the end."""

from collections.abc import Callable, Iterator

import pytest

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


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    running = Rig(tmp_path_factory.mktemp("chaos"))
    try:
        running.start()
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
