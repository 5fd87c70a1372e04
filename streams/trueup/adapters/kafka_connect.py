"""Kafka Connect's REST API: connectors' settings and states.

What the settings are is `core.connector_config`; what runs inside is Debezium.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import msgspec

from trueup.adapters.http_answer import message_of
from trueup.model.errors import Refused, Unreachable

PART: Final = "connect"
_TIMEOUT_S: Final = 20.0  # a PUT validates first, and logs in at the source for it
_PAUSE_S: Final = 0.3
_BUSY_DEADLINE_S: Final = 20.0
_STALE_STATUS_S: Final = 10.0
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409  # the workers are just sharing out connectors
_SERVER_ERROR: Final = 500
_TRACE_LINES: Final = 3


class ConnectorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a connector is.

    :param tasks: the states of its tasks: RUNNING, FAILED, PAUSED, ...
    :param trace: the causes in a failed part's trace, the outermost first.
    """

    connector: str
    tasks: tuple[str, ...]
    trace: str | None = None

    @property
    def running(self) -> bool:
        return self.connector == "RUNNING" and bool(self.tasks) and set(self.tasks) == {"RUNNING"}

    @property
    def failed(self) -> bool:
        return "FAILED" in {self.connector, *self.tasks}


class KafkaConnect:
    """One Connect cluster."""

    def __init__(self, url: str, *, timeout_s: float = _TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(base_url=self.url, timeout=timeout_s, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def plugin_version(self, connector_class: str) -> str | None:
        """The version of an installed connector; None: Connect does not have it."""
        plugins = self._json("GET", "/connector-plugins")
        return next((str(p.get("version")) for p in plugins if p["class"] == connector_class), None)

    def config(self, name: str) -> dict[str, str] | None:
        """A connector's settings as they were put, references unresolved; None: there is none."""
        answer = self._request("GET", f"/connectors/{name}/config")
        if answer.status_code == _NOT_FOUND:
            return None
        data: dict[str, str] = _data(answer)
        return {key: value for key, value in data.items() if key != "name"}

    def put_config(self, name: str, config: Mapping[str, str]) -> None:
        """Create the connector or change its settings, which restarts its task."""
        _data(self._request("PUT", f"/connectors/{name}/config", dict(config)))

    def status(self, name: str) -> ConnectorStatus | None:
        """How a connector is; None: there is none, or Connect has not begun with it."""
        answer = self._request("GET", f"/connectors/{name}/status")
        if answer.status_code == _NOT_FOUND:
            return None
        data = _data(answer)
        parts = [data["connector"], *data["tasks"]]
        trace = next((part["trace"] for part in parts if part.get("trace")), None)
        return ConnectorStatus(
            connector=data["connector"]["state"],
            tasks=tuple(task["state"] for task in data["tasks"]),
            trace=None if trace is None else causes(trace),
        )

    def restart_failed(self, name: str) -> None:
        """Restart what failed of a connector."""
        _data(self._request("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true"))

    def create_stopped(self, name: str, config: Mapping[str, str]) -> None:
        """Create a connector that does not run yet."""
        body = {"name": name, "config": dict(config), "initial_state": "STOPPED"}
        _data(self._request("POST", "/connectors", body))

    def stop(self, name: str, deadline_s: float) -> None:
        """Stop a connector and wait until its task is gone; its settings and offsets remain. Raises Refused."""
        _data(self._request("PUT", f"/connectors/{name}/stop"))
        end = time.monotonic() + deadline_s
        while (status := self.status(name)) is None or status.connector != "STOPPED" or status.tasks:
            if time.monotonic() > end:
                raise Refused(
                    f'connector "{name}" does not stop within {deadline_s:.0f} s',
                    detail=f"state: {status}",
                    hint="see Connect's log, then run the command again",
                )
            time.sleep(_PAUSE_S)

    def resume(self, name: str) -> None:
        """Let a stopped connector run."""
        _data(self._request("PUT", f"/connectors/{name}/resume"))

    def offsets(self, name: str) -> list[dict[str, Any]]:
        """How far a connector has read, in its own words; empty before its first commit and when there is none."""
        answer = self._request("GET", f"/connectors/{name}/offsets")
        if answer.status_code == _NOT_FOUND:
            return []
        return [entry["offset"] for entry in _data(answer)["offsets"] if entry.get("offset")]

    def forget_offsets(self, name: str) -> None:
        """Let a stopped connector begin anew, with a snapshot."""
        _data(self._request("DELETE", f"/connectors/{name}/offsets"))

    def delete(self, name: str) -> None:
        """Remove a connector; what it has read remains. Nothing when there is none."""
        answer = self._request("DELETE", f"/connectors/{name}")
        if answer.status_code != _NOT_FOUND:
            _data(answer)

    def wait_running(
        self,
        name: str,
        deadline_s: float,
        on_state: Callable[[str], None] | None = None,
        *,
        before: ConnectorStatus | None = None,
    ) -> None:
        """Wait until the connector and its task run.

        :param before: the status before settings were put or a restart was asked for. A failure that looks the same
            is taken for the old one at first: Connect answers before it obeys.
        :raises Refused: it failed, with the causes; or it does not run in time.
        """
        began = time.monotonic()
        while True:
            status = self.status(name)
            waited_s = time.monotonic() - began
            if status is not None and status.running:
                return
            stale = status == before and waited_s < _STALE_STATUS_S
            if status is not None and status.failed and not stale:
                raise Refused(
                    f'connector "{name}" failed',
                    detail=status.trace,
                    hint="remove the cause, then run trueup apply again: it restarts the connector",
                )
            seen = "unknown" if status is None else f"{status.connector}, tasks {', '.join(status.tasks) or 'none yet'}"
            if waited_s > deadline_s:
                raise Refused(
                    f'connector "{name}" does not run after {deadline_s:.0f} s',
                    detail=f"state: {seen}",
                    hint="see Connect's log, then run trueup apply again",
                )
            if on_state is not None:
                on_state(seen)
            time.sleep(_PAUSE_S)

    def _json(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return _data(self._request(method, path, body))

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        end = time.monotonic() + _BUSY_DEADLINE_S
        while True:
            try:
                answer = self._http.request(method, path, json=body)
            except httpx.HTTPError as exc:
                raise Unreachable(PART, detail=f"{self.url}: {type(exc).__name__}: {exc}") from exc
            if answer.status_code == _CONFLICT and time.monotonic() < end:
                time.sleep(_PAUSE_S)
                continue
            if answer.status_code >= _SERVER_ERROR and path == "/connector-plugins":
                raise Unreachable(PART, detail=f"{self.url} answers {answer.status_code}")
            return answer


def causes(trace: str) -> str:
    """The exception lines of a Java trace, without frames; at most three."""
    lines = [line.strip() for line in trace.splitlines() if line and not line.startswith(("\t", " "))]
    return "; ".join(lines[:_TRACE_LINES])[:1000]


def _data(answer: httpx.Response) -> Any:
    if answer.is_success:
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as exc:
            raise Refused(
                f'"{answer.request.url.host}:{answer.request.url.port}" is no Kafka Connect',
                detail=f"{answer.request.url.path} answers something else than JSON",
                hint="correct connect.url in trueup.toml, or TRUEUP_CONNECT_URL",
            ) from exc
    raise Refused(
        f'"{PART}" refuses {answer.request.method} {answer.request.url.path}',
        detail=f"status {answer.status_code}: {message_of(answer)}",
        hint='correct what Connect names; see "What Kafka and Connect must allow" in infra/README.md',
    )
