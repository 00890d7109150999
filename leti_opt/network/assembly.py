"""Architecture + NetworkConfig -> LayerGraph: the only place that knows how a cell becomes layers."""

from __future__ import annotations

from collections.abc import Sequence

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidConfigError, UnknownOperationError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.operations import WINDOWED, Operation


def build_layer_graph(architecture: Architecture, config: NetworkConfig) -> LayerGraph:
    """Lay an architecture out as a network.

    The cell is pruned and put in canonical order first, so equal architectures give equal graphs.

    Raises:
        UnknownOperationError: the config does not know an operation of the cell.
        InvalidConfigError: too few filters to share among the vertices of the cell's output.

    >>> cell = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
    >>> graph = build_layer_graph(cell, NetworkConfig(scope="cell", filters=8))
    >>> [layer.kind.value for layer in graph.layers]
    ['input', 'conv', 'batch_norm', 'relu', 'conv', 'batch_norm', 'relu']
    """
    cell = architecture.canonical()
    _check_operations(cell, config)
    network = _Assembler(config)
    if config.scope == "cell":
        network.cell(cell, 0, config.filters, "cell")
    else:
        network.stacked(cell)
    return LayerGraph(tuple(network.layers), config.batch_size, config.precision)


def vertex_channels(cell: Architecture, output_channels: int) -> list[int]:
    """Channels of each interior vertex of a concatenating cell (NAS-Bench-101); 0 stands for input and output.

    The output's channels are shared among the vertices that feed it, the remainder one each to the first; every
    other vertex has as many as the widest that it feeds.

    Raises:
        InvalidConfigError: fewer channels than vertices to share them.
    """
    output = len(cell) - 1
    channels = [0] * len(cell)
    edges = cell.adjacency.tolist()
    feeders = [v for v in range(1, output) if edges[v][output]]
    if not feeders:
        return channels
    share, remainder = divmod(output_channels, len(feeders))
    if share == 0:
        raise InvalidConfigError(
            f"{output_channels} filters cannot be shared among the {len(feeders)} vertices that feed the output; "
            "raise filters"
        )
    for position, vertex in enumerate(feeders):
        channels[vertex] = share + (position < remainder)
    for vertex in range(output - 1, 0, -1):
        if not edges[vertex][output]:
            channels[vertex] = max([channels[w] for w in range(vertex + 1, output) if edges[vertex][w]])
    return channels


def _check_operations(cell: Architecture, config: NetworkConfig) -> None:
    table = config.operation_table
    for label in cell.operations[1:-1]:
        if label not in table:
            raise UnknownOperationError(
                f"the network config knows no layers for operation {label!r}; {did_you_mean(label, table)}. "
                "Hand your own to NetworkConfig(operations=...)"
            )


