"""The canary: one small network, measured every so often, that tells whether a device is still itself.

A machine whose clocks were lowered, or that has other work to do, is slower for every network. The canary is measured
between the others. Its usual pace, with how far that wanders, makes a band; when it leaves the band, what was measured
since it was last seen inside is withdrawn, and measured again once it is back.

Some machines have no one pace: on a virtual one, whose cores share their hardware with strangers, every run takes half
as long again whenever they are busy, for tenths of a second or for minutes. There the usual pace is a wide band, which
tells other work on the machine itself; ``pace="quiet"`` takes the quickest level that the canary was seen at, looks
before and after every network, and measures each until both looks were there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Literal

from leti_opt.architecture import Architecture
from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.errors import DeviceError, InfeasibleError, InvalidProtocolError, did_you_mean
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.band import Band
from leti_opt.store.latency_store import LatencyStore

PACES = ("usual", "quiet", "off")

_CELL = "0-1,1-2,2-3:conv3x3-bn-relu,conv1x1-bn-relu"
# Odd sizes, so that the canary is nobody's result: its measurements stay out of every table of results.
_NETWORK = NetworkConfig(input_shape=(28, 28, 3), filters=24, stacks=1, cells_per_stack=1, classes=7)
_BAND_LOOKS = 100
_QUIET_PAUSE_S = 0.05
_YOUNG_S = 600.0
_QUICKER_CHECKS = 4
_QUICKER_PAUSE_S = 1.0


@dataclass(frozen=True)
class CanarySettings:
    """How a device is watched.

    Args:
        pace: ``usual``: withdraw what was measured while the canary was out of its band. ``quiet``: accept only what
            was measured at the machine's quickest level, however long that takes. ``off``: measure without a canary.
        every_s: a check is due when so much time has passed since the last one; None for what suits the device.
        runs: of one look at the canary.
        looks: a check is the median of so many looks.
        calibration: looks that a band stands on at least. They are taken one after each of the first networks, or in a
            row where there are not so many networks before a check is due.
        spacing_s: pause between looks in a row, so that they see more than one moment.
        least_band: the band is never narrower than plus and minus this share.
        wait_s: how long to wait for a device that has left its band before it is given up.
        renew: take the present pace for the usual one, whatever was stored.

    Raises:
        InvalidProtocolError: a number is out of range.
    """

    pace: Literal["usual", "quiet", "off"] = "usual"
    every_s: float | None = None
    runs: int = 60
    looks: int = 3
    calibration: int = 24
    spacing_s: float = 0.25
    least_band: float = 0.03
    wait_s: float = 300.0
    renew: bool = False

    def __post_init__(self) -> None:
        if self.pace not in PACES:
            raise InvalidProtocolError(f"unknown pace {self.pace!r}; {did_you_mean(self.pace, PACES)}")
        for name in ("runs", "looks", "calibration"):
            if getattr(self, name) < 1:
                raise InvalidProtocolError(f"{name} of the canary must be 1 or more, not {getattr(self, name)}")
        for name in ("every_s", "spacing_s", "wait_s"):
            if getattr(self, name) is not None and not getattr(self, name) >= 0:
                raise InvalidProtocolError(f"{name} of the canary must be 0 s or more, not {getattr(self, name)}")
        if not 0 < self.least_band < 1:
            raise InvalidProtocolError(f"least_band must be between 0 and 1, not {self.least_band}")


class Canary:
    """Watches one device. Whoever calls it holds the device's resources.

    Args:
        device: what is watched.
        store: remembers every look, with the role ``canary``.
        identity, epoch: of the device.
        settings: how.
        notify: told in one line when the device leaves its band, and when it is back.
        clock, sleep: for tests.
    """

    def __init__(
        self,
        device: Device,
        store: LatencyStore,
        identity: DeviceIdentity,
        epoch: DeviceEpoch,
        settings: CanarySettings,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._device = device
        self._store = store
        self._identity, self._epoch = identity, epoch
        self._here = (identity, epoch)
        self.settings = settings
        self.notify = notify
        self.clock, self._sleep = clock, sleep
        self._model = canary_model()
        self._band: Band | None = None
        self._checked_at = self.clock()
        self._protocol = MeasurementProtocol(min_runs=settings.runs, max_relative_std=1e9, max_attempts=2)
        self._kept: list[int] = []
        self._own_looks_ms: list[float] = []
        self._made_at: float | None = None
        self._began_at = self.good_at = datetime.now(UTC)
        """The last moment at which the device was known to be itself, or when watching began."""

    @property
    def quiet(self) -> bool:
        """Whether every network is to be measured at the quickest level."""
        return self.settings.pace == "quiet"

    @property
    def band(self) -> Band | None:
        """Its usual place; None before the first check."""
        return self._band

    @property
    def due(self) -> bool:
        """Whether it is time for a check."""
        every_s = self._device.canary_every_s if self.settings.every_s is None else self.settings.every_s
        return self.clock() - self._checked_at >= every_s

    @property
    def watching(self) -> bool:
        """Whether the band is known; it is not in a session that is too short for a first check."""
        self._band = self._band or self._known_band()
        return self._band is not None

    def calibrate(self) -> Band:
        """The band: as it is known from the store, or found now."""
        if self._band is None:
            self._band = self._known_band() or self._calibrated()
        return self._band

    def gather(self) -> None:
        """Take one look for a band that is not known yet.

        Raises:
            DeviceError: the device is gone.
        """
        if self.watching:
            return
        self._take_own_look()
        if len(self._own_looks_ms) >= self.settings.calibration:
            self._made()

    @property
    def is_young(self) -> bool:
        """Whether its band was made in this session, some minutes ago at most: it may have been made under a load."""
        return self._made_at is not None and self.clock() - self._made_at < _YOUNG_S

    def outgrown(self) -> bool:
        """Whether a young band was made under a load that is over: the canary stays quicker than all of it.

        Raises:
            DeviceError: the device is gone.
        """
        band = self._band
        if band is None or not self.is_young or self.quiet:
            return False
        for place in range(_QUICKER_CHECKS):
            if place:
                self._sleep(_QUICKER_PAUSE_S)
            latency_ms = self._looked(self.settings.looks, band)
            if latency_ms >= band.centre_ms or band.holds(latency_ms):
                return False
        return True

    def begin_anew(self) -> None:
        """Make another band from now on; nothing that was measured in this session counts as good any more."""
        for key in self._kept:
            self._store.suspect_one(key, "the canary's band was made under a load")
        self._kept.clear()
        self._own_looks_ms.clear()
        self._band, self._made_at = None, None
        self.good_at = self._began_at

    def check(self) -> str | None:
        """Look at the canary.

        Returns:
            None if it is in its band, else one line that says how far out it is.

        Raises:
            DeviceError: the device is gone.
        """
        band = self.calibrate()
        began = datetime.now(UTC)
        looks = 1 if self.quiet else self.settings.looks
        latency_ms = self._looked(looks, band)
        if not (self.quiet or band.holds(latency_ms)):
            self._sleep(self.settings.spacing_s)  # once more: anybody's process may start and end
            latency_ms = self._looked(looks, band)
        self._checked_at = self.clock()
        if band.holds(latency_ms):
            self.good_at = began
            return None
        return (
            f"the canary takes {latency_ms / band.centre_ms:.2f} times its {self.settings.pace} "
            f"{band.centre_ms:.3f} ms (band: ±{100 * band.width:.0f} %)"
        )

    def wait_until_good(self) -> None:
        """Wait until the canary is in its band, or has :meth:`outgrown` it.

        Raises:
            DeviceError: it did not come there in time.
        """
        deadline = self.clock() + self.settings.wait_s
        pause_s = _QUIET_PAUSE_S if self.quiet else 1.0
        while (fault := self.check()) is not None:
            if self.outgrown():
                return
            if self.clock() >= deadline:
                raise self.given_up(fault)
            self._sleep(pause_s)
            pause_s = pause_s if self.quiet else min(2 * pause_s, 10.0)
        if not self.quiet:
            self.notify("the device is back at its usual pace")

    def given_up(self, fault: str) -> DeviceError:
        """What to raise when the device did not come back in time."""
        return DeviceError(
            f"{self._device.uri} has changed: {fault}, for {self.settings.wait_s:.0f} s. End what else runs on it and "
            "start again, everything is kept; if this is its pace from now on, start again with --new-pace"
        )

    def _known_band(self) -> Band | None:
        if self.settings.renew:
            return None
        stored = self._store.find(self._model.key, self._identity, self._epoch)
        # The oldest ones: a band that follows the newest would follow a slow change, too.
        # Those of linked epochs are left out: a twin, or the device before its update, may have another pace.
        own = [look for look in stored if look.source is None and (look.device, look.epoch) == self._here]
        looks = [_pace_ms(look) for look in own][-_BAND_LOOKS:]
        return self._band_of(looks) if len(looks) >= self.settings.calibration else None

    def _band_of(self, looks_ms: Sequence[float]) -> Band:
        return (Band.quickest if self.quiet else Band.of)(looks_ms, self.settings.least_band)

    def _calibrated(self) -> Band:
        while len(self._own_looks_ms) < self.settings.calibration:
            if self._own_looks_ms:
                self._sleep(self.settings.spacing_s)
            self._take_own_look()
        return self._made()

    def _take_own_look(self) -> None:
        look = self._look()
        self._keep(look)
        self._own_looks_ms.append(_pace_ms(look))

    def _made(self) -> Band:
        self._band = self._band_of(self._own_looks_ms)
        self._made_at = self.clock()
        return self._band

    def _looked(self, looks: int, band: Band) -> float:
        """Median of some looks; they are stored as usual ones only if they are in the band."""
        found = [self._look() for _ in range(looks)]
        latency_ms = median(_pace_ms(look) for look in found)
        for look in found:
            self._keep(look, None if band.holds(latency_ms) else "out of the canary's band")
        return latency_ms

    def _look(self) -> Measurement:
        try:
            measurement = measure(self._device, self._model, self._protocol)
        except InfeasibleError as error:
            raise DeviceError(
                f"{self._device.uri} cannot run the canary's network, a plain small one: {error.reason}; "
                "if it runs others all the same, measure without a canary (--pace off)"
            ) from error
        return replace(measurement, epoch=self._epoch)

    def _keep(self, look: Measurement, fault: str | None = None) -> None:
        key = self._store.add(self._model, look, role="canary")
        self._kept.append(key)
        if fault is not None:
            self._store.suspect_one(key, fault)


def _pace_ms(look: Measurement) -> float:
    """The mean: where several processes share a core, most runs still take their usual time, and some ten times it."""
    return look.batch.mean_ms


def canary_model() -> MeasurableModel:
    """The canary's network: a millisecond or less on most devices, and nobody's result."""
    graph = build_layer_graph(Architecture.parse(_CELL), _NETWORK)
    return MeasurableModel.of_graph(graph, "canary")
