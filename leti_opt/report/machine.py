"""Which machine this is, for screens and benchmark tables."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata

from leti_opt.host_cores import usable_cores
from leti_opt.version import source_commit, version


@dataclass(frozen=True)
class MachineDescription:
    """What a figure of this machine should be read with.

    Args:
        processor: name of the CPU.
        cores: how many this process may use.
        memory_bytes: of the whole machine.
        system: kernel and its release.
        python: version.
        runtime: LiteRT's version.
        load: mean number of busy processes over the last minute.
        tool: version of leti_opt, with its commit where it runs from a checkout.
    """

    processor: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    runtime: str
    load: float
    tool: str

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.processor}, {self.cores} cores, {self.memory_bytes / 2**30:.0f} GiB, {self.system}",
            f"{self.runtime}, Python {self.python}, leti_opt {self.tool}, load average {self.load:.2f}",
        ]


def describe_machine() -> MachineDescription:
    """Look at this machine now."""
    import psutil

    from leti_opt.device.host_cpu import processor_name

    commit = source_commit()
    return MachineDescription(
        processor=processor_name(),
        cores=len(usable_cores()),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        runtime=f"LiteRT {metadata.version('ai-edge-litert')}",
        load=os.getloadavg()[0],
        tool=version() + (f" ({commit})" if commit else ""),
    )
