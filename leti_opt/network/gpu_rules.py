"""What an Android GPU delegate of TFLite refuses, operator by operator, as two sets of rules.

Facts, restated from public sources; each set names its own. A rule looks at one operator: a delegate may still refuse a
network for its size, or a driver for what it likes, so that a forecast is never the device's verdict. What the sources
say of rare operators in rare uses (versions of operators, state, tables of embeddings) is not all restated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.network import gpu_checks as checks
from leti_opt.network.gpu_checks import FLOATS, Check, OperatorFacts

_QUANTIZED = frozenset({"INT8", "UINT8"})


@dataclass(frozen=True)
class RuleSet:
    """What one generation of the delegate takes.

    Args:
        name: how users ask for it.
        source: where the rules are from.
        checks: for each operator that it takes at all, what else must hold.
        types: element types of activations that it takes.
        extra_types: more of them, for some operators.
        most_dimensions: of an activation or constant.
        quantized_weights: whether it takes 8-bit weights.
        refused: operators that it refuses though newer ones take them, each with a reason of its own.
    """

    name: str
    source: str
    checks: Mapping[str, tuple[Check, ...]]
    types: frozenset[str]
    extra_types: Mapping[str, frozenset[str]]
    most_dimensions: int
    quantized_weights: bool
    refused: Mapping[str, str] = field(default_factory=dict)


def refuses(rules: str, facts: OperatorFacts) -> str | None:
    """Why a rule set refuses an operator, in words; None where it takes it.

    Raises:
        InvalidInputError: no such rule set.

    >>> from leti_opt.network.read_layers import ReadOperand
    >>> image = ReadOperand("FLOAT32", (1, 8, 8, 4), layer=0)
    >>> refuses("tflite-current", OperatorFacts("ADD_N", (image, image, image), image.shape))
    'it adds two tensors, not 3'
    """
    chosen = rule_set(rules)
    if facts.operator in chosen.refused:
        return chosen.refused[facts.operator]
    if facts.operator not in chosen.checks:
        return "it is not among the operators that the delegate knows"
    reason = _tensors_refused(chosen, facts)
    for check in chosen.checks[facts.operator]:
        reason = reason or check(facts)
    return reason


def rule_set(rules: str) -> RuleSet:
    """A rule set by its name.

    Raises:
        InvalidInputError: no such rule set.
    """
    if rules not in RULES:
        raise InvalidInputError(f"unknown GPU rules {rules!r}; {did_you_mean(rules, RULES)}")
    return RULES[rules]


def _tensors_refused(rules: RuleSet, facts: OperatorFacts) -> str | None:
    types = rules.types | rules.extra_types.get(facts.operator, frozenset())
    for kind in (*(operand.type for operand in facts.activations), facts.type):
        if kind not in types:
            return f"it works on {kind} activations"
    shapes = [facts.shape, *(operand.shape for operand in facts.operands)]
    most = max(len(shape) for shape in shapes)
    if most > rules.most_dimensions:
        return f"it works on tensors of {most} dimensions"
    if not rules.quantized_weights and any(operand.type in _QUANTIZED for operand in facts.constants):
        return "it has 8-bit weights"
    return None


_POOL = (checks.one_activation, checks.window, checks.fused_activation)
_WITH_AXES = (checks.one_activation, checks.one_result, checks.constant_axes)
_OF_ONE = (checks.only_activation, checks.one_result)
_OF_TWO = (checks.two_operands, checks.one_result, checks.fused_activation)
_OF_TWO_ACTIVATIONS = (checks.two_activations, checks.fused_activation)
_UNARY = ("ABS", "COS", "LOG", "LOGISTIC", "RSQRT", "SIN", "SQRT", "SQUARE", "TANH")
_COMMON: Mapping[str, tuple[Check, ...]] = {
    "CONCATENATION": (),
    "CONV_2D": (checks.convolution, checks.window, checks.fused_activation),
    "LEAKY_RELU": (),
    "PAD": (checks.one_activation, checks.one_result, checks.paddings),
    "MIRROR_PAD": (checks.reflecting, checks.one_activation, checks.one_result, checks.paddings),
    "PRELU": (),
    "RELU": (),
    "RELU6": (),
    "RESHAPE": (checks.one_activation, checks.one_result),
    "SOFTMAX": (checks.plain_softmax,),
    "SPACE_TO_DEPTH": (checks.one_activation, checks.real_blocks),
    "STRIDED_SLICE": (checks.no_masks, checks.three_or_four_dimensions),
    "TRANSPOSE": (checks.one_activation, checks.one_result),
    "TRANSPOSE_CONV": (checks.convolution, checks.window),
    "HARD_SWISH": (checks.one_activation, checks.one_result),
    "MUL": (checks.two_factors, checks.fused_activation),
    "AVERAGE_POOL_2D": (*_POOL, checks.one_result),
    "MAX_POOL_2D": (*_POOL, checks.one_result),
    "MaxPoolingWithArgmax2D": (checks.one_activation,),
    "MaxUnpooling2D": (),
    "Convolution2DTransposeBias": (),
    **dict.fromkeys(_UNARY, _OF_ONE),
}

_NEW_UNARY = ("CEIL", "ELU", "EXP", "FLOOR", "GELU", "NEG", "SIGN")
_NEW_REDUCTIONS = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "SUM")
_ARITHMETIC = ("ATAN2", "DIV", "FLOOR_DIV", "FLOOR_MOD", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE", "SUB")
_COMPARISONS = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")

PAPER_2020 = RuleSet(
    name="paper-2020",
    source=(
        "operators and checks: tensorflow/lite/delegates/gpu/common/model_builder.cc of mid-2020 (about TF 2.3), with "
        "the delegate's options of that time by default, which leave quantized models out; SLICE and ADD_N refused: "
        "the LETI paper (2020), which found so on its phones"
    ),
    checks=MappingProxyType(
        {
            **_COMMON,
            "ADD": (checks.two_summands,),
            "DEPTHWISE_CONV_2D": (
                checks.one_activation,
                checks.one_result,
                checks.window,
                checks.fused_activation,
                checks.depthwise,
            ),
            "FULLY_CONNECTED": (checks.dense, checks.dense_of_vectors),
            "LSTM": (checks.basic_lstm,),
            "MEAN": (checks.one_activation, checks.one_result, checks.axes_of_the_image),
            "RESIZE_BILINEAR": (checks.one_activation, checks.one_result, checks.larger, checks.corners),
            "RESIZE_NEAREST_NEIGHBOR": (checks.one_activation, checks.one_result, checks.larger),
            **dict.fromkeys(("MAXIMUM", "MINIMUM", "SUB"), _OF_TWO),
            **dict.fromkeys(("DIV", "POW", "SQUARED_DIFFERENCE"), _OF_TWO_ACTIVATIONS),
        }
    ),
    types=FLOATS,
    extra_types=MappingProxyType({}),
    most_dimensions=4,
    quantized_weights=False,
    refused=MappingProxyType(
        {
            "SLICE": "the delegate of 2020 does not take it; it is there because channels are cut off",
            "ADD_N": "the delegate of 2020 does not take it; NetworkConfig(chained_adds=True) adds two at a time",
        }
    ),
)

TFLITE_CURRENT = RuleSet(
    name="tflite-current",
    source=(
        "operators and checks: tensorflow/lite/tools/versioning/gpu_compatibility.cc at commit 03a5e4e19a9c, with "
        "stretching of shapes as its offline check assumes; element types and dimensions: "
        "tensorflow/lite/delegates/gpu/common/model_builder.cc with the delegate's default options, which take "
        "8-bit models"
    ),
    checks=MappingProxyType(
        {
            **_COMMON,
            "ADD": (checks.two_summands, checks.stretches),
            "ADD_N": (checks.two_summands,),
            "BATCH_MATMUL": (checks.one_result,),
            "CAST": (checks.one_activation, checks.one_result, checks.casts),
            "CUMSUM": (checks.sums,),
            "DENSIFY": (checks.one_result,),
            "DEPTHWISE_CONV_2D": (checks.convolution, checks.window, checks.fused_activation, checks.depthwise),
            "DEPTH_TO_SPACE": (checks.one_activation, checks.one_result, checks.real_blocks),
            "DEQUANTIZE": (checks.wide_dequantize, checks.one_result),
            "DYNAMIC_UPDATE_SLICE": (),
            "EMBEDDING_LOOKUP": (checks.one_result,),
            "FULLY_CONNECTED": (checks.dense,),
            "GATHER": (checks.gathers, checks.one_result),
            "LSTM": (checks.lstm,),
            "MUL": (*_COMMON["MUL"], checks.stretches),
            "ONE_HOT": (checks.one_hot, checks.one_result),
            "PACK": (),
            "PADV2": (checks.one_activation, checks.one_result, checks.paddings),
            "QUANTIZE": (checks.one_activation, checks.one_result),
            "RELU_N1_TO_1": (),
            "RESIZE_BILINEAR": (checks.one_activation, checks.one_result, checks.corners),
            "RESIZE_NEAREST_NEIGHBOR": (checks.one_activation, checks.one_result),
            "Resampler": (checks.one_result,),
            "SELECT": (checks.selects, checks.one_result),
            "SELECT_V2": (checks.selects, checks.one_result),
            "SLICE": (checks.three_or_four_dimensions,),
            "SPLIT": (),
            "SPLIT_V": (),
            "TILE": (checks.one_activation, checks.one_result),
            **dict.fromkeys(_NEW_REDUCTIONS, _WITH_AXES),
            **dict.fromkeys(_NEW_UNARY, _OF_ONE),
            **dict.fromkeys((*_ARITHMETIC, *_COMPARISONS, "LOGICAL_AND"), _OF_TWO),
        }
    ),
    types=FLOATS | _QUANTIZED,
    extra_types=MappingProxyType(
        {
            "CAST": frozenset({"BOOL", "INT32"}),
            "ONE_HOT": frozenset({"INT32"}),
            "GATHER": frozenset({"INT32"}),
            **dict.fromkeys(("SELECT", "SELECT_V2", "LOGICAL_AND", *_COMPARISONS), frozenset({"BOOL"})),
        }
    ),
    most_dimensions=4,
    quantized_weights=True,
)

RULES: Mapping[str, RuleSet] = MappingProxyType({rules.name: rules for rules in (PAPER_2020, TFLITE_CURRENT)})
"""The rule sets by name."""
