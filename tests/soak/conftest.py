"""Soak tests use the same pipeline as the integration tests, or one that Prometheus looks at."""

from collections.abc import Iterator

import pytest

from tests.conftest import Starting
from tests.integration.conftest import pipeline
from tests.pipeline import PORT_BASE, Pipeline
from trueup.adapters.prometheus_api import Prometheus
from trueup.adapters.promtool import find_program
from trueup.demo.folder import DemoFolder
from trueup.stack.prometheus import SCRAPE_S
from trueup.stack.settings import prometheus_port

__all__ = ["pipeline"]


@pytest.fixture(scope="session")
def observed(tmp_path_factory: pytest.TempPathFactory, starting: Starting) -> Iterator[tuple[Pipeline, Prometheus]]:
    folder = DemoFolder(tmp_path_factory.mktemp("observed"), PORT_BASE, observe=True)
    if find_program("prometheus", cache_dir=folder.stack.cache_dir) is None:
        pytest.fail("prometheus is not installed; make prometheus brings it")
    running, prometheus = Pipeline(folder), Prometheus(f"http://127.0.0.1:{prometheus_port(folder.stack)}")
    try:
        with starting("the local stack"):
            running.start()
        assert folder.observed is not None
        rules = ("--output", str(folder.observed.rules_file), "--scrape-interval", str(SCRAPE_S))
        written = running.trueup("alerts", *rules)
        assert written.returncode == 0, written.stderr
        prometheus.reload()
        yield running, prometheus
    finally:
        prometheus.close()
        running.stop()
