"""The spaces that have a name, as they are or with other limits or operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.search_space.definition import NAS_BENCH_101, NAS_BENCH_201, SpaceDefinition

_SPACES = {space.name: space for space in (NAS_BENCH_101, NAS_BENCH_201)}


def named_space(
    name: str, max_vertices: int | None = None, max_edges: int | None = None, operations: Sequence[str] | None = None
) -> SpaceDefinition:
    """A space by its name.

    Args:
        name: ``nasbench101`` or ``nasbench201``.
        max_vertices, max_edges, operations: in place of its own; None for these.

    Raises:
        InvalidInputError: there is no such space.
        InvalidDefinitionError: no cell could satisfy the limits.

    >>> named_space("nasbench101", max_vertices=5).max_vertices
    5
    """
    if name not in _SPACES:
        raise InvalidInputError(f"unknown space {name!r}; {did_you_mean(name, _SPACES)}")
    given = {
        "max_vertices": max_vertices,
        "max_edges": max_edges,
        "operations": None if operations is None else tuple(operations),
    }
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    return replace(_SPACES[name], **changes) if changes else _SPACES[name]
