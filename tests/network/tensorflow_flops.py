"""FLOPs of a Keras model's convolutions and dense layers as TensorFlow's own profiler counts them."""

from __future__ import annotations

import math
from typing import Any

COUNTED = ("Conv2D", "DepthwiseConv2dNative", "MatMul", "BatchMatMulV2")


def profiled_flops(model: Any) -> int:
    """By the profiler, and convolutions in groups, of which it has no figures, by their definition."""
    return ungrouped_flops(model) + grouped_flops(model)


def ungrouped_flops(model: Any) -> int:
    """By the profiler alone. Keras compiles a convolution in groups on its own, where the profiler does not look."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    (found,) = model.inputs
    shape = [size or 1 for size in found.shape]
    whole = tf.function(lambda image: model(image, training=False))
    frozen = convert_variables_to_constants_v2(whole.get_concrete_function(tf.TensorSpec(shape, tf.float32)))
    builder = tf.compat.v1.profiler.ProfileOptionBuilder
    options = builder(builder.float_operation()).with_empty_output().build()
    root = tf.compat.v1.profiler.profile(graph=frozen.graph, cmd="op", options=options)
    return sum(node.float_ops for node in _nodes(root) if node.name in COUNTED)


def grouped_flops(model: Any) -> int:
    """By definition: two for each element of each result and each weight of the kernel that enters it.

    A kernel's third size is the channels of one group. 0 for a network without convolutions in groups.
    """
    batch = model.inputs[0].shape[0] or 1
    grouped = [layer for layer in model._flatten_layers() if getattr(layer, "groups", 1) > 1]
    return sum(
        2 * batch * math.prod(layer.output.shape[1:]) * math.prod(layer.kernel.shape[:-1])
        for layer in grouped
        if hasattr(layer, "kernel")
    )


def _nodes(node: Any) -> list[Any]:
    return [node, *(inner for child in node.children for inner in _nodes(child))]
