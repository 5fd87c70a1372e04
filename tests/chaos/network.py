"""Cables: TCP connections between two parts of the rig that can be cut, silenced and healed.

One thread runs all cables of a rig. A silent cable loses nothing: what was sent waits, as packets do that are sent
again; a cut one breaks the connections it carries and refuses others.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import threading

LOOPBACK = "127.0.0.1"
_CHUNK_BYTES = 1 << 16
_READY_WITHIN_S = 10.0


class Condition(enum.Enum):
    """What a cable does with what is sent over it."""

    SOUND = "sound"
    CUT = "cut"
    SILENT = "silent"


class Cable:
    """Listens on a port of its own and carries to another.

    :param name: as people say it: "workers to broker".
    """

    def __init__(self, name: str, port: int, to_port: int) -> None:
        self.name, self.port, self.to_port = name, port, to_port
        self.condition = Condition.SOUND
        self.connections = 0
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._carry, LOOPBACK, self.port)

    def become(self, condition: Condition) -> None:
        """Called in the thread of the cables."""
        self.condition = condition
        if condition is Condition.SOUND:
            self._flows.set()
        else:
            self._flows.clear()
        if condition is Condition.CUT:
            for writer in self._writers:
                writer.transport.abort()

    async def _carry(self, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter) -> None:
        """One connection, until one end leaves."""
        self.connections += 1
        self._writers.add(near_writer)
        try:
            if self.condition is Condition.CUT:
                near_writer.transport.abort()
                return
            await self._flows.wait()
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, self.to_port)
            self._writers.add(far_writer)
            try:
                there = asyncio.create_task(self._pump(near_reader, far_writer))
                back = asyncio.create_task(self._pump(far_reader, near_writer))
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                for task in (there, back):
                    task.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
            finally:
                self._writers.discard(far_writer)
                far_writer.close()
        except OSError:
            pass  # the far end is down: so is this connection
        finally:
            self._writers.discard(near_writer)
            near_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()


class Network:
    """The cables of a rig and the thread they run in."""

    def __init__(self, cables: list[Cable]) -> None:
        self._cables = {cable.name: cable for cable in cables}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="cables", daemon=True)
        self._ready = threading.Event()

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(_READY_WITHIN_S), "the cables do not listen"

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_READY_WITHIN_S)

    def cut(self, name: str) -> None:
        self._become(name, Condition.CUT)

    def silence(self, name: str) -> None:
        self._become(name, Condition.SILENT)

    def heal(self, name: str) -> None:
        self._become(name, Condition.SOUND)

    def connections(self, name: str) -> int:
        """How many a cable carried so far: it is of no use to cut one that nobody uses."""
        return self._cables[name].connections

    def _become(self, name: str, condition: Condition) -> None:
        done = threading.Event()

        def change() -> None:
            self._cables[name].become(condition)
            done.set()

        self._loop.call_soon_threadsafe(change)
        assert done.wait(_READY_WITHIN_S), f"{name} does not become {condition.value}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        servers = [self._loop.run_until_complete(cable.listen()) for cable in self._cables.values()]
        self._loop.call_soon(self._ready.set)
        self._loop.run_forever()
        self._loop.run_until_complete(self._leave(servers))
        self._loop.close()

    async def _leave(self, servers: list[asyncio.Server]) -> None:
        for server in servers:
            server.close()
        for cable in self._cables.values():
            cable.become(Condition.CUT)
        carrying = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
