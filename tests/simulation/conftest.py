"""Silence while simulations run, and only then: other tests look at what is logged."""

from collections.abc import Iterator

import pytest
import structlog

from tests.simulation import campaign


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> Iterator[None]:
    former = structlog.get_config()
    campaign.silence()
    yield
    structlog.configure(**former)
