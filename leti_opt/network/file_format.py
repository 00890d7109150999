"""Numbers of the TFLite format: operators, types and options, as its schema has them.

The schema's own classes take a tenth of a second to import and much longer than that to write many files with, so the
writer does without them; the tests hold every number here against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3

TENSOR_TYPES: Mapping[str, int] = {
    "FLOAT32": 0,
    "FLOAT16": 1,
    "INT32": 2,
    "UINT8": 3,
    "INT64": 4,
    "BOOL": 6,
    "INT16": 7,
    "INT8": 9,
}
"""By TFLite's name."""

NUMPY_TYPES: Mapping[str, str] = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "int32": "INT32",
    "uint8": "UINT8",
    "int64": "INT64",
    "bool": "BOOL",
    "int16": "INT16",
    "int8": "INT8",
}
"""TFLite's name of a type by numpy's."""

BUILTIN_OPERATORS: Mapping[str, int] = {
    "ADD": 0,
    "AVERAGE_POOL_2D": 1,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 4,
    "DEQUANTIZE": 6,
    "FULLY_CONNECTED": 9,
    "MAX_POOL_2D": 17,
    "MUL": 18,
    "RELU": 19,
    "RESHAPE": 22,
    "MEAN": 40,
    "SLICE": 65,
    "ADD_N": 106,
    "QUANTIZE": 114,
}
"""By TFLite's name."""

LAST_DEPRECATED_OPERATOR = 127
"""Older runtimes read the operator from a byte, which holds this for any number beyond."""

INT8_VERSIONS: Mapping[str, int] = {
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "FULLY_CONNECTED": 4,
    "MAX_POOL_2D": 2,
    "AVERAGE_POOL_2D": 2,
    "ADD": 2,
    "MUL": 2,
    "RELU": 2,
    "CONCATENATION": 2,
    "SLICE": 2,
    "MEAN": 2,
    "DEQUANTIZE": 2,
}
"""The first versions that take int8; all others are version 1."""

PADDING_SAME = 0
PADDING_VALID = 1
ACTIVATION_NONE = 0
ACTIVATION_RELU = 1


@dataclass(frozen=True)
class OptionsTable:
    """Layout of one kind of options.

    Args:
        number: in the union of all kinds.
        fields: slot, and struct's letter for the type, by the setting's name.
    """

    number: int
    fields: Mapping[str, tuple[int, str]] = field(default_factory=dict)


OPTIONS: Mapping[str, OptionsTable] = {
    "Conv2DOptions": OptionsTable(
        1,
        {
            "padding": (0, "b"),
            "stride_w": (1, "i"),
            "stride_h": (2, "i"),
            "fused_activation_function": (3, "b"),
            "dilation_w_factor": (4, "i"),
            "dilation_h_factor": (5, "i"),
        },
    ),
    "DepthwiseConv2DOptions": OptionsTable(
        2,
        {
            "padding": (0, "b"),
            "stride_w": (1, "i"),
            "stride_h": (2, "i"),
            "depth_multiplier": (3, "i"),
            "fused_activation_function": (4, "b"),
            "dilation_w_factor": (5, "i"),
            "dilation_h_factor": (6, "i"),
        },
    ),
    "Pool2DOptions": OptionsTable(
        5,
        {
            "padding": (0, "b"),
            "stride_w": (1, "i"),
            "stride_h": (2, "i"),
            "filter_width": (3, "i"),
            "filter_height": (4, "i"),
            "fused_activation_function": (5, "b"),
        },
    ),
    "FullyConnectedOptions": OptionsTable(
        8,
        {
            "fused_activation_function": (0, "b"),
            "weights_format": (1, "b"),
            "keep_num_dims": (2, "?"),
            "asymmetric_quantize_inputs": (3, "?"),
        },
    ),
    "ConcatenationOptions": OptionsTable(10, {"axis": (0, "i"), "fused_activation_function": (1, "b")}),
    "AddOptions": OptionsTable(11, {"fused_activation_function": (0, "b"), "pot_scale_int16": (1, "?")}),
    "MulOptions": OptionsTable(21, {"fused_activation_function": (0, "b")}),
    "ReducerOptions": OptionsTable(27, {"keep_dims": (0, "?")}),
    "DequantizeOptions": OptionsTable(38),
    "SliceOptions": OptionsTable(48),
    "AddNOptions": OptionsTable(82),
    "QuantizeOptions": OptionsTable(89),
}
"""By TFLite's name."""
