"""A network as a plain list of layers, and what can be counted on it.

The references of the two benchmarks' networks write into a :class:`Listing`; tests compare it with a layer graph.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from math import ceil

Shape = tuple[int, ...]
Row = tuple[str, int, int, Shape]


@dataclass(frozen=True)
class ListedLayer:
    """One layer: what it computes, what it reads, what it makes, what it can learn."""

    kind: str
    kernel: int
    stride: int
    inputs: tuple[int, ...]
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    parameters: int
    macs: int


@dataclass
class Listing:
    """Layers in an order of execution. Every method adds one or more and returns the position of the last."""

    chained_adds: bool = True
    layers: list[ListedLayer] = field(default_factory=list)

    def input(self, shape: Shape) -> int:
        return self._append("input", (), shape)

    def conv(self, source: int, channels: int, kernel: int, stride: int = 1) -> int:
        """A convolution without bias; only the stride shrinks the image."""
        height, width, depth = self.shape(source)
        weights = kernel * kernel * depth * channels
        shape = (ceil(height / stride), ceil(width / stride), channels)
        return self._append("conv", (source,), shape, kernel, stride, weights, weights * shape[0] * shape[1])

    def batch_norm(self, source: int) -> int:
        """Scale and shift are trainable; the moving statistics are not."""
        shape = self.shape(source)
        return self._append("batch_norm", (source,), shape, parameters=2 * shape[-1])

    def relu(self, source: int) -> int:
        return self._append("relu", (source,), self.shape(source))

    def conv_bn_relu(self, source: int, channels: int, kernel: int) -> int:
        return self.relu(self.batch_norm(self.conv(source, channels, kernel)))

    def relu_conv_bn(self, source: int, channels: int, kernel: int, stride: int = 1) -> int:
        return self.batch_norm(self.conv(self.relu(source), channels, kernel, stride))

    def pool(self, kind: str, source: int, kernel: int, stride: int) -> int:
        height, width, channels = self.shape(source)
        return self._append(kind, (source,), (ceil(height / stride), ceil(width / stride), channels), kernel, stride)

    def cut(self, source: int, channels: int) -> int:
        """Keep the first channels; nothing happens if all are kept."""
        height, width, given = self.shape(source)
        if given < channels:
            raise AssertionError(f"cannot cut {given} channels to {channels}")
        return source if given == channels else self._append("slice_channels", (source,), (height, width, channels))

    def sum(self, sources: list[int]) -> int:
        """One addition of all, or one after the other; nothing for a single tensor."""
        if len({self.shape(source) for source in sources}) != 1:
            raise AssertionError("only tensors of one shape can be added")
        if len(sources) > 1 and not self.chained_adds:
            return self._append("add", tuple(sources), self.shape(sources[0]))
        total = sources[0]
        for source in sources[1:]:
            total = self._append("add", (total, source), self.shape(total))
        return total

    def concatenate(self, sources: list[int]) -> int:
        """Along the channels; nothing for a single tensor."""
        if len(sources) == 1:
            return sources[0]
        height, width, _ = self.shape(sources[0])
        channels = sum(self.shape(source)[-1] for source in sources)
        return self._append("concatenate", tuple(sources), (height, width, channels))

    def global_average_pool(self, source: int) -> int:
        return self._append("global_average_pool", (source,), self.shape(source)[-1:])

    def dense(self, source: int, units: int) -> int:
        """With a bias."""
        weights = self.shape(source)[0] * units
        return self._append("dense", (source,), (units,), parameters=weights + units, macs=weights)

    def shape(self, position: int) -> Shape:
        return self.layers[position].output_shape

    def count(self, kind: str) -> int:
        return sum(layer.kind == kind for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Trainable ones."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate of convolutions and dense layers; biases do not count."""
        return 2 * sum(layer.macs for layer in self.layers)

    def rows(self) -> Counter[Row]:
        """How often each (kind, kernel, stride, output shape) occurs."""
        return Counter((layer.kind, layer.kernel, layer.stride, layer.output_shape) for layer in self.layers)

    def _append(
        self,
        kind: str,
        inputs: tuple[int, ...],
        shape: Shape,
        kernel: int = 0,
        stride: int = 1,
        parameters: int = 0,
        macs: int = 0,
    ) -> int:
        shapes = tuple(self.shape(source) for source in inputs)
        self.layers.append(ListedLayer(kind, kernel, stride, inputs, shapes, shape, parameters, macs))
        return len(self.layers) - 1


def computation(rows: list[tuple[Row, tuple[int, ...]]]) -> str:
    """A digest of what the last layer computes, whatever the order of layers and of the terms of sums.

    Each layer is told apart by its row and by what its inputs compute. Additions are flattened, so a chain of two-input
    ones, one of many inputs and any order of terms are the same. Concatenations keep their order.
    """
    names: list[str] = []
    terms: list[list[str]] = []
    for row, inputs in rows:
        if row[0] == "add":
            flat = sorted(term for source in inputs for term in terms[source])
            names.append(_digest(("add", row[3], flat)))
            terms.append(flat)
        else:
            names.append(_digest((row, [names[source] for source in inputs])))
            terms.append([names[-1]])
    return names[-1]


def _digest(content: object) -> str:
    return sha256(repr(content).encode()).hexdigest()
