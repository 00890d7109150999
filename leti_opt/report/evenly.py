"""Some of many, from the first to the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def evenly_spread(items: Sequence[Item], count: int) -> list[Item]:
    """So many of some items in their order, the first and the last included; all of them if there are no more.

    Args:
        items: in order.
        count: 2 or more.

    >>> evenly_spread("abcdefg", 3), evenly_spread("ab", 3)
    (['a', 'd', 'g'], ['a', 'b'])
    """
    if len(items) <= count:
        return list(items)
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]
