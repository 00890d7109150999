"""Published latencies of NAS-Bench-201's cells, as they lie beside the repository."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.cells import CellRows
from leti_opt.search_space.definition import NAS_BENCH_201

DEFAULT_FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FILE = Path("nas_bench_201") / "latency.npz"


@dataclass(frozen=True)
class PublicColumns:
    """Connected cells and what they took on each device.

    Args:
        cells: as they were measured, not pruned.
        operations: of each edge, as NAS-Bench-201 numbers them; ``(cells, 6)``.
        classes: which cells stand for the same network by NAS-Bench-201's rule.
        devices: names of the columns.
        latency_ms: ``(cells, devices)``, NaN where not measured.
    """

    cells: CellRows
    operations: NDArray[np.int64]
    classes: NDArray[np.int64]
    devices: tuple[str, ...]
    latency_ms: NDArray[np.float64]

    def column(self, device: str) -> NDArray[np.float64]:
        """What the cells took on one device, in milliseconds."""
        if device not in self.devices:
            raise SystemExit(f"there is no column {device!r}; there are {', '.join(self.devices)}")
        return self.latency_ms[:, self.devices.index(device)]

    def present(self, named: Iterable[str]) -> list[str]:
        """Those of some devices that the file has; all of its devices where it has none of them."""
        return [device for device in named if device in self.devices] or list(self.devices)


def load_columns(source: Path) -> PublicColumns:
    """Read the data.

    Args:
        source: any file of the same form, or the folder that holds :data:`FILE`.
    """
    path = source if source.suffix == ".npz" else source / FILE
    if not path.is_file():
        raise SystemExit(
            f"there is no {path}: the public latencies do not come with the repository; name a file, or a folder that "
            f"holds {FILE}, with --data"
        )
    with np.load(path, allow_pickle=False) as file:
        connected = file["connected"]
        operations = file["operations"][connected].astype(np.int64)
        return PublicColumns(
            cells=CellRows.from_native(operations, NAS_BENCH_201),
            operations=operations,
            classes=file["isomorphism_class"][connected].astype(np.int64),
            devices=tuple(str(name) for name in file["device"]),
            latency_ms=file["latency_ms"][connected].astype(np.float64),
        )
