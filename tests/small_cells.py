"""Small cells and their labels."""

from __future__ import annotations

from leti_opt.architecture import NAS_BENCH_101_LABELS

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
FIVE_LABELS = ("a", "b", "c-3", "d+e", "f_1.x")
CHAIN = [[0, 1, 0], [0, 0, 1], [0, 0, 0]]


def names(vertices: int, operation: str = CONV3) -> list[str]:
    return ["input", *[operation] * (vertices - 2), "output"]
