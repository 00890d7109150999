"""Vectors of FBNet's networks (Wu et al., 2019, table 1), in the form in which HELP publishes their latencies.

A network is 22 blocks in stages of 1, 4, 4, 4, 4, 4 and 1. Each is one of nine: inverted bottlenecks with kernel k,
expansion e and, for g2, two groups, or a skip. HELP (``HayeonLee/HELP``) numbers them in the order of ``CHOICES``.
"""

from __future__ import annotations

from collections.abc import Sequence

from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.predictor.choice_vectors import one_hot_choices
from leti_opt.predictor.vectors import Vectors

CHOICES = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
STAGES = (1, 4, 4, 4, 4, 4, 1)


def fbnet_vectors(networks: Sequence[str]) -> Vectors:
    """What each block is, and how often each choice occurs in each stage and in all.

    Args:
        networks: the choices' names in order, joined by ``|``. Positions go into
            :func:`~leti_opt.predictor.choice_vectors.one_hot_choices`, with ``CHOICES`` and ``STAGES``.

    Raises:
        InvalidInputError: there is no such choice, or a network has another number of blocks.

    >>> fbnet_vectors(["|".join(["skip"] * 21 + ["k3_e6"])]).names[-3:]
    ('total/k5_e3', 'total/k5_e6', 'total/skip')
    """
    rows = []
    for row, network in enumerate(networks):
        names = str(network).split("|")
        unknown = next((name for name in names if name not in CHOICES), None)
        if unknown is not None:
            raise InvalidInputError(f"network {row} has a block {unknown!r}; {did_you_mean(unknown, CHOICES)}")
        if len(names) != sum(STAGES):
            raise InvalidInputError(f"network {row} has {len(names)} blocks; FBNet's have {sum(STAGES)}")
        rows.append([CHOICES.index(name) for name in names])
    return one_hot_choices(rows, CHOICES, STAGES)
