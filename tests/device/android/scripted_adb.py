"""An adb server that says what a test wants it to say. Where a real one can be brought to say it, tests use that."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    phones = ""
    refusal = ""
    greeting = b""


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        if self.server.greeting:
            self.wfile.write(self.server.greeting)
            return
        service = self.rfile.read(int(self.rfile.read(4), 16)).decode()
        word, text = (b"OKAY", self.server.phones) if service == "host:devices-l" else (b"FAIL", self.server.refusal)
        self.wfile.write(word + f"{len(text.encode()):04x}{text}".encode())


@contextmanager
def scripted_adb(phones: str = "", refusal: str = "", greeting: bytes = b"") -> Iterator[int]:
    """Serve on a port of this host.

    Args:
        phones: its list of phones, as ``adb devices -l`` has it.
        refusal: why it refuses everything else.
        greeting: all that it says, to whatever it is asked; then it is no adb server.

    Yields:
        The port.
    """
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.phones, server.refusal, server.greeting = phones, refusal, greeting
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
