"""A loopback phone: adbd over TCP on this host, with everything behind it. It is no phone, and says so."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests.loopback_phone.adbd import Adbd, CutError, Service
from tests.loopback_phone.faults import Faults
from tests.loopback_phone.settings import PhoneSettings
from tests.loopback_phone.userland import Userland

AWAY_S = 0.5
_START_S = 10.0
_ROUNDS = 5


class LoopbackPhone:
    """One phone at ``127.0.0.1:port``, with a thread of its own.

    Args:
        folder: for its files; removed at :meth:`stop`.
        settings: what it pretends to be.
        port: to listen at; 0 for a free one.
        away_s: how long it is gone when a fault cuts the connection.
    """

    def __init__(
        self, folder: Path, settings: PhoneSettings | None = None, port: int = 0, away_s: float = AWAY_S
    ) -> None:
        self.faults = Faults()
        self.away_s = away_s
        self.userland = Userland(folder, settings or PhoneSettings(), self.faults, self._struck)
        self._adbd = Adbd(self.userland, self._hook)
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"loopback phone {self.port}", daemon=True)
        self._stopped = False

    @property
    def address(self) -> str:
        """What adb calls it."""
        return f"127.0.0.1:{self.port}"

    @property
    def settings(self) -> PhoneSettings:
        """What it pretends to be."""
        return self.userland.settings

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it did: pushes, starts and ends of benchmark_model, faults."""
        return self.userland.read_log()

    @property
    def services(self) -> list[Service]:
        """What adb servers asked it for, in order: one entry for each shell command and each transfer of files."""
        return list(self._adbd.services)

    def start(self) -> LoopbackPhone:
        """Begin to listen."""
        self._thread.start()
        self._in_loop(self._listen())
        return self

    def stop(self) -> None:
        """End it and remove its files. May be called twice."""
        if self._stopped:
            return
        self._stopped = True
        self._in_loop(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_START_S)
        self.userland.remove()
        self._loop.close()
        self._socket.close()

    def __enter__(self) -> LoopbackPhone:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def vanish(self, away_s: float | None = None) -> None:
        """Be gone for a while, as if the cable was pulled; what runs on the phone goes on."""
        self._call(self._vanish, self.away_s if away_s is None else away_s)

    def reboot(self, away_s: float | None = None) -> None:
        """Restart: nothing runs any more, and the phone is gone for a while."""
        self._call(self._reboot, self.away_s if away_s is None else away_s)

    def die(self) -> None:
        """Be gone until :meth:`come_back`."""
        self._call(self._leave)

    def come_back(self) -> None:
        """Answer again."""
        self._call(self._return)

    def go_silent(self) -> None:
        """Take connections and answer nothing: adb lists it as offline, and says that it is connected."""
        self.faults.count("offline")
        self._call(self._silence)

    def swap(self, settings: PhoneSettings) -> None:
        """Another phone under the same address from now on."""
        self.faults.count("swapped")
        self.userland.become(settings)
        self._call(self._reboot, self.away_s)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        done: Future[None] = Future()

        def run() -> None:
            try:
                function(*arguments)
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)
                raise

        self._loop.call_soon_threadsafe(run)
        done.result(_START_S)

    def _in_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_START_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._adbd.take, sock=self._socket)

    async def _end(self) -> None:
        self.userland.stop()
        self._adbd.away = True
        self._server.close()
        # A connection that was taken just now has no transport yet: cancelled here, its socket would stay open.
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)
        self._adbd.cut()
        tasks = [task for task in asyncio.all_tasks(self._loop) if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(_ROUNDS):
            await asyncio.sleep(0)

    def _hook(self, moment: str, what: str) -> None:
        """A moment at which a fault may strike; runs in the phone's loop."""
        if moment == "reboot":
            self._reboot(self.away_s)
            raise CutError
        if moment == "authorize":
            if self.faults.is_on("unauthorized"):
                self.faults.count("unauthorized")
            return
        if moment in ("push", "pull") and self.faults.strikes(f"vanish_in_{moment}"):
            self.userland.log("fault", name=f"vanish_in_{moment}", path=what)
            self._vanish(self.away_s)
            raise CutError

    def _struck(self, fault: str) -> None:
        if fault == "vanish_in_measure":
            self._vanish(self.away_s)
        else:
            self._reboot(self.away_s)

    def _vanish(self, away_s: float) -> None:
        self._leave()
        self._loop.call_later(away_s, self._return)

    def _reboot(self, away_s: float) -> None:
        self._leave()
        self.userland.boot()
        self._loop.call_later(away_s, self._return)

    def _leave(self) -> None:
        self._adbd.away = True
        self._adbd.cut()

    def _return(self) -> None:
        self._adbd.away = self._adbd.silent = False

    def _silence(self) -> None:
        self._adbd.silent = True
        self._adbd.cut()
