"""A cable carries, breaks, falls silent and heals, as the chaos tests say it does."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.network import LOOPBACK, Cable, Network


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def network() -> Iterator[tuple[Network, int]]:
    """A cable to somebody who echoes."""
    with socket.create_server((LOOPBACK, 0)) as server:

        def echo() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=[connection], daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(1024):
                    connection.sendall(data)

        threading.Thread(target=echo, daemon=True).start()
        cable = Cable("test", free_port(), server.getsockname()[1])
        running = Network([cable])
        running.start()
        yield running, cable.port
        running.stop()


def connected(port: int) -> socket.socket:
    return socket.create_connection((LOOPBACK, port), timeout=5)


def is_broken(client: socket.socket) -> bool:
    try:
        client.sendall(b"x")
        return client.recv(1) == b""
    except ConnectionError:
        return True


def test_it_carries_both_ways(network: tuple[Network, int]) -> None:
    running, port = network
    with connected(port) as client:
        client.sendall(b"there and back")
        assert client.recv(100) == b"there and back"
    assert running.connections("test") == 1


def test_a_cut_one_breaks_what_it_carries_and_refuses_others_until_it_is_healed(
    network: tuple[Network, int],
) -> None:
    running, port = network
    with connected(port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        running.cut("test")
        assert is_broken(client)
    with connected(port) as client:
        assert is_broken(client)
    running.heal("test")
    with connected(port) as client:
        client.sendall(b"y")
        assert client.recv(1) == b"y"


def test_a_silent_one_keeps_what_was_sent_until_it_is_healed(network: tuple[Network, int]) -> None:
    running, port = network
    with connected(port) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        running.silence("test")
        client.sendall(b"late")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(10)
        running.heal("test")
        client.settimeout(5)
        assert client.recv(10) == b"late"
