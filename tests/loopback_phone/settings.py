"""What a loopback phone pretends to be."""

from __future__ import annotations

from dataclasses import dataclass

CORES = (("0-3", 1_800_000), ("4-5", 2_350_000), ("6-7", 2_850_000))


@dataclass(frozen=True)
class PhoneSettings:
    """A phone as its properties describe it.

    Args:
        serial: of the hardware, ``ro.serialno``.
        model: ``ro.product.model``.
        manufacturer, soc, android_version, sdk, abi, gles: likewise.
        fingerprint: of the system build; empty to make one from the rest.
        fixed_run_ms: every run sleeps so long in place of running the network; None to run it in LiteRT.
        longer_by: with ``fixed_run_ms``, a network takes up to so many times longer, by its operators: networks differ.
        gpu_refuses: operators, by TFLite's names, that its GPU and NPU do not take. It is the phone's own say and has
            nothing to do with what the package forecasts.
        battery_percent, battery_c, thermal_status, charging: of the battery.
        authorized: whether its owner has accepted every host.
    """

    serial: str = "LOOP0001"
    model: str = "Model A"
    manufacturer: str = "Loopback"
    soc: str = "LB100"
    android_version: str = "14"
    sdk: int = 34
    abi: str = "arm64-v8a"
    gles: str = "Loopback, Painter 1, OpenGL ES 3.2 v1.0"
    fingerprint: str = ""
    fixed_run_ms: float | None = None
    longer_by: float = 0.0
    gpu_refuses: tuple[str, ...] = ()
    battery_percent: int = 87
    battery_c: float = 27.5
    thermal_status: int = 0
    charging: bool = True
    authorized: bool = True

    @property
    def properties(self) -> dict[str, str]:
        """What ``getprop`` prints."""
        code = self.model.lower().replace(" ", "_")
        fingerprint = self.fingerprint or (
            f"loopback/{code}/{code}:{self.android_version}/LB.{self.sdk}/1:user/release-keys"
        )
        return {
            "ro.leti_opt.loopback": "1",
            "ro.serialno": self.serial,
            "ro.boot.serialno": self.serial,
            "ro.product.model": self.model,
            "ro.product.manufacturer": self.manufacturer,
            "ro.product.name": code,
            "ro.product.device": code,
            "ro.product.cpu.abi": self.abi,
            "ro.product.cpu.abilist": self.abi,
            "ro.soc.model": self.soc,
            "ro.board.platform": self.soc.lower(),
            "ro.build.version.release": self.android_version,
            "ro.build.version.sdk": str(self.sdk),
            "ro.build.fingerprint": fingerprint,
            "sys.boot_completed": "1",
        }
