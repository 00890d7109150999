"""Operations of the spaces, and a space that is small enough to list."""

from __future__ import annotations

from leti_opt.architecture import NAS_BENCH_101_LABELS
from leti_opt.search_space.definition import NAS_BENCH_201, SpaceDefinition

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
NONE, SKIP, EDGE_CONV1, EDGE_CONV3, AVERAGE = NAS_BENCH_201.operations
# Every edge carries something; no operation stands for its absence.
ALWAYS_ON = SpaceDefinition("on", ("a", "b"), max_vertices=3, operation_on="edge")
