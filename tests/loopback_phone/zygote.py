"""A warm process with LiteRT loaded, which forks for every start of benchmark_model.

``python -m tests.loopback_phone.zygote SOCKET`` serves until its standard input ends, so it does not outlive its phone.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.loopback_phone.benchmark_program import run_program


def main() -> None:
    """Serve one phone."""
    path = Path(sys.argv[1])
    children: dict[int, socket.socket] = {}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(16)
        print("ready", flush=True)
        awake_read, awake_write = os.pipe()
        signal.signal(signal.SIGCHLD, lambda *_: os.write(awake_write, b"x"))
        while True:
            ready, _, _ = select.select([server.fileno(), 0, awake_read], [], [])
            if 0 in ready and not os.read(0, 1):
                break
            if awake_read in ready:
                os.read(awake_read, 4096)
                _report_ends(children)
            if server.fileno() in ready:
                _start(server, children)
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _start(server: socket.socket, children: dict[int, socket.socket]) -> None:
    client, _ = server.accept()
    line, outputs = _receive(client)
    request: dict[str, Any] = json.loads(line)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        server.close()
        os.dup2(outputs[0], 1)
        os.dup2(outputs[1], 2)
        client.close()
        _end_with_parent()
        running = Path(request["root"]) / "running" / f"benchmark_model.{os.getpid()}"
        running.touch()
        status = 1
        try:
            status = run_program(request["words"][1:], request["mask"], Path(request["root"]), request["fault"])
        finally:
            sys.stdout.flush()
            running.unlink(missing_ok=True)
            os._exit(status)
    for output in outputs:
        os.close(output)
    children[pid] = client
    client.sendall(f"{pid}\n".encode())


def _receive(client: socket.socket) -> tuple[bytes, list[int]]:
    line, outputs = b"", array.array("i")
    while not line.endswith(b"\n"):
        data, ancillary, _, _ = client.recvmsg(65536, socket.CMSG_SPACE(2 * outputs.itemsize))
        if not data:
            break
        line += data
        for _, _, content in ancillary:
            outputs.frombytes(content[: len(content) - len(content) % outputs.itemsize])
    return line, list(outputs)


def _report_ends(children: dict[int, socket.socket]) -> None:
    for pid, client in list(children.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if not ended:
            continue
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError):  # whoever waited may be gone
            client.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
        client.close()
        del children[pid]


def _end_with_parent() -> None:
    """End this child when its zygote is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            threading.Event().wait(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
