"""What a phone is: model, SoC, Android, GPU driver, and what of that determines a latency."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.pseudonym import pseudonym
from leti_opt.errors import PhoneError, PhoneGoneError

if TYPE_CHECKING:
    from leti_opt.device.android.benchmark_model import RunOptions
    from leti_opt.device.android.phone import Phone

LOOPBACK_PROPERTY = "ro.leti_opt.loopback"
"""Set to 1 by a program that only plays a phone."""

_STEP = "reading what it is"
_DELEGATES = {"cpu": "cpu", "gpu": "gpu", "npu": "nnapi"}
_GLES = re.compile(r"^[ \t]*GLES:[ \t]*(\S.*?)[ \t]*\r?$", re.MULTILINE)
_NO_ANSWER_YET = re.compile(r"Can't find service|DUMP TIMEOUT|Error dumping|Failure while dumping")
_LOOKS = 12
_LOOK_EVERY_S = 5.0
_DUMP_S = 30.0


@dataclass(frozen=True)
class PhoneFacts:
    """What a phone says of itself. A text is empty where the phone does not say.

    Args:
        manufacturer: for instance ``Google``.
        model: for instance ``Pixel 7``.
        soc: the system on a chip, or the board where the phone does not name the chip.
        android_version: for instance ``14``.
        sdk: Android's API level.
        abi: the instruction set that programs should be built for, for instance ``arm64-v8a``.
        abis: every instruction set that it runs, the best first.
        build_fingerprint: names the system build.
        serial: of the hardware.
        gles: GPU, OpenGL ES version and driver, in one line.
        kernel: its release.
        loopback: whether it is a program that plays a phone.
    """

    manufacturer: str
    model: str
    soc: str
    android_version: str
    sdk: int | None
    abi: str
    abis: tuple[str, ...]
    build_fingerprint: str
    serial: str
    gles: str
    kernel: str
    loopback: bool = False

    @property
    def hardware(self) -> str:
        """One line for people, without anything that tells two units of a model apart.

        >>> phone_facts({"ro.product.model": "Pixel 7", "ro.product.manufacturer": "Google"}, serial="1").hardware
        'Google Pixel 7'
        """
        named_twice = self.model.casefold().startswith(self.manufacturer.casefold())
        name = self.model if named_twice else f"{self.manufacturer} {self.model}"
        chip = f" ({self.soc})" if self.soc else ""
        return f"{'loopback phone ' if self.loopback else ''}{name}{chip}"


def phone_facts(
    properties: Mapping[str, str], surface_flinger: str = "", kernel: str = "", serial: str = ""
) -> PhoneFacts:
    """Pick the facts out of what a phone prints.

    Args:
        properties: of ``getprop``.
        surface_flinger: ``dumpsys SurfaceFlinger``, which has the line of the GPU.
        kernel: its release.
        serial: if it is known from elsewhere.
    """

    def first(*names: str) -> str:
        texts = (properties.get(name, "").strip() for name in names)
        return next((text for text in texts if text.casefold() not in ("", "unknown")), "")

    abi = first("ro.product.cpu.abi")
    listed = first("ro.product.cpu.abilist").split(",") if first("ro.product.cpu.abilist") else []
    sdk = first("ro.build.version.sdk")
    model = first("ro.product.model", "ro.product.vendor.model", "ro.product.odm.model", "ro.product.system.model")
    return PhoneFacts(
        manufacturer=first(
            "ro.product.manufacturer", "ro.product.vendor.manufacturer", "ro.product.brand", "ro.product.vendor.brand"
        ),
        model=model,
        soc=first("ro.soc.model", "ro.board.platform"),
        android_version=first("ro.build.version.release"),
        sdk=int(sdk) if sdk.isdecimal() else None,
        abi=abi or next((name.strip() for name in listed), ""),
        abis=tuple(name.strip() for name in listed if name.strip()) or ((abi,) if abi else ()),
        build_fingerprint=first("ro.build.fingerprint", "ro.vendor.build.fingerprint", "ro.build.display.id"),
        serial=serial or first("ro.serialno", "ro.boot.serialno"),
        gles=gles_line(surface_flinger),
        kernel=kernel.strip(),
        loopback=first(LOOPBACK_PROPERTY) == "1" or "loopback" in f"{model} {first('ro.hardware')}".casefold(),
    )


def gles_line(surface_flinger: str) -> str:
    r"""GPU, OpenGL ES version and driver from ``dumpsys SurfaceFlinger``; empty where it does not say.

    >>> gles_line("------------RE GLES------------\nGLES: ARM, Mali-G710, OpenGL ES 3.2 v1.r36p0\n")
    'ARM, Mali-G710, OpenGL ES 3.2 v1.r36p0'
    """
    found = _GLES.search(surface_flinger)
    return found.group(1) if found else ""


def read_facts(phone: Phone, sleep: Callable[[float], None] = time.sleep) -> PhoneFacts:
    """Ask a phone what it is.

    A phone that has just started answers adb some time before its services do. That is waited for: a driver that
    seems missing would look like an update of the system.

    Raises:
        PhoneError: it does not say its model, ABI or system build, which a result cannot do without.
        PhoneGoneError: it went away, or its services have not come up within a minute.
    """
    dump = _surface_flinger(phone, sleep)
    kernel = phone.shell("uname -r 2>/dev/null", _STEP, check=False)
    facts = phone_facts(phone.properties, dump, kernel.stdout if kernel.exit_code == 0 else "", phone.serial)
    for text, name in (
        (facts.model, "ro.product.model"),
        (facts.abi, "ro.product.cpu.abi"),
        (facts.build_fingerprint, "ro.build.fingerprint"),
        (facts.serial, "ro.serialno"),
    ):
        if not text:
            raise PhoneError(
                phone.address,
                _STEP,
                f"it does not reveal {name}",
                f"look with: adb -s {phone.address} shell getprop {name}; if it is there, restart the phone",
            )
    return facts


def _surface_flinger(phone: Phone, sleep: Callable[[float], None]) -> str:
    for look in range(_LOOKS):
        if look:
            sleep(_LOOK_EVERY_S)
        dump = phone.shell("dumpsys SurfaceFlinger 2>&1", _STEP, _DUMP_S, check=False).stdout
        if gles_line(dump) or not _NO_ANSWER_YET.search(dump):
            return dump
    raise PhoneGoneError(
        phone.address,
        _STEP,
        f"dumpsys SurfaceFlinger did not answer for {_LOOKS * _LOOK_EVERY_S:.0f} s: {dump.strip()[:200]}",
        "wait until the phone has started, unlock it, and try again",
    )


def phone_identity(facts: PhoneFacts, runtime: str, options: RunOptions, affinity: str, layout: str) -> DeviceIdentity:
    """What determines a latency on a phone besides the network.

    Args:
        facts: of the phone.
        runtime: ``benchmark_model`` with the SHA-256 of its binary.
        options: what benchmark_model is told.
        affinity: the cores as a mask in hexadecimal; empty for all of them.
        layout: how networks lie on the phone; empty where it was shown not to matter.
    """
    pairs = {"threads": str(options.threads), "affinity": affinity or "all"}
    if options.unit == "gpu":
        pairs["backend"] = options.backend
    if options.unit != "cpu":
        pairs["precision_loss"] = "yes" if options.precision_loss else "no"
    if options.unit == "npu":
        pairs["accelerator"] = options.accelerator or "chosen by Android"
    if layout:
        pairs["layout"] = layout
    return DeviceIdentity(
        kind="android",
        hardware=facts.hardware,
        runtime=runtime,
        runner="shell",
        delegate=_DELEGATES[options.unit],
        options=tuple(pairs.items()),
    )


def phone_epoch(facts: PhoneFacts) -> DeviceEpoch:
    """What of a phone may change while it stays the same kind of device: system build, GPU driver, unit."""
    return DeviceEpoch(facts.build_fingerprint, facts.gles, pseudonym(facts.serial) if facts.serial else "")
