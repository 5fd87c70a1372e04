"""Soak tests use the same pipeline as the integration tests."""

from tests.integration.conftest import pipeline

__all__ = ["pipeline"]
