"""Looks whether a system's capture can go on: its slot, its log and how far the connector has read."""

from __future__ import annotations

from trueup.adapters.kafka_connect import KafkaConnect
from trueup.adapters.postgres_source import PostgresSource
from trueup.core.capture_health import capture_problem, captured_position
from trueup.core.connector_config import connector_name
from trueup.model.errors import Stop
from trueup.model.source_table import CapturePlace


def place_of_capture(system: str, source: PostgresSource, connect: KafkaConnect) -> CapturePlace:
    """Where capture stands. Raises Unreachable, Refused."""
    name = connector_name(system)
    slot = source.slot(name)  # before the offsets: see capture_problem
    captured = captured_position(connect.offsets(name))
    return CapturePlace(slot=slot, log_end=source.log_end(), captured=captured)


def look_at_capture(system: str, source: PostgresSource, connect: KafkaConnect) -> Stop | None:
    """Why capture may not go on without a new epoch. Raises Unreachable, Refused."""
    place = place_of_capture(system, source, connect)
    return capture_problem(system, place.slot, place.log_end, place.captured)
