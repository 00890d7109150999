"""The operators of many networks at once, and the largest sum of live activation tensors.

``operator_plan.plan_operators`` is the reference of what is fused, ``cost.network_cost`` of what is alive; tests
compare row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.table_layers import Integers, LayerColumns

_CLOSED, _TAKES_RELU, _TAKES_BATCH_NORM = range(3)
_MOST_TERMS = 63 - len(LayerKind)
_STATES = {
    LayerKind.CONV: _TAKES_BATCH_NORM,
    LayerKind.DEPTHWISE_CONV: _TAKES_BATCH_NORM,
    LayerKind.BATCH_NORM: _TAKES_RELU,
    LayerKind.MAX_POOL: _TAKES_RELU,
    LayerKind.AVERAGE_POOL: _TAKES_RELU,
    LayerKind.ADD: _TAKES_RELU,
}


@dataclass(frozen=True)
class OperatorColumns:
    """The operators of many networks.

    Args:
        layers: what was planned.
        leads: for each slot the rows in which its layer becomes an operator; elsewhere it is fused into one, or absent.
        tensors: for each slot the value of the layer that leads the operator whose result holds its own.
    """

    layers: LayerColumns
    leads: NDArray[np.bool_]
    tensors: Integers


def plan_operators(layers: LayerColumns) -> OperatorColumns:
    """Say which layers become operators: batch norms go into convolutions, ReLUs into what they alone read."""
    readers = _count_readers(layers)
    shape = len(layers.slots), layers.rows
    tensors: Integers = np.arange(shape[0] * shape[1], dtype=np.int64).reshape(shape)
    states = np.zeros(shape, dtype=np.int8)
    leads = np.zeros(shape, dtype=np.bool_)
    state_of_code = np.array([_STATES.get(step.kind, _CLOSED) for step in layers.kinds], dtype=np.int8)
    batch_norm, relu = (layers.codes_of({kind}) for kind in (LayerKind.BATCH_NORM, LayerKind.RELU))
    fusible = batch_norm | relu
    for number, slot in enumerate(layers.slots):
        leads[number] = slot.own
        states[number] = state_of_code[slot.codes] * (slot.term_counts() < 3)
        if not fusible[slot.codes].any():
            continue
        batch_norms, relus = slot.own & batch_norm[slot.codes], slot.own & relu[slot.codes]
        source = slot.terms[0].values
        state = states.take(source) * (readers.take(source) == 1)
        folded = batch_norms & (state == _TAKES_BATCH_NORM)
        fused = folded | (relus & (state != _CLOSED))
        states[number][folded] = _TAKES_BATCH_NORM
        tensors[number] = np.where(fused, tensors.take(source), tensors[number])
        leads[number] &= ~fused
    return OperatorColumns(layers, leads, tensors)


def operator_kinds(operators: OperatorColumns) -> NDArray[np.uint64]:
    """For each network a set, as bits, of the kinds of its operators; sums of unlike numbers of terms are unlike kinds.

    Kernels, channels and images are no part of it.
    """
    layers = operators.layers
    found = np.zeros(layers.rows, dtype=np.uint64)
    place = np.array([list(LayerKind).index(step.kind) for step in layers.kinds])
    addition = layers.codes_of({LayerKind.ADD})
    for slot, leads in zip(layers.slots, operators.leads, strict=True):
        sums = len(LayerKind) + np.minimum(slot.term_counts(), _MOST_TERMS)
        bit = np.where(addition[slot.codes], sums, place[slot.codes]).astype(np.uint64)
        found |= np.where(leads, np.uint64(1) << bit, np.uint64(0))
    return found


def peak_elements(operators: OperatorColumns) -> Integers:
    """Largest number of elements that live activation tensors have at once, for one image of each network."""
    layers, leads = operators.layers, operators.leads
    sizes = np.zeros(leads.shape, dtype=np.int64)
    for number, slot in enumerate(layers.slots):
        sizes[number] = slot.size * leads[number]
    freed = _freed_after(operators, sizes)
    batch_norm = layers.codes_of({LayerKind.BATCH_NORM})
    live: Integers = sizes[0].copy()
    peak: Integers = live.copy()
    for number, slot in enumerate(layers.slots[1:], start=1):
        live += sizes[number]
        np.maximum(peak, live, out=peak)
        live -= freed[number]
        if batch_norm[slot.codes].any() and (alone := leads[number] & batch_norm[slot.codes]).any():
            # A multiplication, whose result an addition then reads: two tensors, the first instead of the inputs.
            np.maximum(peak, live + sizes[number], out=peak, where=alone)
    return peak


def _freed_after(operators: OperatorColumns, sizes: Integers) -> Integers:
    """For each slot the elements of the tensors that its operator is the last to read."""
    layers, tensors = operators.layers, operators.tensors
    last_reader = np.zeros(sizes.shape, dtype=np.int64)
    for number, slot in enumerate(layers.slots):
        for term in slot.terms:
            rows = operators.leads[number] & term.rows
            last_reader.flat[tensors.take(term.values[rows])] = number
    freed = np.zeros(sizes.shape, dtype=np.int64)
    # The network's input stays, and so does what nothing reads: its output.
    for number in range(1, len(sizes)):
        freed.ravel()[last_reader[number] * layers.rows + layers.input] += sizes[number] * (last_reader[number] > 0)
    return freed


def _count_readers(layers: LayerColumns) -> NDArray[np.int16]:
    readers = np.zeros(len(layers.slots) * layers.rows, dtype=np.int16)
    for slot in layers.slots:
        for term in slot.terms:
            readers[term.values] += slot.own & term.rows
    return readers
