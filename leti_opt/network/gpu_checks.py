"""Checks of one operator, of which the rules for GPU delegates are put together.

A check gives the reason of a refusal in words, or None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from leti_opt.network.read_layers import ReadOperand

FLOATS = frozenset({"FLOAT32", "FLOAT16"})

_ACTIVATIONS = frozenset({"NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH"})
_WINDOW_OPTIONS = ("stride_h", "stride_w", "dilation_h_factor", "dilation_w_factor", "filter_height", "filter_width")


@dataclass(frozen=True)
class OperatorFacts:
    """All that a rule may look at.

    Args:
        operator: TFLite's name, or a custom operator's code.
        operands: what it reads, place by place; activations have a layer, constants have none.
        shape: of its result, the batch included.
        type: of its result's elements.
        outputs: how many results it has.
        options: by their names in TFLite's schema, in snake case; one that is missing has the schema's default.
    """

    operator: str
    operands: tuple[ReadOperand, ...]
    shape: tuple[int, ...]
    type: str = "FLOAT32"
    outputs: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def activations(self) -> tuple[ReadOperand, ...]:
        """What it reads that changes from run to run."""
        return tuple(operand for operand in self.operands if operand.type != "NONE" and not operand.is_constant)

    @property
    def constants(self) -> tuple[ReadOperand, ...]:
        """What it reads that the file holds."""
        return tuple(operand for operand in self.operands if operand.is_constant)


Check = Callable[[OperatorFacts], str | None]
"""Gives the reason of a refusal, or None."""


def one_activation(facts: OperatorFacts) -> str | None:
    """It reads one activation; constants do not matter."""
    if len(facts.activations) != 1:
        return f"it reads {len(facts.activations)} activations, not one"
    return None


def one_result(facts: OperatorFacts) -> str | None:
    """It has one result."""
    return f"it has {facts.outputs} results, not one" if facts.outputs != 1 else None


def only_activation(facts: OperatorFacts) -> str | None:
    """It reads one activation and nothing else."""
    return f"it reads {len(facts.constants)} constants, not none" if facts.constants else one_activation(facts)


def two_summands(facts: OperatorFacts) -> str | None:
    """It adds two tensors."""
    return f"it adds two tensors, not {len(facts.operands)}" if len(facts.operands) != 2 else None


def two_factors(facts: OperatorFacts) -> str | None:
    """It multiplies two tensors, of which one is at least as large along each dimension."""
    if len(facts.operands) != 2:
        return f"it reads {len(facts.operands)} tensors, not two"
    first, second = (operand.shape for operand in facts.operands)
    if len(first) != len(second):
        return None
    smaller = [a < b for a, b in zip(first, second, strict=True)]
    larger = [a > b for a, b in zip(first, second, strict=True)]
    return f"neither of {first} and {second} is the larger everywhere" if any(smaller) and any(larger) else None


def stretches(facts: OperatorFacts) -> str | None:
    """Two operands of unlike rank, neither of them a vector, must fit each other from the last dimension on."""
    first, second = (operand.shape for operand in facts.operands)
    if len(first) == len(second) or min(len(first), len(second)) < 2:
        return None
    pairs = zip(reversed(first), reversed(second), strict=False)
    if all(a == b or 1 in (a, b) for a, b in pairs):
        return None
    return f"{first} and {second} cannot be stretched to one shape"


def two_operands(facts: OperatorFacts) -> str | None:
    """It reads two activations, or one and a constant."""
    counts = (len(facts.activations), len(facts.constants))
    return None if counts in ((2, 0), (1, 1)) else f"it reads {counts[0]} activations and {counts[1]} constants"


def two_activations(facts: OperatorFacts) -> str | None:
    """It reads two activations."""
    counts = (len(facts.activations), len(facts.constants))
    return None if counts == (2, 0) else f"it reads {counts[0]} activations and {counts[1]} constants, not two and none"


def fused_activation(facts: OperatorFacts) -> str | None:
    """The activation that is fused into it is a known one."""
    fused = facts.options.get("fused_activation_function", "NONE")
    return None if fused in _ACTIVATIONS else f"{fused} is fused into it"


def window(facts: OperatorFacts) -> str | None:
    """Strides, dilations and sides of its window are positive."""
    sizes = {name: facts.options.get(name, 1) for name in _WINDOW_OPTIONS}
    wrong = [f"{name}={size}" for name, size in sizes.items() if size <= 0]
    return f"its window has {', '.join(wrong)}" if wrong else None


def convolution(facts: OperatorFacts) -> str | None:
    """It reads an image, and weights that may be computed, and has one result."""
    if len(facts.activations) > 2:
        return f"it reads {len(facts.activations)} activations, more than image and weights"
    return one_result(facts)


def depthwise(facts: OperatorFacts) -> str | None:
    """Four dimensions everywhere, and several channels of one only where the image has one."""
    shapes = [facts.shape, *(operand.shape for operand in facts.operands[:2])]
    if len(shapes) < 3 or any(len(shape) != 4 for shape in shapes):
        return "image, weights and result do not have four dimensions each"
    channels, multiplier = facts.operands[0].shape[3], facts.options.get("depth_multiplier", 1)
    if channels * multiplier != facts.shape[3]:
        return f"it makes {facts.shape[3]} channels of {channels} with a multiplier of {multiplier}"
    if multiplier != 1 and channels != 1:
        return f"it has a depth multiplier of {multiplier} on {channels} channels"
    return None


def dense(facts: OperatorFacts) -> str | None:
    """It is a plain dense layer."""
    if facts.options.get("weights_format", 0) != 0:
        return "its weights are shuffled"
    if len(facts.activations) > 2 or not facts.operands or facts.operands[0].is_constant:
        return "it does not read one activation, or an activation and computed weights"
    if facts.options.get("keep_num_dims") and len(facts.operands[0].shape) != len(facts.shape):
        return f"it keeps dimensions and turns {len(facts.operands[0].shape)} of them into {len(facts.shape)}"
    return None


def dense_of_vectors(facts: OperatorFacts) -> str | None:
    """The delegate of 2020 takes all values of one image as one vector, and needs its weights beforehand."""
    image, *rest = facts.operands
    if not rest or not rest[0].is_constant:
        return "its weights are computed"
    values = math.prod(image.shape[1:])
    return None if values == rest[0].shape[-1] else f"it has {rest[0].shape[-1]} weights a unit for {values} values"


def constant_axes(facts: OperatorFacts) -> str | None:
    """It goes over axes that the file holds."""
    if len(facts.operands) != 2 or not facts.operands[1].is_constant:
        return "its axes are computed"
    return None if facts.operands[1].type == "INT32" else f"its axes are {facts.operands[1].type}, not INT32"


def axes_of_the_image(facts: OperatorFacts) -> str | None:
    """It goes over height, width or both."""
    axes = facts.operands[1].values if len(facts.operands) > 1 else None
    return None if axes is not None and {*axes} <= {1, 2} else f"it goes over axes {axes}, not height and width only"


def three_or_four_dimensions(facts: OperatorFacts) -> str | None:
    """It cuts a tensor of three or four dimensions."""
    found = len(facts.operands[0].shape) if facts.operands else 0
    return None if found in (3, 4) else f"it cuts a tensor of {found} dimensions, not 3 or 4"


def no_masks(facts: OperatorFacts) -> str | None:
    """It adds and drops no dimension."""
    used = [name for name in ("ellipsis_mask", "new_axis_mask", "shrink_axis_mask") if facts.options.get(name, 0)]
    return f"it uses {', '.join(used)}" if used else None


def plain_softmax(facts: OperatorFacts) -> str | None:
    """Its beta is 1."""
    beta = facts.options.get("beta", 1.0)
    return None if beta == 1 else f"its beta is {beta}, not 1"


def real_blocks(facts: OperatorFacts) -> str | None:
    """Its blocks are larger than one position."""
    size = facts.options.get("block_size", 0)
    return None if size > 1 else f"its blocks have a side of {size}"


def paddings(facts: OperatorFacts) -> str | None:
    """It pads three or four dimensions."""
    shape = facts.operands[1].shape if len(facts.operands) > 1 else ()
    return None if shape in ((3, 2), (4, 2)) else f"its paddings have the shape {shape}, not (3, 2) or (4, 2)"


def reflecting(facts: OperatorFacts) -> str | None:
    """It mirrors around the edge."""
    return None if facts.options.get("mode", 0) == 0 else "it mirrors the edge itself"


def corners(facts: OperatorFacts) -> str | None:
    """It does not align corners and centres of pixels at once."""
    both = facts.options.get("align_corners") and facts.options.get("half_pixel_centers")
    return "it aligns corners and centres of pixels at once" if both else None


def larger(facts: OperatorFacts) -> str | None:
    """It makes an image larger, or keeps it."""
    if not facts.operands or len(facts.operands[0].shape) != 4 or len(facts.shape) != 4:
        return "it does not resize a tensor of four dimensions"
    before, after = facts.operands[0].shape[1:3], facts.shape[1:3]
    return f"it shrinks {before} to {after}" if after[0] < before[0] or after[1] < before[1] else None


def lstm(facts: OperatorFacts) -> str | None:
    """A whole LSTM of 20 or 24 tensors, or a basic one."""
    if facts.options.get("kernel_type", 0) == 0:
        return None if len(facts.operands) in (20, 24) else f"it reads {len(facts.operands)} tensors, not 20 or 24"
    return basic_lstm(facts)


def basic_lstm(facts: OperatorFacts) -> str | None:
    """A basic LSTM with TANH that clips nothing."""
    if facts.options.get("kernel_type", 0) != 1:
        return "it is not a basic LSTM"
    if facts.options.get("fused_activation_function") != "TANH":
        return "its activation is not TANH"
    clipped = facts.options.get("cell_clip", 0) or facts.options.get("proj_clip", 0)
    return "it clips its state" if clipped else None


def casts(facts: OperatorFacts) -> str | None:
    """It turns floats into INT32 or BOOL, or back."""
    before, after = facts.operands[0].type, facts.type
    takes = {before, after} <= {"FLOAT32", "INT32"} or ("BOOL" in (before, after) and {before, after} & FLOATS)
    return None if takes else f"it turns {before} into {after}"


def wide_dequantize(facts: OperatorFacts) -> str | None:
    """It does not read 16 bits."""
    return "it reads INT16" if facts.operands and facts.operands[0].type == "INT16" else None


def gathers(facts: OperatorFacts) -> str | None:
    """It picks from floats by one row of INT32."""
    index = facts.operands[1] if len(facts.operands) > 1 else None
    if index is None or index.type != "INT32" or len(index.shape) != 1 or facts.operands[0].type == "INT32":
        return "it does not pick from floats by one row of INT32"
    return two_operands(facts)


def sums(facts: OperatorFacts) -> str | None:
    """It sums floats along an axis that the file holds."""
    axes = facts.operands[1] if len(facts.operands) == 2 else None
    floats = facts.operands and facts.operands[0].type in FLOATS and facts.type == facts.operands[0].type
    return None if floats and axes is not None and axes.is_constant else "it does not sum floats along a constant axis"


def one_hot(facts: OperatorFacts) -> str | None:
    """Its axis is the last, and its indices are one row."""
    if facts.options.get("axis", -1) != -1:
        return "its axis is not the last"
    flat = facts.operands[0].shape[1 if len(facts.operands[0].shape) > 3 else 0 : -1]
    return None if all(side == 1 for side in flat) else f"its indices have the shape {facts.operands[0].shape}"


def selects(facts: OperatorFacts) -> str | None:
    """It chooses between tensors of the result's shape or single values."""
    if len(facts.operands) != 3:
        return f"it reads {len(facts.operands)} tensors, not three"
    for operand in facts.operands[1:]:
        if operand.shape not in ((), (1,), facts.shape):
            return f"it chooses from a tensor of shape {operand.shape} for {facts.shape}"
    return None
