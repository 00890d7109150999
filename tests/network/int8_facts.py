"""What a network in int8 computes, in real numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

from leti_opt.network.calibration import noise_batches
from leti_opt.network.layer_graph import LayerGraph
from tests.network.tflite_facts import kept_tensors, root_mean_square


def int8(graph: LayerGraph) -> LayerGraph:
    return replace(graph, precision="int8")


def images(graph: LayerGraph) -> list[NDArray[np.float32]]:
    """Some of those that calibrate, so that no value is out of range."""
    return list(noise_batches((graph.batch_size, *graph.input_shape)))[:4]


def real_outputs(content: bytes, batches: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Outputs as real numbers, whether the file takes and gives integers or not."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (wanted,), (given_out,) = interpreter.get_input_details(), interpreter.get_output_details()
    found = []
    for batch in batches:
        values = batch
        if wanted["dtype"] is np.int8:
            values = integers(batch, wanted["quantization"])
        interpreter.set_tensor(wanted["index"], values)
        interpreter.invoke()
        found.append(real(interpreter.get_tensor(given_out["index"]), given_out["quantization"]))
    return np.array(found)


def real(values: NDArray[Any], parameters: tuple[float, int]) -> NDArray[np.float64]:
    scale, zero_point = parameters
    return (values.astype(float) - zero_point) * (scale or 1.0)


def assert_ordinary_output(values: NDArray[np.float64]) -> None:
    assert np.isfinite(values).all()
    assert np.ptp(values) > 0.1 * root_mean_square(values) > 0


def integers(values: NDArray[Any], parameters: tuple[float, int]) -> NDArray[np.int8]:
    scale, zero_point = parameters
    return (np.rint(values / scale) + zero_point).clip(-128, 127).astype(np.int8)


def noise(wanted: Mapping[str, Any]) -> NDArray[np.int8]:
    return integers(np.random.default_rng(0).standard_normal(wanted["shape"]), wanted["quantization"])


def assert_ordinary(content: bytes) -> None:
    for name, (values, parameters) in kept_tensors(
        content, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, noise
    ).items():
        found = real(values, parameters)
        assert np.isfinite(found).all(), name
        assert np.ptp(found) > 0, f"{name} is constant"
        assert 1e-3 < root_mean_square(found) < 1e3, f"{name} has a root mean square of {root_mean_square(found)}"
        if values.dtype == np.int8:
            assert np.mean(values == 127) < 0.4, f"{name} is cut off"
            assert len(np.unique(values)) >= 3, f"{name} has few values"
