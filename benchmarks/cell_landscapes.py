"""Landscapes over NAS-Bench-101: losses of a canonical cell, lower is better.

They are deterministic, and share a cost that is shaped like FLOPs.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache
from itertools import pairwise

import numpy as np

from leti_opt.architecture import INPUT, OUTPUT, Architecture
from leti_opt.search_space.definition import NAS_BENCH_101 as SPACE

CONV3, CONV1, POOL = SPACE.operations


def uniform(*key: str) -> float:
    """A fixed number between 0 and 1 for a key."""
    return int.from_bytes(hashlib.sha256("|".join(key).encode()).digest()[:8], "big") / 2**64


def cost(cell: Architecture) -> float:
    """Something like latency: multiply-accumulates by NAS-Bench-101's split of channels, and a little per operation."""
    last = len(cell) - 1
    feeding = sum(int(cell.adjacency[v, last]) for v in range(1, last))
    channels = [1.0] * len(cell)
    total = 0.02 * len(cell.edges) + float(cell.adjacency[0, last])
    for vertex in reversed(range(1, last)):
        fed = [channels[w] for w in range(vertex + 1, last) if cell.adjacency[vertex, w]]
        channels[vertex] = max([1.0 / feeding] if cell.adjacency[vertex, last] else fed)
        weight, fixed = {CONV3: (9.0, 0.02), CONV1: (1.0, 0.02), POOL: (0.02, 0.05)}[cell.operations[vertex]]
        total += weight * channels[vertex] ** 2 + fixed + channels[vertex] * float(cell.adjacency[0, vertex])
    return total


def paths(cell: Architecture) -> list[tuple[str, ...]]:
    """The operations along each path from input to output."""
    found: list[list[tuple[str, ...]]] = [[] for _ in cell.operations]
    found[-1] = [()]
    for source in reversed(range(len(cell) - 1)):
        for target in np.flatnonzero(cell.adjacency[source]):
            own = () if target == len(cell) - 1 else (cell.operations[target],)
            found[source] += [(*own, *rest) for rest in found[int(target)]]
    return found[0]


def saturating(cell: Architecture) -> float:
    """Depth and width that help less and less, a bonus for a shortcut, pairs that fit, cost and some roughness."""
    ways = paths(cell)
    strength = {CONV3: 1.0, CONV1: 0.55, POOL: 0.3}
    depth = max(sum(strength[name] for name in way) for way in ways)
    fit = sum(0.25 * (uniform("pair", a, b) - 0.5) for way in ways for a, b in pairwise(way))
    good = 1.6 * (1 - math.exp(-depth / 1.5)) + 0.35 * math.log(len(ways)) + 0.25 * (() in ways) + fit / len(ways)
    return 3.2 - good + 0.12 * cost(cell) + 0.08 * uniform("rough", "saturating", str(cell))


def epistatic(cell: Architecture) -> float:
    """Every run of three along a path, and every whole path, counts by a random table; a cost of six is best."""
    ways = paths(cell)
    score = 0.0
    for way in ways:
        stops = (INPUT, *way, OUTPUT)
        score += sum(uniform("three", *run) - 0.5 for run in zip(stops, stops[1:], stops[2:], strict=False))
        score += 0.5 * (uniform("path", *stops) - 0.5)
    depth = min(3, max(len(way) for way in ways))
    return (
        2.0
        - score / math.sqrt(len(ways))
        - 0.2 * depth
        + 0.075 * abs(cost(cell) - 6.0)
        + 0.1 * uniform("rough", "epistatic", str(cell))
    )


LANDSCAPES = {"saturating": saturating, "epistatic": epistatic}


@cache
def canonical_text(cell_bytes: bytes, operations: tuple[str, ...]) -> str:
    """The canonical form of a cell; the same cells come up again and again."""
    size = len(operations)
    return str(Architecture(np.frombuffer(cell_bytes, dtype=np.int8).reshape(size, size), operations).canonical())


@cache
def loss_of(landscape: str, text: str) -> float:
    """The landscape's loss of a canonical cell."""
    return LANDSCAPES[landscape](Architecture.parse(text))
