"""Makes ``leti_opt/device/published_data/help_nas_bench_201.npz`` from a table of published latencies.

    .venv/bin/python tools/make_published_data.py SOURCE.npz [TARGET.npz]

The source is an .npz file with ``architecture`` (cells as NAS-Bench-201 writes them), ``connected``, ``device``
(names, of which those that begin with ``help/`` are taken) and ``latency_ms`` (cells x devices, NaN where not
measured); its figures are those under ``data/nasbench201/`` of github.com/HayeonLee/HELP, commit 45f70eb. Cells whose
input does not reach the output are left out. The same source gives the same bytes, as long as zlib is the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leti_opt import NAS_BENCH_201, Architecture, NetworkConfig, build_layer_graph
from leti_opt.device.published import DATA_FILE, LATENCY, digest_prefix

PREFIX = "help/"


def main() -> None:
    """Read the source and write the file that ships."""
    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {sys.argv[0]} SOURCE.npz [TARGET.npz]")
    target = Path(sys.argv[2]) if len(sys.argv) == 3 else DATA_FILE
    with np.load(sys.argv[1], allow_pickle=False) as source:
        columns = published_columns({name: source[name] for name in source.files})
    np.savez_compressed(target, **columns)
    print(f"{target}: {target.stat().st_size} bytes")  # noqa: T201


def published_columns(source: dict[str, NDArray[np.generic]]) -> dict[str, NDArray[np.generic]]:
    """The arrays of the file, by name: a row for each connected cell, in the order of the cells' native index."""
    rows = np.flatnonzero(source["connected"])
    cells = [NAS_BENCH_201.parse_native(str(source["architecture"][row])) for row in rows]
    index = np.array([NAS_BENCH_201.native_index(cell) for cell in cells], np.uint16)
    order = np.argsort(index)
    prefixes = prefixes_of(cells[place] for place in order)
    known, network = np.unique(prefixes, return_inverse=True)
    columns: dict[str, NDArray[np.generic]] = {
        "cell": index[order],
        "network": network.astype(np.uint16),
        "digest_prefix": known,
    }
    names = [str(name) for name in source["device"]]
    taken = sorted(name for name in names if name.startswith(PREFIX))
    columns["device"] = np.array([name.removeprefix(PREFIX) for name in taken])
    columns["batch_size"] = np.array([batch_size(name) for name in taken], np.uint16)
    for name in taken:
        column = source["latency_ms"][:, names.index(name)]
        columns[LATENCY + name.removeprefix(PREFIX)] = column[rows][order].astype(np.float32)
    return columns


def prefixes_of(cells: Iterable[Architecture]) -> NDArray[np.uint64]:
    """What each cell's network is found by; a network that several cells prune to is built once."""
    config = NetworkConfig.nasbench201()
    known: dict[Architecture, int] = {}
    prefixes = []
    for cell in cells:
        if cell not in known:
            known[cell] = digest_prefix(build_layer_graph(cell, config).digest)
        prefixes.append(known[cell])
    return np.array(prefixes, np.uint64)


def batch_size(name: str) -> int:
    """Images a run: HELP names its GPUs with it, such as ``1080ti_32``, and nothing else (``essential_ph_1``)."""
    match = re.fullmatch(PREFIX + r"(?:1080ti|2080ti|titanx)_(\d+)", name)
    return int(match[1]) if match else 1


if __name__ == "__main__":
    main()
