"""Forecast of what an Android phone's GPU delegate takes. Only the device's verdict decides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from leti_opt.network.gpu_checks import OperatorFacts
from leti_opt.network.gpu_rules import RULES, refuses, rule_set
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.operator_plan import OperatorPlan, PlannedOperator, plan_operators
from leti_opt.network.read_layers import ReadOperand, activation_type, detail, full_shape, operands_of, output_type

__all__ = ["RULES", "GpuForecast", "OperatorFacts", "Refusal", "gpu_support", "operator_facts", "refuses"]

_WEIGHT_TYPES = {"float16": "FLOAT16", "dynamic": "INT8", "int8": "INT8"}


@dataclass(frozen=True)
class Refusal:
    """An operator that the delegate is forecast to leave to the CPU.

    Args:
        layer: name of the layer that it computes.
        operator: TFLite's name of it.
        reason: in words.
    """

    layer: str
    operator: str
    reason: str


@dataclass(frozen=True)
class GpuForecast:
    """Whether a GPU delegate takes a whole network, as far as rules tell.

    Args:
        rules: name of the rule set.
        refusals: every operator that it refuses, in the order of execution.
    """

    rules: str
    refusals: tuple[Refusal, ...]

    @property
    def supported(self) -> bool:
        """Whether nothing is refused."""
        return not self.refusals


def gpu_support(graph: LayerGraph, rules: str = "tflite-current") -> GpuForecast:
    """Forecast whether an Android phone's GPU delegate runs the whole network.

    Args:
        graph: from :func:`~leti_opt.network.assembly.build_layer_graph`, with the operators that its file will have,
            or from :func:`~leti_opt.network.tflite_reader.read_tflite`, with those that the file has.
        rules: ``paper-2020``, the delegate of the LETI paper: no SLICE, no ADD_N, no quantized models; or
            ``tflite-current``, TensorFlow's compatibility checker of today: SLICE of 3 and 4 dimensions, ADD_N of two,
            8-bit models.

    Raises:
        InvalidInputError: no such rules.

    >>> from leti_opt.architecture import Architecture
    >>> from leti_opt.network.assembly import build_layer_graph
    >>> from leti_opt.network.config import NetworkConfig
    >>> cell = Architecture.parse("0-1,0-2,0-3,1-3,2-3,3-4:conv1x1-bn-relu,conv1x1-bn-relu,maxpool3x3")
    >>> graph = build_layer_graph(cell, NetworkConfig(scope="cell", filters=8, chained_adds=False))
    >>> gpu_support(graph, "paper-2020").refusals[0].operator
    'ADD_N'
    """
    rule_set(rules)
    refusals = []
    for name, facts in operator_facts(graph):
        reason = refuses(rules, facts)
        if reason is not None:
            refusals.append(Refusal(name, facts.operator, reason))
    return GpuForecast(rules, tuple(refusals))


def operator_facts(graph: LayerGraph) -> Iterator[tuple[str, OperatorFacts]]:
    """Each operator of the network's file, with the name of its layer, in the order of execution."""
    plan = plan_operators(graph)
    for operator in plan.operators:
        layer = graph.layers[operator.layer]
        if not layer.operator:
            yield plan.names[operator.output], _planned_facts(plan, operator)
        elif not detail(layer, "output"):
            yield layer.name, _read_facts(graph, layer)


def _read_facts(graph: LayerGraph, layer: Layer) -> OperatorFacts:
    return OperatorFacts(
        layer.operator,
        operands_of(graph, layer),
        full_shape(graph, layer),
        output_type(graph, layer),
        detail(layer, "outputs", 1),
        dict(layer.details),
    )


def _planned_facts(plan: OperatorPlan, operator: PlannedOperator) -> OperatorFacts:
    batch, kind = plan.graph.batch_size, activation_type(plan.graph.precision)
    read = [ReadOperand(kind, (batch, *plan.shapes[tensor]), tensor) for tensor in operator.inputs]
    layer = plan.graph.layers[operator.layer]
    shape = (batch, *plan.shapes[operator.output])
    constants = _planned_constants(plan, operator, layer)
    return OperatorFacts(operator.name, (*read, *constants), shape, kind, 1, _planned_options(operator, layer))


def _planned_constants(plan: OperatorPlan, operator: PlannedOperator, layer: Layer) -> list[ReadOperand]:
    """Weights, and the integers that say axes and sizes; biases matter to no rule."""
    kind = _WEIGHT_TYPES.get(plan.graph.precision, "FLOAT32")
    channels_in, channels = plan.shapes[operator.inputs[0]][-1], layer.shape[-1]
    side = layer.kernel_size
    weights = {
        "CONV_2D": (channels, side, side, channels_in),
        "DEPTHWISE_CONV_2D": (1, side, side, channels),
        "FULLY_CONNECTED": (channels, channels_in),
    }
    if operator.name in weights:
        return [ReadOperand(kind, weights[operator.name])]
    if layer.kind is LayerKind.BATCH_NORM:
        return [ReadOperand(kind, (channels,))]
    if operator.name == "SLICE":
        return [ReadOperand("INT32", (4,), None, (0, 0, 0, 0)), ReadOperand("INT32", (4,))]
    return [ReadOperand("INT32", (2,), None, (1, 2))] if operator.name == "MEAN" else []


def _planned_options(operator: PlannedOperator, layer: Layer) -> dict[str, Any]:
    options: dict[str, Any] = {"fused_activation_function": "RELU" if operator.relu else "NONE"}
    if layer.kernel_size:
        options |= {"stride_h": layer.stride, "stride_w": layer.stride}
    return options
