"""Real numbers as int8: ranges, weights and biases, conversions around sums, and ranges from a run or an estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from leti_opt.errors import InvalidInputError
from leti_opt.network.calibration import (
    NOISE_BATCHES,
    calibrated_ranges,
    noise_batches,
    synthetic_ranges,
    unified_ranges,
)
from leti_opt.network.file_model import FileConstant, TensorQuantization
from leti_opt.network.float_sums import with_float_sums
from leti_opt.network.int8_noise import draw_integers
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.noise import NoiseSource
from leti_opt.network.operator_constants import OperatorConstants
from leti_opt.network.operator_plan import plan_operators
from leti_opt.network.quantization import (
    LARGEST_BIAS,
    ActivationRanges,
    activation_quantizations,
    dequantize,
    quantize,
    quantized_constants,
)
from leti_opt.network.tflite_writer import write_tflite
from tests.network.test_weights_block import wide_graphs
from tests.network.test_writer import CASES, graphs

EVERY_INT8 = np.arange(-128, 128, dtype=np.int8)
REALS = st.floats(-1e6, 1e6, width=32)
INPUT = Layer("input", LayerKind.INPUT, (), (4, 4, 3))
CONV = plan_operators(LayerGraph((INPUT, Layer("conv", LayerKind.CONV, (0,), (4, 4, 5), 1, use_bias=True))))


def quantization(low: float, high: float) -> TensorQuantization:
    (found,) = activation_quantizations(ActivationRanges(np.array([low]), np.array([high])))
    return found


# --- activations


@given(st.tuples(REALS, REALS).map(sorted), st.lists(st.floats(0, 1), min_size=1))
def test_numbers_of_a_range_come_back_within_half_a_step(ends: list[float], places: list[float]) -> None:
    low, high = ends
    values = low + (high - low) * np.array(places)
    found = quantization(low, high)
    assert np.abs(dequantize(quantize(values, found), found) - values).max() <= 0.501 * found.scales[0]


@given(REALS, REALS)
def test_every_int8_number_stands_for_another_real_one_and_zero_is_among_them(low: float, high: float) -> None:
    found = quantization(min(low, high), max(low, high))
    assert found.scales[0] > 0
    assert 0.0 in dequantize(EVERY_INT8, found)
    assert np.array_equal(quantize(dequantize(EVERY_INT8, found), found), EVERY_INT8)


def test_what_is_out_of_range_becomes_the_nearest_end() -> None:
    found = quantization(-1.0, 2.0)
    assert quantize(np.array([-50.0, -1.0, 2.0, 50.0]), found).tolist() == [-128, -128, 127, 127]


def test_results_of_relu_begin_at_the_lowest_number() -> None:
    assert quantization(0.0, 3.0).zero_points.tolist() == [-128]
    assert quantization(2.0, 3.0).zero_points.tolist() == [-128]


def test_a_tensor_that_never_moved_still_has_a_scale() -> None:
    found = quantization(0.0, 0.0)
    assert found.scales[0] > 0
    assert dequantize(quantize(np.zeros(3), found), found).tolist() == [0, 0, 0]


# --- weights and biases


def constants_of_conv(
    kernel: np.ndarray, bias: np.ndarray, output: TensorQuantization | None = None
) -> tuple[FileConstant, FileConstant, TensorQuantization]:
    source = quantization(-1.0, 1.0)
    arrays = OperatorConstants(kernel.astype(np.float32), bias.astype(np.float32))
    ((weights, biases),) = quantized_constants(CONV, [arrays], [source, output or quantization(-4.0, 4.0)])
    return weights, biases, source


@given(
    hnp.arrays(np.float32, (5, 1, 1, 3), elements=st.floats(-8, 8, width=32)),
    hnp.arrays(np.float32, 5, elements=st.floats(-8, 8, width=32)),
)
def test_weights_and_biases_come_back_within_half_a_step(kernel: np.ndarray, bias: np.ndarray) -> None:
    weights, biases, _ = constants_of_conv(kernel, bias)
    for constant, values in ((weights, kernel), (biases, bias)):
        scales = constant.quantization.scales.reshape(-1, *[1] * (values.ndim - 1))
        error = np.abs(dequantize(constant.buffer.data, constant.quantization) - values)
        assert (error <= 0.501 * scales).all()


@given(
    hnp.arrays(np.float32, (5, 1, 1, 3), elements=st.floats(-1e9, 1e9, width=32)),
    hnp.arrays(np.float32, 5, elements=st.floats(-1e9, 1e9, width=32)),
)
def test_integers_keep_to_their_ranges_and_scales_are_those_that_kernels_want(
    kernel: np.ndarray, bias: np.ndarray
) -> None:
    weights, biases, source = constants_of_conv(kernel, bias)
    assert weights.buffer.data.dtype == np.int8
    assert weights.buffer.data.min() >= -127
    assert biases.buffer.data.dtype == np.int32
    assert np.abs(biases.buffer.data.astype(float)).max() <= LARGEST_BIAS * (1 + 1e-6)
    assert (weights.quantization.scales > 0).all()
    assert np.array_equal(biases.quantization.scales, source.scales * weights.quantization.scales)
    assert not weights.quantization.zero_points.any()
    assert not biases.quantization.zero_points.any()
    assert len(weights.quantization.scales) == len(biases.quantization.scales) == 5


def test_each_channel_uses_all_of_its_own_range() -> None:
    kernel = np.ones((5, 1, 1, 3)) * 10.0 ** np.arange(-2, 3)[:, None, None, None]
    weights, *_ = constants_of_conv(kernel, np.zeros(5))
    assert (weights.buffer.data == 127).all()
    assert weights.quantization.scales == pytest.approx(10.0 ** np.arange(-2, 3) / 127)


def test_a_channel_of_zeros_keeps_its_bias() -> None:
    weights, biases, _ = constants_of_conv(np.zeros((5, 1, 1, 3)), np.array([0.0, 1.0, -1.0, 1e-3, 30.0]))
    assert not weights.buffer.data.any()
    assert dequantize(biases.buffer.data, biases.quantization) == pytest.approx([0.0, 1.0, -1.0, 1e-3, 30.0], rel=1e-3)


def test_a_bias_that_an_int32_cannot_hold_makes_the_step_of_its_weights_wider() -> None:
    kernel = np.full((5, 1, 1, 3), 1e-9)
    bias = np.array([0.0, 1.0, -1.0, 100.0, -100.0])
    weights, biases, _ = constants_of_conv(kernel, bias)
    assert np.abs(biases.buffer.data.astype(float)).max() == pytest.approx(LARGEST_BIAS, rel=1e-6)
    assert dequantize(biases.buffer.data, biases.quantization) == pytest.approx(bias, rel=1e-6)
    assert weights.quantization.scales[3] > 1e-9


def test_depthwise_kernels_have_their_channels_along_the_last_axis() -> None:
    depthwise = Layer("depthwise", LayerKind.DEPTHWISE_CONV, (0,), (4, 4, 3), 1, use_bias=True)
    kernel = np.array([1.0, 2.0, 4.0], np.float32).reshape(1, 1, 1, 3)
    arrays = OperatorConstants(kernel, np.zeros(3, np.float32))
    plan = plan_operators(LayerGraph((INPUT, depthwise)))
    ((weights, _),) = quantized_constants(plan, [arrays], [quantization(-1, 1)] * 2)
    assert weights.quantization.axis == 3
    assert weights.quantization.scales == pytest.approx(np.array([1, 2, 4]) / 127)


def test_constants_of_a_lone_batch_norm_have_one_scale_that_is_not_finer_than_kernels_take() -> None:
    plan = plan_operators(LayerGraph((INPUT, Layer("norm", LayerKind.BATCH_NORM, (0,), (4, 4, 3)))))
    assert [operator.name for operator in plan.operators] == ["MUL", "ADD"]
    factor, shift = np.array([0.5, 1.0, 1.5], np.float32), np.array([0.0, 1e-7, -1e-7], np.float32)
    found = quantized_constants(
        plan, [OperatorConstants(factor), OperatorConstants(bias=shift)], [quantization(-1, 1)] * 3
    )
    (factors,), (shifts,) = found
    assert dequantize(factors.buffer.data, factors.quantization) == pytest.approx(factor, abs=1.5 / 255)
    assert shifts.quantization.scales[0] >= quantization(-1, 1).scales[0] / 1024
    assert dequantize(shifts.buffer.data, shifts.quantization) == pytest.approx(shift, abs=1e-3 * 2 / 255 * 8)


# --- plans


@given(graphs())
@settings(deadline=None, max_examples=40)
def test_what_kernels_want_in_one_scale_has_one_range_that_holds_all_of_theirs(graph: LayerGraph) -> None:
    plan = plan_operators(graph)
    lows = -np.arange(len(plan.shapes), dtype=float)
    ranges = unified_ranges(plan, ActivationRanges(lows, -lows))
    assert (ranges.lows <= lows).all()
    assert (ranges.highs >= -lows).all()
    for operator in plan.operators:
        if operator.name in ("MAX_POOL_2D", "AVERAGE_POOL_2D", "SLICE", "CONCATENATION"):
            assert {ranges.lows[tensor] for tensor in operator.inputs} == {ranges.lows[operator.output]}
            assert {ranges.highs[tensor] for tensor in operator.inputs} == {ranges.highs[operator.output]}


@given(graphs())
@settings(deadline=None, max_examples=40)
def test_sums_of_many_read_and_write_floats_and_all_else_integers(graph: LayerGraph) -> None:
    plain = plan_operators(graph)
    mixed = with_float_sums(plain)
    floats = mixed.float_tensors
    written = set(mixed.plan.inputs)
    for operator in mixed.plan.operators:
        assert written.issuperset(operator.inputs)
        written.add(operator.output)
        reads_floats = operator.name in ("ADD_N", "QUANTIZE")
        writes_floats = operator.name in ("ADD_N", "DEQUANTIZE")
        assert all((tensor in floats) == reads_floats for tensor in operator.inputs)
        assert (operator.output in floats) == writes_floats
    assert mixed.plan.output == plain.output
    assert mixed.plan.output not in floats
    assert mixed.plan.shapes[: len(plain.shapes)] == plain.shapes
    added = [operator for operator in mixed.plan.operators if operator.name not in ("QUANTIZE", "DEQUANTIZE")]
    assert [operator.name for operator in added] == [operator.name for operator in plain.operators]


def test_a_plan_without_sums_of_many_stays_as_it_is() -> None:
    plan = plan_operators(CASES["chained adds, batch of two"])
    assert with_float_sums(plan).plan is plan


# --- ranges


def test_a_run_gives_the_range_of_every_tensor() -> None:
    layers = (
        INPUT,
        Layer("pool", LayerKind.MAX_POOL, (0,), (4, 4, 3), 3),
        Layer("relu", LayerKind.RELU, (1,), (4, 4, 3)),
    )
    graph = LayerGraph(layers)
    plan = plan_operators(graph)
    images = list(noise_batches((2, 4, 4, 3), seed=7))
    ranges = calibrated_ranges(plan, write_tflite(graph), images)
    everything = np.concatenate(images)
    assert len(everything) == 2 * NOISE_BATCHES
    assert (ranges.lows[0], ranges.highs[0]) == (everything.min(), everything.max())
    assert ranges.lows[-1] == 0
    assert ranges.highs[-1] == everything.max()


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no image to calibrate int8 with; give at least one"),
        ([np.zeros((0, 7, 6, 3))], "no image to calibrate"),
        (
            [np.zeros((1, 7, 6, 3)), np.zeros((7, 6, 3))],
            r"batch 1 has the shape \(7, 6, 3\); give \(any number, 7, 6, 3\)",
        ),
        ([np.zeros((1, 8, 6, 3))], r"batch 0 has the shape \(1, 8, 6, 3\)"),
        ([np.full((1, 7, 6, 3), np.nan)], "batch 0 holds numbers that are not finite"),
        ([np.full((1, 7, 6, 3), 1e38)], "activations of layer '.*' are not finite, so int8 has no range"),
    ],
)
def test_images_that_cannot_calibrate_are_refused(batches: list[np.ndarray], message: str) -> None:
    graph = CASES["add_n"]
    with pytest.raises(InvalidInputError, match=message):
        calibrated_ranges(plan_operators(graph), write_tflite(graph), batches)


@given(wide_graphs())
@settings(deadline=None, max_examples=25)
def test_the_estimate_is_of_the_size_that_a_run_finds(graph: LayerGraph) -> None:
    plan = plan_operators(graph)
    estimated = synthetic_ranges(plan)
    found = calibrated_ranges(plan, write_tflite(graph), noise_batches((1, *graph.input_shape)))
    wide = np.maximum(estimated.highs, -estimated.lows)
    needed = np.maximum(found.highs, -found.lows)
    assert (needed < 8 * wide).all()
    assert (wide < 300 * needed).all()


# --- random integers


@pytest.mark.parametrize(("kind", "low", "high"), [("kernel", -127, 127), ("factor", 52, 127), ("bias", -1024, 1023)])
def test_random_integers_fill_their_range_and_more_begin_with_the_same(kind: str, low: int, high: int) -> None:
    values = draw_integers(NoiseSource([3]), kind, 100_000)
    assert (values.min(), values.max(), len(values)) == (low, high, 100_000)
    assert np.array_equal(draw_integers(NoiseSource([3]), kind, 1000), values[:1000])
    spread = (high - low) / math.sqrt(12)
    assert values.std() == pytest.approx(spread, rel=0.02)
    assert values.mean() == pytest.approx((low + high) / 2, abs=0.02 * spread)
