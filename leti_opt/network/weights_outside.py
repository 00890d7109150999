"""A network's header over a block of random weights: all that is written for a network that is only measured."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from leti_opt.errors import InvalidConfigError, InvalidInputError
from leti_opt.network.calibration import synthetic_ranges, unified_ranges
from leti_opt.network.file_format import NUMPY_TYPES
from leti_opt.network.file_model import FileBuffer, FileConstant, FileModel, FileTensor, TensorQuantization
from leti_opt.network.flatbuffer import most_bytes, serialize
from leti_opt.network.int8_noise import noise_needs
from leti_opt.network.layer_graph import LayerGraph, check_built
from leti_opt.network.operator_constants import bias_size, kernel_shape
from leti_opt.network.operator_plan import OperatorPlan, PlannedOperator, plan_operators
from leti_opt.network.quantization import activation_quantizations, int8_network
from leti_opt.network.tflite_writer import describe
from leti_opt.network.weight_zones import Zone, nearest_zone, zone_type
from leti_opt.network.weights import scale_weights, weight_stds
from leti_opt.network.weights_block import ALIGNMENT, BlockNeeds, WeightsBlock

_PRECISIONS = ("float32", "float16", "int8")
_INPUT = "input@"
_LONGEST_KEY = 128
_FACTORS = Zone("factor")
_SHIFTS = Zone("shift")


@dataclass(frozen=True, slots=True, eq=False)
class PlacedNetwork:
    """A network whose weights have their places in zones, wherever a block has these.

    Args:
        model: the file; offsets of constants count from the start of their zone.
        zones: of every buffer, None for those in the header.
        needs: what a block must have.
    """

    model: FileModel
    zones: tuple[Zone | None, ...]
    needs: BlockNeeds


def place_weights(graph: LayerGraph) -> PlacedNetwork:
    """Choose a region for every constant of a network; none is used twice.

    Kernels come from the zone whose standard deviation is nearest to the wanted one. What is off is taken into account
    for the layers that follow, so that it does not add up over the depth.

    Raises:
        InvalidInputError: the graph was read from a file.
        InvalidConfigError: a precision other than ``float32``, ``float16`` and ``int8``.
    """
    check_built(graph)
    if graph.precision not in _PRECISIONS:
        raise InvalidConfigError(
            f"weights outside are for {', '.join(_PRECISIONS)}, not {graph.precision!r}; write a self-contained file"
        )
    plan = plan_operators(graph)
    regions = _Regions(graph.precision)
    model = _int8_model(plan, regions) if graph.precision == "int8" else _float_model(plan, regions)
    places = iter(regions.zones)
    zones = tuple([next(places) if buffer.size else None for buffer in model.buffers])
    return PlacedNetwork(model, zones, BlockNeeds(graph.precision, regions.taken, most_bytes(model) + 4 * _LONGEST_KEY))


def _float_model(plan: OperatorPlan, regions: _Regions) -> FileModel:
    stds, _ = scale_weights(plan.graph, lambda std: nearest_zone(std).std)
    return describe(plan, [regions.of_operator(plan, operator, stds) for operator in plan.operators])


def _int8_model(plan: OperatorPlan, regions: _Regions) -> FileModel:
    """Kernels of every size come from one zone: their scales are in the header."""
    stds = weight_stds(plan.graph)
    activations = activation_quantizations(unified_ranges(plan, synthetic_ranges(plan)))
    constants = [
        tuple(
            [
                regions.take(Zone(need.kind), need.shape, need.quantization)
                for need in noise_needs(plan, operator, stds, activations)
            ]
        )
        for operator in plan.operators
    ]
    network = int8_network(plan, constants, activations)
    return describe(network.plan, network.constants, network.quantizations)


class _Regions:
    """Takes one region after the other from each zone."""

    def __init__(self, precision: str) -> None:
        self.precision = precision
        self.taken: dict[Zone, int] = {}
        self.zones: list[Zone] = []

    def of_operator(
        self, plan: OperatorPlan, operator: PlannedOperator, stds: dict[int, float]
    ) -> tuple[FileConstant, ...]:
        found = []
        shape = kernel_shape(plan, operator)
        if shape is not None:
            std = stds.get(operator.layer)
            found.append(self.take(_FACTORS if std is None else nearest_zone(std), shape))
        biases = bias_size(plan, operator)
        if biases is not None:
            found.append(self.take(_SHIFTS, (biases,)))
        return tuple(found)

    def take(self, zone: Zone, shape: tuple[int, ...], quantization: TensorQuantization | None = None) -> FileConstant:
        kind, item_bytes = _stored_as(self.precision, zone)
        start = self.taken.get(zone, 0)
        size = math.prod(shape) * item_bytes
        self.taken[zone] = start + size + -size % ALIGNMENT
        self.zones.append(zone)
        return FileConstant(shape, kind, FileBuffer(None, start, size), quantization)


@lru_cache(maxsize=1024)
def _stored_as(precision: str, zone: Zone) -> tuple[str, int]:
    """TFLite's name of the type of a zone's numbers, and the bytes of each."""
    kind = zone_type(precision, zone)
    return NUMPY_TYPES[kind.name], kind.itemsize


def write_header(network: PlacedNetwork, block: WeightsBlock, key: str) -> bytes:
    """The header that makes a copy of the block this network's model.

    Args:
        network: what to write.
        block: where its weights are.
        key: of the model. It travels in the name of the input tensor, where a loaded model can be asked for it.

    Returns:
        exactly ``block.header_bytes`` bytes.

    Raises:
        InvalidInputError: the network does not fit into the block; open one for ``network.needs``.
    """
    if not block.holds(network.needs):
        raise InvalidInputError(
            f"{block.path.name} has too little room for this network; open_block(network.needs) makes a larger block"
        )
    buffers = tuple(
        [
            buffer if zone is None else FileBuffer(None, block.offsets[zone] + buffer.offset, buffer.size)
            for buffer, zone in zip(network.model.buffers, network.zones, strict=True)
        ]
    )
    header = serialize(replace(network.model, tensors=_with_key(network.model, key), buffers=buffers))
    return header.ljust(block.header_bytes, b"\0")


def _with_key(model: FileModel, key: str) -> tuple[FileTensor, ...]:
    if not 0 < len(key) <= _LONGEST_KEY:
        raise InvalidInputError(f"a model's key has 1 to {_LONGEST_KEY} characters, not {len(key)}: {key!r:.80}")
    tensors = list(model.tensors)
    (place,) = model.inputs
    tensors[place] = replace(tensors[place], name=tensor_name_of_key(key))
    return tuple(tensors)


def tensor_name_of_key(key: str) -> str:
    """What the input of a model with this key is called.

    >>> tensor_name_of_key("0a1b")
    'input@0a1b'
    """
    return f"{_INPUT}{key}"


def key_of_tensor_name(name: str) -> str | None:
    """The model's key, from the name of the input tensor of a loaded model; None where there is none.

    >>> key_of_tensor_name("input@0a1b")
    '0a1b'
    """
    return name.removeprefix(_INPUT) if name.startswith(_INPUT) else None
