"""The layers of many networks at once, as columns: a slot holds one layer of each network, or none.

A network's layers stand in the slots in the order in which ``assembly`` appends them, and repeats are told as
``operator_plan.first_of_repeats`` does. A *value* says where a layer's result is: ``slot * rows + row``, so that an
array over all slots and rows can be looked up with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.layer_graph import LayerKind

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]
Codes = NDArray[np.int16]
Key = tuple[Integers, ...]

ABSENT = -1
_MOST_CODES = 2**15
_REPEATABLE = frozenset({LayerKind.RELU, LayerKind.MAX_POOL, LayerKind.AVERAGE_POOL, LayerKind.SLICE_CHANNELS})


@dataclass(frozen=True, slots=True)
class StepKind:
    """What is left of a layer without shapes: equal ones without weights, with the same inputs, are repeats.

    Args:
        kind: what it computes.
        kernel_size: side of its window; 0 for kinds without one.
        stride: step of the window.
        use_bias: whether a convolution or dense layer has a bias.
    """

    kind: LayerKind
    kernel_size: int = 0
    stride: int = 1
    use_bias: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """A value that some of the rows read."""

    rows: Mask
    values: Integers


@dataclass(frozen=True, slots=True)
class Slot:
    """One layer of each network.

    Args:
        codes: its step kind, for each row or for all.
        own: rows that have this layer and no earlier one that computes the same.
        terms: what it reads, in order.
        size: elements of its result for one image, for each row or for all.
    """

    codes: Codes | int
    own: Mask
    terms: tuple[Term, ...]
    size: Integers | int

    def term_counts(self) -> Integers | int:
        """How many terms each row reads; exact beyond one."""
        return len(self.terms) if len(self.terms) < 3 else _count(self.terms)


class LayerColumns:
    """Slots under construction.

    Repeats are looked for within a segment (the stem, a cell, a reduction block). All layers of a segment lead to its
    result, so none of them reads that result, and what follows reads nothing else of the segment.

    Args:
        rows: how many networks.
        input_size: elements of one input image.
        with_repeats: keep layers that compute again what an earlier one has, too.
    """

    def __init__(self, rows: int, input_size: int, with_repeats: bool = False) -> None:
        self.rows = rows
        self.with_repeats = with_repeats
        self.kinds: list[StepKind] = []
        self.everywhere: Mask = np.ones(rows, dtype=np.bool_)
        self.input: Integers = np.arange(rows)
        self.slots = [Slot(self.code(LayerKind.INPUT), self.everywhere, (), input_size)]
        self.new_segment()

    def new_segment(self) -> None:
        """Forget what can be repeated: the layers to come read the last result only."""
        self._known_steps = _Known()
        self._known_sums = _Known()

    def code(self, kind: LayerKind, kernel_size: int = 0, stride: int = 1, use_bias: bool = False) -> int:
        """The number that stands for a step kind."""
        step = StepKind(kind, kernel_size, stride, use_bias)
        if step not in self.kinds:
            self.kinds.append(step)
        return self.kinds.index(step)

    def codes_of(self, kinds: Collection[LayerKind]) -> Mask:
        """For each code whether it stands for one of these kinds."""
        return np.array([step.kind in kinds for step in self.kinds])

    def step(self, codes: Codes | int, source: Term, size: Integers | int) -> Integers:
        """A layer with one input in the source's rows, where its code is not ABSENT; elsewhere its input stands."""
        present = source.rows & (np.asarray(codes) != ABSENT)
        if not present.any():
            return source.values
        repeatable = self.codes_of(_REPEATABLE)[codes] & present
        result = here = self._here()
        if repeatable.any() and not self.with_repeats:
            result = self._known_steps.first(repeatable, (source.values * _MOST_CODES + codes,), here)
        self._append(codes, present & (result == here), (source,), size)
        return np.where(present, result, source.values)

    def concatenate(self, terms: Sequence[Term], size: int) -> Integers:
        """One term after another along the channels; a single one stands for itself."""
        joined = _count(terms) > 1
        here = self._here()
        self._append(self.code(LayerKind.CONCATENATE), joined, tuple(terms), size)
        return np.where(joined, here, _first(terms))

    def sum(self, terms: Sequence[Term], size: Integers | int) -> Integers:
        """The sum of all terms by one layer; a single term stands for itself."""
        added = _count(terms) > 1
        if not added.any():
            return _first(terms)
        result = here = self._here()
        if not self.with_repeats:
            result = self._known_sums.first(added, read_in_order(terms), here)
        self._append(self.code(LayerKind.ADD), added & (result == here), tuple(terms), size)
        return np.where(added, result, _first(terms))

    def chained_sum(self, terms: Sequence[Term], size: Integers | int) -> Integers:
        """The sum of all terms, two at a time; a single term stands for itself."""
        total = terms[0]
        for term in terms[1:]:
            total = Term(total.rows | term.rows, self.sum([total, term], size))
        return total.values

    def _here(self) -> Integers:
        return self.input + len(self.slots) * self.rows

    def _append(self, codes: Codes | int, own: Mask, terms: tuple[Term, ...], size: Integers | int) -> None:
        if own.any():
            self.slots.append(Slot(codes, own, terms, size))


class _Known:
    """What was computed so far: keys, each with the value that first had it."""

    def __init__(self) -> None:
        self._entries: list[tuple[Mask, Key, Integers]] = []

    def first(self, rows: Mask, key: Key, here: Integers) -> Integers:
        """For each of the rows the value that first had its key: ``here``, if none had."""
        result = here
        for known_rows, known_key, known_values in self._entries:
            same = _equal(known_key, key)
            same &= known_rows
            same &= rows
            if same.any():
                result = np.where(same, known_values, result)
        self._entries.append((rows & (result == here), key, here))
        return result


def _equal(one: Key, other: Key) -> Mask:
    """Rows in which two keys agree; what the longer one has more must be absent."""
    equal: Mask = one[0] == other[0]
    for number in range(1, max(len(one), len(other))):
        lines = [key[number] if number < len(key) else ABSENT for key in (one, other)]
        equal &= lines[0] == lines[1]
    return equal


def _count(terms: Sequence[Term]) -> Integers:
    counts: Integers = np.sum([term.rows for term in terms], axis=0, dtype=np.int64)
    return counts


def _first(terms: Sequence[Term]) -> Integers:
    """Each row's first term."""
    value = terms[-1].values
    for term in reversed(terms):
        value = np.where(term.rows, term.values, value)
    return value


def read_in_order(terms: Sequence[Term]) -> Key:
    """Each row's first term, its second and so on; ABSENT at the end."""
    if len(terms) == 2:
        return terms[0].values, terms[1].values
    values = np.array([np.where(term.rows, term.values, ABSENT) for term in terms])
    order = np.argsort(values == ABSENT, axis=0, kind="stable")
    return tuple(np.take_along_axis(values, order, axis=0))
