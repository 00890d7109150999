"""How much memory a network's activations take at most."""

from __future__ import annotations

import math
from collections import Counter

from leti_opt.network.float_sums import MixedPlan, with_float_sums
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.operator_plan import OperatorPlan, plan_operators
from leti_opt.network.read_layers import detail, output_bytes

_FLOAT_BYTES = 4


def peak_memory_bytes(graph: LayerGraph) -> int:
    """Largest sum of activation tensors that are alive at once, operator by operator of the file.

    A tensor lives from the operator that writes it to the last that reads it. The network's inputs live to the end,
    since the runtime leaves them as they are, and so do the outputs.
    """
    mixed = MixedPlan(plan_operators(graph), frozenset())
    if graph.precision == "int8" and not _was_read(graph):
        mixed = with_float_sums(mixed.plan)
    plan, size = mixed.plan, _tensor_bytes(mixed)
    readers = [tensor for operator in plan.operators for tensor in operator.inputs]
    unread = Counter([*readers, *_outputs(plan), *plan.inputs])
    live = sum(size[tensor] for tensor in plan.inputs)
    peak = live
    for operator in plan.operators:
        live += size[operator.output]
        peak = max(peak, live)
        unread.subtract(operator.inputs)
        live -= sum(size[tensor] for tensor in {*operator.inputs, operator.output} if not unread[tensor])
    return peak


def _tensor_bytes(mixed: MixedPlan) -> list[int]:
    plan = mixed.plan
    graph = plan.graph
    if _was_read(graph):
        # Layers that were read are never fused or merged, so that each is a tensor of the plan.
        return [output_bytes(graph, layer) for layer in graph.layers]
    element = bytes_per_activation(graph.precision)
    return [
        graph.batch_size * math.prod(shape) * (_FLOAT_BYTES if tensor in mixed.float_tensors else element)
        for tensor, shape in enumerate(plan.shapes)
    ]


def _was_read(graph: LayerGraph) -> bool:
    return any(layer.operator or layer.details for layer in graph.layers)


def _outputs(plan: OperatorPlan) -> list[int]:
    """Tensors that live to the end because the caller reads them."""
    marked = [place for place, layer in enumerate(plan.graph.layers) if detail(layer, "graph_output") is not None]
    return marked or [plan.output]


def bytes_per_activation(precision: str) -> int:
    """Size of one element of an activation tensor in a file of this precision."""
    return 1 if precision == "int8" else _FLOAT_BYTES
