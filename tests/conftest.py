"""Options, order and counting for all tests; what a test needs comes from the conftest of its folder.

pytest-randomly prints the seed of the run in the header; `--randomly-seed=N` repeats it.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager

import hypothesis
import pytest

NEEDS_SERVERS = ("integration", "promtool")

# No deadline per example: it fails on a busy machine and proves nothing. pytest-timeout bounds the test.
hypothesis.settings.register_profile("trueup", max_examples=100, deadline=None, print_blob=True)
hypothesis.settings.load_profile("trueup")

Starting = Callable[[str], AbstractContextManager[None]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-servers",
        action="store_true",
        default=os.environ.get("CI", "").lower() == "true",
        help="a test whose servers do not start fails instead of being skipped (default where CI=true)",
    )
    parser.addoption("--faults", default="", help="tests/chaos: only these, such as F-01,F-06; default all")
    parser.addoption("--rounds", type=int, default=1, help="tests/chaos: how often each fault is done (default 1)")


def pytest_configure(config: pytest.Config) -> None:
    # `make` passes SIGTERM on; as an interrupt it lets fixtures stop the servers they started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests without servers first: a simple mistake does not wait for Kafka. Order within is random."""
    items.sort(key=needs_servers)


@pytest.fixture(scope="session")
def starting(pytestconfig: pytest.Config) -> Starting:
    """What a fixture wraps around the start of a server: a failure inside skips the test, naming the server.

    With --require-servers the failure is raised as it is. Use: `with starting("the local stack"): ...`
    """

    @contextmanager
    def attempt(what: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if pytestconfig.getoption("--require-servers"):
                raise
            pytest.skip(f"{what} did not start: {error}")

    return attempt


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With --require-servers a skipped test of servers is a failed one, whatever skipped it."""
    report = yield
    if report.skipped and needs_servers(item) and item.config.getoption("--require-servers"):
        reason = call.excinfo.value if call.excinfo is not None else "skipped"
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, and --require-servers does not allow it: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if any(marker in report.keywords for marker in NEEDS_SERVERS)
    ]
    if skipped:
        terminalreporter.write_line(
            f"{len(skipped)} tests did not run because what they need was not there; --require-servers makes them fail",
            yellow=True,
        )


def needs_servers(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(marker) is not None for marker in NEEDS_SERVERS)
