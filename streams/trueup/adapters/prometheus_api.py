"""Prometheus' HTTP API: what it scrapes, and what a query gives."""

from __future__ import annotations

import math
from typing import Any, Final

import httpx

from trueup.model.errors import Refused, Unreachable

PART: Final = "prometheus"
_TIMEOUT_S: Final = 30.0


class Prometheus:
    """One Prometheus server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url.rstrip("/"), timeout=_TIMEOUT_S, trust_env=False)

    def close(self) -> None:
        self._http.close()

    def reload(self) -> None:
        """Have it read configuration and rules again. Raises Refused when it finds them wrong."""
        answer = self._request("POST", "/-/reload")
        if not answer.is_success:
            raise Refused("Prometheus refused its configuration", detail=answer.text.strip(), hint="see its log")

    def health_of_workers(self) -> dict[str, str]:
        """Health ("up", "down", "unknown") by worker, of every target that is a worker."""
        targets = self._data("/api/v1/targets", {"state": "active"})["activeTargets"]
        return {target["labels"]["worker"]: target["health"] for target in targets if "worker" in target["labels"]}

    def values(self, query: str) -> list[float]:
        """The present value of every series a query gives. Raises Refused for a query that is none."""
        data = self._data("/api/v1/query", {"query": query})
        return [float(series["value"][1]) for series in data["result"]]

    def finite(self, query: str) -> int:
        """How many series of a query have a finite value now."""
        return sum(math.isfinite(value) for value in self.values(query))

    def rules(self) -> list[dict[str, Any]]:
        """Every rule as Prometheus has it, with `health` and `lastError`."""
        groups: list[dict[str, Any]] = self._data("/api/v1/rules", {})["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def alerts(self, *states: str) -> list[dict[str, str]]:
        """The labels of every alert that is "pending" or "firing" now, or in these states only."""
        active: list[dict[str, Any]] = self._data("/api/v1/alerts", {})["alerts"]
        return [alert["labels"] for alert in active if not states or alert["state"] in states]

    def _data(self, path: str, parameters: dict[str, str]) -> Any:
        answer = self._request("GET", path, parameters)
        body = answer.json()
        if body.get("status") != "success":
            raise Refused("Prometheus refused a query", detail=f"{parameters}: {body.get('error')}", hint="mend it")
        return body["data"]

    def _request(self, method: str, path: str, parameters: dict[str, str] | None = None) -> httpx.Response:
        try:
            return self._http.request(method, path, params=parameters)
        except httpx.HTTPError as exc:
            detail = f"{self._http.base_url}: {type(exc).__name__}: {exc}"
            raise Unreachable(PART, detail=detail) from exc
