"""/metrics, /healthz and /readyz of a worker, on loopback. Health reveals nothing but ok or what waits for whom."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from trueup.model.errors import ConfigurationError


class HealthServer:
    """Serves until stopped.

    :param readiness: the reasons why the worker is not ready; empty means ready.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, readiness: Callable[[], list[str]]) -> None:
        self._host, self._port = host, port
        self._registry, self._readiness = registry, readiness
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port really listened on (a wanted port 0 is any free one)."""
        assert self._runner is not None
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        """Raises ConfigurationError when the port is taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as exc:
            await self._runner.cleanup()
            raise ConfigurationError(
                f'port "{self._port}" of the worker\'s metrics is taken',
                file="trueup.toml",
                field="worker.metrics_port_base",
                hint="another worker runs on this host: give this one a --name of its own and --metrics-port 0",
            ) from exc

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        reasons = self._readiness()
        return web.Response(text="\n".join(reasons or ["ok"]) + "\n", status=503 if reasons else 200)