class _Assembler:
    """Appends layers one by one; every method returns the position of the layer that holds its result."""

    def __init__(self, config: NetworkConfig) -> None:
        self.config = config
        self.table = config.operation_table
        self.layers = [Layer("input", LayerKind.INPUT, (), config.input_shape)]

    def stacked(self, cell: Architecture) -> None:
        config = self.config
        filters = config.filters
        position = self.operation(self.table[config.stem], 0, filters, "stem")
        for stack in range(1, config.stacks + 1):
            if stack > 1:
                filters *= 2
                position = self.reduction(position, filters, f"reduction{stack - 1}")
            for number in range(1, config.cells_per_stack + 1):
                position = self.cell(cell, position, filters, f"stack{stack}_cell{number}")
        if config.head is not None:
            position = self.operation(self.table[config.head], position, filters, "head")
        self.append(LayerKind.GLOBAL_AVERAGE_POOL, [position], (filters,), "global_pool")
        self.append(LayerKind.DENSE, [len(self.layers) - 1], (config.classes,), "classes", use_bias=True)

    def reduction(self, source: int, filters: int, name: str) -> int:
        """Half the image; with NAS-Bench-201's residual block also the new channels."""
        if self.config.reduction == "max_pool":
            return self.operation(self.table["maxpool2x2"], source, None, name, stride=2)
        convolution = self.table["nor_conv_3x3"]
        inner = self.operation(convolution, source, filters, f"{name}_first", stride=2)
        inner = self.operation(convolution, inner, filters, f"{name}_second")
        shortcut = self.operation(self.table["avgpool2x2"], source, None, f"{name}_pool", stride=2)
        shortcut = self.operation(self.table["conv1x1"], shortcut, filters, f"{name}_shortcut")
        return self.sum([inner, shortcut], name)

    def cell(self, cell: Architecture, source: int, filters: int, name: str) -> int:
        if self.config.cell_output == "concatenate":
            return self.concatenating_cell(cell, source, filters, name)
        return self.summing_cell(cell, source, filters, name)

    def concatenating_cell(self, cell: Architecture, source: int, filters: int, name: str) -> int:
        output = len(cell) - 1
        edges = cell.adjacency.tolist()
        channels = vertex_channels(cell, filters)
        results: dict[int, int] = {}
        for vertex in range(1, output):
            prefix = f"{name}_vertex{vertex}"
            terms = [
                self.first_channels(results[u], channels[vertex], f"{prefix}_from{u}")
                for u in range(1, vertex)
                if edges[u][vertex]
            ]
            if edges[0][vertex]:
                terms.append(self.from_input(source, channels[vertex], prefix))
            results[vertex] = self.operation(
                self.table[cell.operations[vertex]],
                self.sum(terms, prefix),
                channels[vertex],
                prefix,
            )
        parts = [results[v] for v in range(1, output) if edges[v][output]]
        if not parts:
            return self.from_input(source, filters, f"{name}_output")
        joined = self.concatenate(parts, f"{name}_output")
        if not edges[0][output]:
            return joined
        return self.sum([joined, self.from_input(source, filters, f"{name}_output")], f"{name}_output")

    def summing_cell(self, cell: Architecture, source: int, filters: int, name: str) -> int:
        edges = cell.adjacency.tolist()
        results = {0: source}
        sums: dict[tuple[int, ...], int] = {}
        for vertex in range(1, len(cell)):
            prefix = f"{name}_vertex{vertex}"
            feeders = tuple([u for u in range(vertex) if edges[u][vertex]])
            if feeders not in sums:
                terms = [results[u] if u else self.from_input(source, filters, prefix) for u in feeders]
                sums[feeders] = self.sum(terms, prefix)
            results[vertex] = sums[feeders]
            if vertex < len(cell) - 1:
                operation = self.table[cell.operations[vertex]]
                results[vertex] = self.operation(operation, sums[feeders], filters, prefix)
        return results[len(cell) - 1]

    def from_input(self, source: int, channels: int, name: str) -> int:
        """An edge that starts at the cell's input."""
        if self.config.projection is None:
            return source
        return self.operation(self.table[self.config.projection], source, channels, f"{name}_projection")

    def operation(
        self,
        operation: Operation,
        source: int,
        channels: int | None,
        name: str,
        stride: int = 1,
    ) -> int:
        """The layers of an operation; ``channels=None`` keeps those of the source. The first window has the stride."""
        height, width, depth = self.layers[source].shape
        channels = channels or depth
        for step in operation.steps:
            own_stride = 1
            if step.kind is LayerKind.CONV:
                depth = channels
            if stride > 1 and step.kind in WINDOWED:
                height, width, own_stride, stride = -(-height // stride), -(-width // stride), stride, 1
            source = self.append(
                step.kind,
                (source,),
                (height, width, depth),
                f"{name}_{step.kind}",
                step.kernel_size,
                own_stride,
                step.use_bias,
            )
        if depth != channels:
            raise InvalidConfigError(
                f"operation {operation.label!r} has no convolution to turn {depth} "
                f"channels into {channels}, as {name} needs"
            )
        return source

    def first_channels(self, source: int, channels: int, name: str) -> int:
        height, width, depth = self.layers[source].shape
        if depth == channels:
            return source
        return self.append(LayerKind.SLICE_CHANNELS, [source], (height, width, channels), f"{name}_slice")

    def concatenate(self, sources: Sequence[int], name: str) -> int:
        if len(sources) == 1:
            return sources[0]
        height, width, _ = self.layers[sources[0]].shape
        depth = sum(self.layers[source].shape[-1] for source in sources)
        return self.append(LayerKind.CONCATENATE, sources, (height, width, depth), f"{name}_concatenate")

    def sum(self, sources: Sequence[int], name: str) -> int:
        if len(sources) == 1:
            return sources[0]
        shape = self.layers[sources[0]].shape
        if not self.config.chained_adds:
            return self.append(LayerKind.ADD, sources, shape, f"{name}_add")
        total = sources[0]
        for number, source in enumerate(sources[1:], start=1):
            total = self.append(LayerKind.ADD, [total, source], shape, f"{name}_add{number}")
        return total

    def append(
        self,
        kind: LayerKind,
        sources: Sequence[int],
        shape: tuple[int, ...],
        name: str,
        kernel_size: int = 0,
        stride: int = 1,
        use_bias: bool = False,
    ) -> int:
        place = len(self.layers)
        self.layers.append(Layer(f"{name}_{place}", kind, tuple(sources), shape, kernel_size, stride, use_bias))
        return place
