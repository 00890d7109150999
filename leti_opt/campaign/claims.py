"""Which networks a device takes for itself, so that equal devices of one store do not measure them twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import LetiError
from leti_opt.store.latency_store import LatencyStore

LASTS_S = 120.0
"""A claim that is not renewed for so long is anybody's; it is renewed four times as often."""

Place = tuple[DeviceIdentity, DeviceEpoch]


def claim_key(place: Place, network_digest: str, cell: str) -> str:
    """What stands in the store for a network on a device, as it is now."""
    identity, epoch = place
    return f"{identity.digest[:24]}/{epoch.digest[:24]}/{network_digest[:24]}/{cell}"


class Claims:
    """The claims of one device, renewed in the background until it is closed.

    Devices that answer for each other (their epochs are linked) claim a network on all of their places: whoever has
    them all measures it.

    Args:
        store: where they stand.
        owner: names the device and its host. A process that was killed and started again is the same owner.
        lasts_s: how long one lasts that nobody renews.
        is_there: whether the device is there. While it is away nothing is renewed, so that an equal one can take over.
    """

    def __init__(
        self, store: LatencyStore, owner: str, lasts_s: float = LASTS_S, is_there: Callable[[], bool] = lambda: True
    ) -> None:
        self._store = store
        self._owner = owner
        self._lasts_s = lasts_s
        self._is_there = is_there
        self._error: LetiError | None = None
        self._ends: dict[str, float] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name=f"claims {owner}", daemon=True)
        self._renewing.start()

    def take(self, keys: Sequence[Sequence[str]]) -> list[bool]:
        """Claim networks, each by the keys of all its places; tells of each whether all are this device's now.

        Raises:
            StoreError: the store cannot be written, or could not be lately.
        """
        if self._error is not None:
            raise self._error
        every = [key for of_network in keys for key in of_network]
        ends = time.monotonic() + self._lasts_s
        held = set(self._store.claim(every, self._owner, self._lasts_s))
        with self._lock:
            self._ends.update(dict.fromkeys(held, ends))
            for key in set(every) - held:
                self._ends.pop(key, None)
        taken = [all(key in held for key in of_network) for of_network in keys]
        in_vain = [
            key for of_network, ours in zip(keys, taken, strict=True) if not ours for key in of_network if key in held
        ]
        if in_vain:
            self.release(in_vain)
        return taken

    def release(self, keys: Sequence[str]) -> None:
        """Give claims back: what they are of has been measured."""
        with self._lock:
            for key in keys:
                self._ends.pop(key, None)
        self._store.release_claims(self._owner, keys)

    @property
    def are_sure(self) -> bool:
        """Whether all that was taken is this device's still.

        Else some may have run out, and others have taken it over: this process stood still, the store or the device was
        away. Taking them again tells.
        """
        now = time.monotonic()
        with self._lock:
            return all(ends > now for ends in self._ends.values())

    def close(self) -> None:
        """Stop renewing, and give everything back."""
        self._closed.set()
        self._renewing.join()
        self._store.release_claims(self._owner)

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _renew(self) -> None:
        while not self._closed.wait(self._lasts_s / 4):
            if not self._is_there():
                continue
            ends = time.monotonic() + self._lasts_s
            try:
                self._store.renew_claims(self._owner, self._lasts_s)
            except LetiError as error:  # told to whoever takes next
                self._error = error
                return
            now = time.monotonic()
            with self._lock:  # of those that had run out by then nobody knows
                self._ends.update({key: ends for key, before in self._ends.items() if before > now})
