"""One whole pipeline for the session: stack, sources, registrations applied, workers; torn down at the end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Starting
from tests.pipeline import PORT_BASE, Pipeline
from trueup.demo.folder import DemoFolder
from trueup.model.settings import Settings
from trueup.runtime.cli_project import open_settings


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory, starting: Starting) -> Iterator[Pipeline]:
    state_dir: Path = tmp_path_factory.mktemp("pipeline")
    running = Pipeline(DemoFolder(state_dir, PORT_BASE))
    try:
        with starting("the local stack"):
            running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def stack_settings(pipeline: Pipeline) -> Settings:
    """Settings of the running stack, for tests that make systems of their own there."""
    return open_settings(pipeline.folder.project_dir)


@pytest.fixture(scope="session")
def broker(pipeline: Pipeline) -> str:
    """Bootstrap servers of the running stack, for tests that make topics of their own there."""
    return pipeline.bootstrap
