"""What the networks of many cells consist of: how often each has which block, with no network built by itself.

A block is an operator of the network's file, or a layer of its Keras model. ``operator_plan`` and ``blocks`` say the
same of one network; tests compare row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.table_assembly import assemble
from leti_opt.network.table_cost import check_fits, chunks, parts
from leti_opt.network.table_layers import ABSENT, Integers, LayerColumns, Mask, Slot, StepKind, read_in_order
from leti_opt.network.table_liveness import plan_operators

Counts = NDArray[np.uint16]

_MOST_GROUPS = 2**62


@dataclass(frozen=True, slots=True)
class NetworkBlock:
    """An operator or a layer with its shapes, wherever it stands: equal ones are equal work.

    Args:
        step: what it computes first.
        folded: whether batch norms are folded into it.
        relu: whether a ReLU is fused into it.
        image: height and width of what it reads; empty for vectors.
        reads: channels of each thing that it reads.
        same: for each of these the first that is the same tensor.
        channels: of its result.
    """

    step: StepKind
    folded: bool
    relu: bool
    image: tuple[int, ...]
    reads: tuple[int, ...]
    same: tuple[int, ...]
    channels: int

    @property
    def sources(self) -> int:
        """How many different tensors it reads."""
        return len(set(self.same))

    def alone(self, config: NetworkConfig) -> LayerGraph:
        """A network that ends with this block; where it reads several tensors, convolutions come first and make them.

        Args:
            config: whose batch and precision to take.
        """
        image = tuple(self.image)
        if len(self.reads) == 1:
            layers = [Layer("input", LayerKind.INPUT, (), (*image, self.reads[0]))]
            sources: tuple[int, ...] = (0,)
        else:
            layers = [Layer("input", LayerKind.INPUT, (), (*image, 1))]
            made = {first: place for place, first in enumerate(sorted(set(self.same)), start=1)}
            layers += [
                Layer(f"source{place}", LayerKind.CONV, (0,), (*image, self.reads[first]), 1)
                for first, place in made.items()
            ]
            sources = tuple(made[first] for first in self.same)
        step, shape = self.step, (*image_after(self.step, self.image), self.channels)
        layers.append(Layer("block", step.kind, sources, shape, step.kernel_size, step.stride, step.use_bias))
        for kind, follows in ((LayerKind.BATCH_NORM, self.folded), (LayerKind.RELU, self.relu)):
            if follows:
                layers.append(Layer(f"block_{kind}", kind, (len(layers) - 1,), shape))
        return LayerGraph(tuple(layers), config.batch_size, config.precision)


@dataclass(frozen=True, eq=False)
class BlockCounts:
    """What the networks of a table consist of.

    Args:
        blocks: every one that occurs.
        counts: how often each row's network has each, ``(rows, blocks)``.
        input_reads: how many blocks of each row's network read the network's own input.
    """

    blocks: tuple[NetworkBlock, ...]
    counts: Counts
    input_reads: Integers


def image_after(step: StepKind, image: tuple[int, ...]) -> tuple[int, ...]:
    """Height and width of a step's result; empty once there is no image any more."""
    if step.kind in (LayerKind.GLOBAL_AVERAGE_POOL, LayerKind.DENSE):
        return ()
    return tuple(-(-side // step.stride) for side in image)


def count_operators(table: ArchitectureTable, config: NetworkConfig) -> BlockCounts:
    """The operators of each row's file, as the direct writer writes it.

    Raises:
        InvalidConfigError: the config does not fit a row.
        UnknownOperationError: an operation that the config does not know.

    >>> from leti_opt.architecture import Architecture
    >>> cells = [Architecture.parse(f"0-1,1-2:{name}") for name in ("maxpool3x3", "conv1x1-bn-relu")]
    >>> config = NetworkConfig(scope="cell", filters=8)
    >>> found = count_operators(ArchitectureTable.from_architectures(cells), config)
    >>> [block.step.kind.value for block in found.blocks], found.counts.tolist()
    (['conv', 'max_pool'], [[1, 1], [2, 0]])
    """
    return _count(table, config, as_layers=False)


def count_layers(table: ArchitectureTable, config: NetworkConfig) -> BlockCounts:
    """The layers of each row's Keras model.

    Raises:
        as :func:`count_operators`.
    """
    return _count(table, config, as_layers=True)


def _count(table: ArchitectureTable, config: NetworkConfig, as_layers: bool) -> BlockCounts:
    check_fits(table, config)
    tally = _Tally(len(table))
    for rows, group in chunks(table):
        done = 0
        for part in parts(group, config):
            own = rows[done : done + len(part.rows)]
            done += len(own)
            layers = assemble(part, table.labels, config, with_repeats=as_layers)
            for found in _Blocks(layers, config, as_layers).each():
                tally.add(own, found)
    blocks = tuple(tally.counts)
    counts = np.stack([*tally.counts.values()], axis=1) if blocks else np.zeros((len(table), 0), np.uint16)
    return BlockCounts(blocks, counts, tally.input_reads)


@dataclass(frozen=True, slots=True)
class _Found:
    """Equal blocks of some rows: which rows, and how often each of them reads the network's input."""

    block: NetworkBlock
    rows: Integers
    input_reads: int


class _Tally:
    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.counts: dict[NetworkBlock, Counts] = {}
        self.input_reads: Integers = np.zeros(rows, dtype=np.int64)

    def add(self, own: Integers, found: _Found) -> None:
        if found.block not in self.counts:
            self.counts[found.block] = np.zeros(self.rows, dtype=np.uint16)
        rows = own[found.rows]
        self.counts[found.block][rows] += np.uint16(1)
        self.input_reads[rows] += found.input_reads


class _Blocks:
    """The blocks of laid-out networks, slot by slot."""

    def __init__(self, layers: LayerColumns, config: NetworkConfig, as_layers: bool) -> None:
        self.layers = layers
        shape = len(layers.slots), layers.rows
        self.images = self.images_of_slots(config)
        self.channels: Integers = np.empty(shape, dtype=np.int64)
        for number, slot in enumerate(layers.slots):
            self.channels[number] = slot.size // math.prod(self.images[number])
        self.folded, self.relu = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
        if as_layers:
            self.leads = np.array([slot.own for slot in layers.slots])
            self.tensors = np.arange(shape[0] * shape[1]).reshape(shape)
        else:
            operators = plan_operators(layers)
            self.leads, self.tensors = operators.leads, operators.tensors
            self.mark_fused()

    def images_of_slots(self, config: NetworkConfig) -> list[tuple[int, ...]]:
        """Height and width of each slot's results, which are the same in all rows."""
        images: list[tuple[int, ...]] = [config.input_shape[:2]]
        for slot in self.layers.slots[1:]:
            row = int(slot.own.argmax())
            images.append(image_after(self.step_of(slot, row), self.image_read(slot, row, images)))
        return images

    def image_read(self, slot: Slot, row: int, images: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        source = next(int(term.values[row]) for term in slot.terms if term.rows[row])
        return images[source // self.layers.rows]

    def step_of(self, slot: Slot, row: int) -> StepKind:
        return self.layers.kinds[int(slot.codes if isinstance(slot.codes, int) else slot.codes[row])]

    def mark_fused(self) -> None:
        """Say of each operator what is fused into it."""
        batch_norm = self.layers.codes_of({LayerKind.BATCH_NORM})
        for number, slot in enumerate(self.layers.slots):
            fused = slot.own & ~self.leads[number]
            if fused.any():
                norms = np.broadcast_to(batch_norm[slot.codes], fused.shape)
                self.folded.flat[self.tensors[number][fused & norms]] = True
                self.relu.flat[self.tensors[number][fused & ~norms]] = True

    def each(self) -> list[_Found]:
        return [
            found
            for number in range(1, len(self.layers.slots))
            if self.leads[number].any()
            for found in self.of(number)
        ]

    def of(self, number: int) -> list[_Found]:
        """The different blocks of one slot."""
        slot = self.layers.slots[number]
        rows = np.flatnonzero(self.leads[number])
        reads, same, from_input = self.read(slot, rows)
        codes = np.broadcast_to(np.asarray(slot.codes, dtype=np.int64), self.layers.rows)[rows]
        own = [codes, self.folded[number, rows], self.relu[number, rows], self.channels[number, rows], from_input]
        columns = np.array([*own, *reads, *same], dtype=np.int64)
        first, member = _groups(columns)
        image = self.image_read(slot, int(rows[0]), self.images)
        found = []
        for group, (place, values) in enumerate(zip(first, columns[:, first].T.tolist(), strict=True)):
            _, folded, relu, channels, input_reads, *terms = values
            present = [term for term in range(len(reads)) if terms[term] != ABSENT]
            block = NetworkBlock(
                self.step_of(slot, int(rows[place])),
                bool(folded),
                bool(relu),
                image,
                tuple(terms[term] for term in present),
                tuple(terms[len(reads) + term] for term in present),
                channels,
            )
            found.append(_Found(block, rows[member == group], input_reads))
        return found

    def read(self, slot: Slot, rows: Integers) -> tuple[list[Integers], list[Integers], Integers]:
        """Of each thing that is read its channels and the first that is the same tensor; how many are the input."""
        if len(slot.terms) == 1:
            values = [slot.terms[0].values[rows]]
        else:
            values = [line[rows] for line in read_in_order(slot.terms)]
        tensors = [np.where(line == ABSENT, ABSENT, self.tensors.take(line)) for line in values]
        reads = [np.where(line == ABSENT, ABSENT, self.channels.take(line)) for line in values]
        same = [np.where(line == ABSENT, ABSENT, place) for place, line in enumerate(values)]
        from_input: Integers = np.zeros(len(rows), dtype=np.int64)
        for place, line in enumerate(tensors):
            new: Mask = line != ABSENT
            for earlier in range(place - 1, -1, -1):
                repeated = (line == tensors[earlier]) & (line != ABSENT)
                same[place] = np.where(repeated, same[earlier], same[place])
                new &= ~repeated
            from_input += new & (line < self.layers.rows)
        return reads, same, from_input


def _groups(columns: Integers) -> tuple[Integers, NDArray[np.intp]]:
    """Where each different column stands first, and for each column which of these it is."""
    lines = columns - columns.min(axis=1, keepdims=True)
    sizes = lines.max(axis=1) + 1
    keys, groups = lines[0], int(sizes[0])
    for line, size in zip(lines[1:], sizes[1:].tolist(), strict=True):
        if groups * size > _MOST_GROUPS:
            different, keys = np.unique(keys, return_inverse=True)
            groups = len(different)
        keys, groups = keys * size + line, groups * size
    _, first, member = np.unique(keys, return_index=True, return_inverse=True)
    return first, member
