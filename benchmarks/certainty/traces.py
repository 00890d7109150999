"""Recorded traces on disk: small files, each with the story of its recording."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent / "traces"
SUFFIX = ".trace"


@dataclass(frozen=True)
class Trace:
    """Consecutive runs of one network on one host.

    Args:
        name: network and condition.
        runs_ms: every run in order.
        story: what was recorded, when, and on which machine.
    """

    name: str
    runs_ms: NDArray[np.float64]
    story: Mapping[str, Any]


def save_trace(name: str, runs_ns: NDArray[np.uint32], story: Mapping[str, Any]) -> Path:
    """Write one trace: a line of JSON, then the bytes of the times plane by plane, which compresses well."""
    planes = runs_ns.astype("<u4").view(np.uint8).reshape(-1, 4).T.tobytes()
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}{SUFFIX}"
    path.write_bytes(json.dumps({**story, "runs": len(runs_ns)}).encode() + b"\n" + lzma.compress(planes, preset=9))
    return path


def load_trace(path: Path) -> Trace:
    """Read what :func:`save_trace` wrote."""
    head, _, body = path.read_bytes().partition(b"\n")
    story = json.loads(head)
    planes = np.frombuffer(lzma.decompress(body), np.uint8).reshape(4, story["runs"])
    runs_ns = np.ascontiguousarray(planes.T).view("<u4").ravel()
    return Trace(path.stem, runs_ns / 1e6, story)


def load_traces() -> Iterator[Trace]:
    """Every recorded trace, by name."""
    for path in sorted(FOLDER.glob(f"*{SUFFIX}")):
        yield load_trace(path)
