"""NAS-Bench-101's graph hash, written out step by step from its published definition."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

Matrix = Sequence[Sequence[int]]

INPUT_LABEL = -1
OUTPUT_LABEL = -2


def graph_hash(matrix: Matrix, labels: Sequence[int]) -> str:
    """Hash a pruned cell; ``labels`` has -1 first, -2 last and list positions between."""
    vertices = range(len(matrix))
    before = []
    for v in vertices:
        out_degree = sum(int(matrix[v][w]) for w in vertices)
        in_degree = sum(int(matrix[u][v]) for u in vertices)
        before.append(md5(str((out_degree, in_degree, int(labels[v])))))
    for _ in vertices:
        after = []
        for v in vertices:
            incoming = sorted(before[u] for u in vertices if matrix[u][v])
            outgoing = sorted(before[w] for w in vertices if matrix[v][w])
            after.append(md5("".join(incoming) + "|" + "".join(outgoing) + "|" + before[v]))
        before = after
    return md5(str(sorted(before)))


def prune(matrix: Matrix, labels: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Drop vertices, one after the other, that nothing enters or nothing leaves."""
    kept = list(range(len(matrix)))
    while True:
        useless = [v for v in kept[1:-1] if not any(matrix[u][v] for u in kept) or not any(matrix[v][w] for w in kept)]
        if not useless:
            return [[int(matrix[x][y]) for y in kept] for x in kept], [int(labels[v]) for v in kept]
        kept = [v for v in kept if v not in useless]


def md5(text: str) -> str:
    """Hexadecimal MD5 of a text."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
