"""Networks as vectors of features: what a predictor is asked about where a search space has no cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.errors import InvalidInputError

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Vectors:
    """Features of some networks, one network a row.

    Args:
        values: finite numbers, ``(networks, features)``.
        names: of the columns, each once. ``group/feature`` puts a feature into a group; features of one group are
            thought to matter equally much, and a predictor learns how much.

    Raises:
        InvalidInputError: there is no network or no feature, a number is not finite, or names do not fit.

    >>> vectors = Vectors([[3, 224], [5, 192]], ("kernel size", "resolution"))
    >>> len(vectors), vectors.take([1]).values.tolist(), vectors.groups
    (2, [[5.0, 192.0]], {'': [0, 1]})
    """

    values: Floats
    names: tuple[str, ...]

    @classmethod
    def group(cls, group: str, names: Sequence[str], values: ArrayLike) -> Vectors:
        """Features of one group.

        >>> Vectors.group("count", ("skip", "conv"), [[1, 2]]).names
        ('count/skip', 'count/conv')
        """
        return cls(np.asarray(values, dtype=np.float64), tuple(f"{group}/{name}" for name in names))

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _checked(self.values))
        object.__setattr__(self, "names", tuple(self.names))
        if len(self.names) != self.values.shape[1] or len(set(self.names)) != len(self.names):
            raise InvalidInputError(
                f"{len(set(self.names))} different names for {self.values.shape[1]} features; give each its own"
            )

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.values)

    def take(self, rows: ArrayLike) -> Vectors:
        """Some of the networks, by positions or a mask."""
        return Vectors(self.values[np.asarray(rows)], self.names)

    @property
    def groups(self) -> dict[str, list[int]]:
        """Columns of each group, in the order of their first one."""
        return groups_of(self.names)


VectorRows = Vectors | ArrayLike
"""What predictors of vectors take; columns of a bare array are named by their position."""


def groups_of(names: tuple[str, ...]) -> dict[str, list[int]]:
    """Positions of names by what stands before their first slash; all without one are a group too.

    >>> groups_of(("count/skip", "resolution", "count/conv"))
    {'count': [0, 2], '': [1]}
    """
    found: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        group, slash, _ = name.partition("/")
        found.setdefault(group if slash else "", []).append(place)
    return found


def vectors_of(rows: VectorRows) -> Vectors:
    """What was handed to a predictor, as vectors.

    Raises:
        InvalidInputError: it is nothing of the kind, or empty.
    """
    if isinstance(rows, Vectors):
        return rows
    values = _checked(rows)
    return Vectors(values, tuple(f"feature_{place}" for place in range(values.shape[1])))


def beside(*parts: Vectors) -> Vectors:
    """Several features of the same networks, one after the other.

    Raises:
        InvalidInputError: they are of different numbers of networks, or share a name.

    >>> beside(Vectors([[1.0]], ("one",)), Vectors([[2.0]], ("other",))).names
    ('one', 'other')
    """
    if len({len(part) for part in parts}) != 1:
        raise InvalidInputError(f"features of {[len(part) for part in parts]} networks; give all of the same ones")
    return Vectors(np.hstack([part.values for part in parts]), tuple(name for part in parts for name in part.names))


def _checked(values: Any) -> Floats:
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"vectors hold something else than numbers: {error}") from error
    if numbers.ndim != 2 or not numbers.size:
        raise InvalidInputError(
            f"vectors have the shape {numbers.shape}; give one row a network, one column a feature, and one network "
            "at least"
        )
    if not np.isfinite(numbers).all():
        row, column = np.argwhere(~np.isfinite(numbers))[0].tolist()
        raise InvalidInputError(f"feature {column} of row {row} is {numbers[row, column]}; leave out such networks")
    return numbers
