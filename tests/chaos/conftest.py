"""Faults chosen and put in order, one rig at a time for all of them, and a report of each at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.drain import first_filling_is_complete
from tests.chaos.faults import FAULTS
from tests.chaos.findings import Anomaly, Report
from tests.chaos.rig import Rig

REPORTS = pytest.StashKey[list[Report]]()
NEW_REPLICA = "new-replica"
"""Chosen like a fault, and done when nothing is chosen."""

Book = Callable[[Report], None]


class Rigs:
    """The rig that runs. Another number of brokers is another rig; both at once would be too much for the machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rig: Rig | None = None
        self._made = 0

    def of(self, brokers: int) -> Rig:
        if self._rig is None or self._rig.brokers != brokers:
            self.stop()
            self._made += 1
            rig = Rig(self._folder / f"rig{self._made}", brokers)
            try:
                rig.start()
                first_filling_is_complete(rig)
            except BaseException:
                rig.stop()
                raise
            self._rig = rig
        return self._rig

    def keep(self, report: Report) -> None:
        """A rig that got stuck is given up: the next fault gets a fresh one, and is not blamed for it."""
        if any(finding.anomaly is Anomaly.STUCK for finding in report.findings):
            self.stop()

    def stop(self) -> None:
        """And throw away; its logs stay."""
        rig, self._rig = self._rig, None
        if rig is not None:
            rig.stop()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORTS] = []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Scenarios share a rig and build on each other, so they stay in the order of FAULTS, round by round.

    The new replica comes after the faults of its rig, those of other rigs come last. Other tests stay in place.
    """
    if not _is_chosen(config, NEW_REPLICA):
        config.hook.pytest_deselected(items=[item for item in items if item.name == "test_new_replica"])
        items[:] = [item for item in items if item.name != "test_new_replica"]
    places = [place for place, item in enumerate(items) if item.get_closest_marker("chaos")]
    ordered = sorted((items[place] for place in places), key=_turn)
    for place, item in zip(places, ordered, strict=True):
        items[place] = item


def _turn(item: pytest.Item) -> tuple[int, ...]:
    parameters = getattr(getattr(item, "callspec", None), "params", None)
    if parameters is None:
        return (1, 1)
    fault, number = parameters["fault"], parameters["round_number"]
    return (FAULTS[fault].brokers, 0, number, list(FAULTS).index(fault))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every chosen fault, in every round. F-06 stands for F-06-decide and F-06-apply."""
    if not {"fault", "round_number"} <= set(metafunc.fixturenames):
        return
    unknown = [name for name in _wanted(metafunc.config) if not any(_is_meant(f, name) for f in [*FAULTS, NEW_REPLICA])]
    if unknown:
        known = ", ".join([*FAULTS, NEW_REPLICA])
        raise pytest.UsageError(f"there is no fault {', '.join(unknown)}; faults are {known}")
    chosen = [fault for fault in FAULTS if _is_chosen(metafunc.config, fault)]
    rounds = range(1, metafunc.config.getoption("rounds") + 1)
    pairs = [(fault, number) for number in rounds for fault in chosen]
    metafunc.parametrize(("fault", "round_number"), pairs, ids=[f"{fault}-{number}" for fault, number in pairs])


def _wanted(config: pytest.Config) -> list[str]:
    return [name for name in config.getoption("faults").split(",") if name]


def _is_chosen(config: pytest.Config, fault: str) -> bool:
    wanted = _wanted(config)
    return not wanted or any(_is_meant(fault, name) for name in wanted)


def _is_meant(fault: str, name: str) -> bool:
    return fault == name or fault.startswith(f"{name}-")


@pytest.fixture(scope="session")
def rigs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rigs]:
    running = Rigs(tmp_path_factory.mktemp("chaos"))
    try:
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
    if reporter is None or not any(reporter.stats.get(word) for word in ("passed", "failed", "error", "skipped")):
        return
    if not config.stash[REPORTS]:
        return
    count = {word: len(reporter.stats.get(word, [])) for word in ("passed", "failed", "error", "skipped")}
    skipped = f", {count['skipped']} skipped" if count["skipped"] else ""
    reporter.write_line(f"{count['passed']} passed, {count['failed'] + count['error']} failed{skipped}")
