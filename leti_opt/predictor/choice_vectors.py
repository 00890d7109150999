"""Vectors of networks that are made of blocks, each of which is one of some choices: ProxylessNAS, FBNet, your own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from leti_opt.errors import InvalidInputError
from leti_opt.predictor.vectors import Vectors, beside

BLOCK, STAGE, TOTAL = "block", "stage", "total"
"""Groups of features: what each block is, how many of a stage are what, how many of all are what."""


def one_hot_choices(choices: ArrayLike, options: int | Sequence[str], stages: Sequence[int] | None = None) -> Vectors:
    """What each block is, and how often each choice occurs.

    A sum over the first is a lookup table of blocks; blocks of the same shape cost the same, so that their counts need
    fewer measured networks to learn from. A predictor finds out which it can rely on.

    Args:
        choices: positions among the options, ``(networks, blocks)``.
        options: how many there are, or their names.
        stages: how many blocks each stage has, in order; blocks of a stage are alike. None for no stages.

    Raises:
        InvalidInputError: choices are no whole numbers or there is no such option, or stages have another number of
            blocks.

    >>> vectors = one_hot_choices([[0, 1, 1]], ("skip", "conv"), stages=(1, 2))
    >>> [name for name, value in zip(vectors.names, vectors.values[0], strict=True) if value]
    ['block/0=skip', 'block/1=conv', 'block/2=conv', 'stage/0:skip', 'stage/1:conv', 'total/skip', 'total/conv']
    """
    names = tuple(map(str, range(options))) if isinstance(options, int) else tuple(options)
    chosen = np.asarray(choices)
    if chosen.ndim != 2 or not chosen.size or chosen.dtype.kind not in "iu":
        raise InvalidInputError(
            f"choices are whole numbers of shape (networks, blocks), not {chosen.dtype} of shape {chosen.shape}"
        )
    if not 0 <= chosen.min() <= chosen.max() < len(names):
        wrong = chosen.max() if chosen.max() >= len(names) else chosen.min()
        raise InvalidInputError(f"choices are positions 0 to {len(names) - 1} of {', '.join(names)}, not {wrong}")
    present = chosen[:, :, np.newaxis] == np.arange(len(names))
    blocks = [f"{block}={name}" for block in range(chosen.shape[1]) for name in names]
    parts = [Vectors.group(BLOCK, blocks, present.reshape(len(chosen), -1))]
    if stages is not None:
        if sum(stages) != chosen.shape[1] or min(stages) < 1:
            raise InvalidInputError(
                f"stages of {tuple(stages)} blocks for {chosen.shape[1]} blocks; give each block its stage"
            )
        counts = np.add.reduceat(present.astype(np.int64), np.cumsum([0, *stages[:-1]]), axis=1)
        members = [f"{stage}:{name}" for stage in range(len(stages)) for name in names]
        parts.append(Vectors.group(STAGE, members, counts.reshape(len(chosen), -1)))
    parts.append(Vectors.group(TOTAL, names, present.sum(axis=1)))
    return beside(*parts)
