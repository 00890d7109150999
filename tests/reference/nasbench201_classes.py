"""NAS-Bench-201's own rule for equal cells: a string per node, built from the strings of its sources.

Node 0 is ``0``. An edge gives ``#`` if it carries nothing, its source's string if it skips, else
``(source)@operation``. A node is its sorted terms joined by ``+``; the last node's string names the class.
"""

from __future__ import annotations

from collections.abc import Sequence

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


def class_string(operations: Sequence[str]) -> str:
    """The class of a cell given by its operations on :data:`EDGES`."""
    nodes = ["0"]
    for target in (1, 2, 3):
        terms = []
        for (source, end), operation in zip(EDGES, operations, strict=True):
            if end == target:
                terms.append(edge_string(nodes[source], operation))
        nodes.append("+".join(sorted(terms)))
    return nodes[3]


def edge_string(source: str, operation: str) -> str:
    """What one edge adds to its target's string."""
    if operation == "none" or source == "#":
        return "#"
    if operation == "skip_connect":
        return source
    return f"({source})@{operation}"


def is_connected(operations: Sequence[str]) -> bool:
    """Whether any operation leads from node 0 to node 3."""
    reached = {0}
    for (source, target), operation in sorted(zip(EDGES, operations, strict=True)):
        if source in reached and operation != "none":
            reached.add(target)
    return 3 in reached
