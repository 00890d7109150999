import socket

import pytest

from tests.loopback_phone.fixtures import adb_server, binary, loopback_phone, make_device, make_phone

__all__ = ["adb_server", "binary", "loopback_phone", "make_device", "make_phone"]


@pytest.fixture
def unused_port() -> int:
    """A port of this host at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
