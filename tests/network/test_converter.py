"""The TF converter: four precisions, calibration, and what it refuses."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidConfigError, InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.rendering import chosen_renderer, render_tflite, renderer_version
from leti_opt.network.tflite_converter import PRECISIONS, check_precision, convert_tflite
from leti_opt.network.tflite_reader import structure_digest
from leti_opt.network.tflite_writer import write_tflite
from tests.network.tflite_facts import input_type, run

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
GRAPH = build_layer_graph(
    Architecture.parse(f"0-1,0-2,1-2,1-3,2-3:{CONV3},{POOL}"),
    NetworkConfig.small(filters=32, stacks=1, input_shape=(8, 8, 3)),
)
IMAGE = np.random.default_rng(1).standard_normal((1, 8, 8, 3)).astype(np.float32)

needs_tensorflow = pytest.mark.needs("tensorflow")


@cache
def model() -> Any:
    return build_keras_model(GRAPH)


@cache
def converted(precision: str) -> bytes:
    return convert_tflite(model(), precision)


@needs_tensorflow
def test_float32_computes_what_keras_does() -> None:
    np.testing.assert_allclose(run(converted("float32"), IMAGE), model()(IMAGE).numpy(), rtol=1e-4, atol=1e-4)


@needs_tensorflow
@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 0.01), ("dynamic", 0.1)])
def test_smaller_weights_compute_nearly_the_same_from_floats(precision: str, tolerance: float) -> None:
    expected = model()(IMAGE).numpy()
    content = converted(precision)
    assert input_type(content) is np.float32
    assert len(content) < 0.8 * len(converted("float32"))
    np.testing.assert_allclose(run(content, IMAGE), expected, atol=tolerance * np.abs(expected).max())


@needs_tensorflow
def test_int8_takes_and_gives_int8() -> None:
    content = converted("int8")
    assert input_type(content) is np.int8
    output = run(content, np.random.default_rng(0).integers(-128, 128, (1, 8, 8, 3)))
    assert output.dtype == np.int8
    assert output.shape == (1, 10)
    assert len(np.unique(output)) > 1


@needs_tensorflow
def test_each_precision_is_another_structure() -> None:
    digests = {structure_digest(converted(precision)) for precision in PRECISIONS}
    assert len(digests) == len(PRECISIONS)


@needs_tensorflow
def test_representative_data_calibrate_int8() -> None:
    asked = []

    def batches() -> Iterator[np.ndarray]:
        for number in range(3):
            asked.append(number)
            yield np.full((1, 8, 8, 3), 100.0 * (number - 1))

    from ai_edge_litert.interpreter import Interpreter

    scales = []
    for content in (converted("int8"), convert_tflite(model(), "int8", list(batches()))):
        (details,) = Interpreter(model_content=content).get_input_details()
        scales.append(details["quantization"][0])
    assert asked == [0, 1, 2]
    assert scales[1] == pytest.approx(200 / 255, rel=0.01)
    assert scales[0] < 0.1


@needs_tensorflow
def test_what_tensorflow_saves_on_the_way_lies_where_a_killed_process_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    saved: list[Path] = []

    def batches() -> Iterator[np.ndarray]:
        saved.extend(tmp_path.rglob("saved_model.pb"))
        yield IMAGE

    convert_tflite(model(), "int8", batches())
    [file] = saved
    assert file.relative_to(tmp_path).parts[0] == f"leti-opt-{os.getuid()}"
    assert not file.parents[1].exists()


@needs_tensorflow
def test_a_free_batch_is_calibrated_one_image_at_a_time() -> None:
    import keras

    free = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    content = convert_tflite(free, "int8")
    assert run(content, np.zeros((1, 4, 4, 1))).shape == (1, 3)


@needs_tensorflow
def test_what_noise_cannot_calibrate_is_refused() -> None:
    import keras

    any_size = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(InvalidInputError, match=r"\(None, None, None, 1\): give its sizes"):
        convert_tflite(any_size, "int8")
    two = [keras.Input((4,)), keras.Input((4,))]
    with pytest.raises(InvalidInputError, match=r"one input to calibrate; .* has 2"):
        convert_tflite(keras.Model(two, keras.layers.Add()(two)), "int8")


def test_an_unknown_precision_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"unknown precision 'float-16'; did you mean 'float16'\?"):
        check_precision("float-16")
    with pytest.raises(InvalidInputError, match="unknown precision 'int4'"):
        convert_tflite(None, "int4")


def test_what_the_writer_cannot_write_is_converted() -> None:
    ways = {precision: chosen_renderer(precision) for precision in PRECISIONS}
    assert ways == {"float32": "writer", "float16": "writer", "dynamic": "converter", "int8": "writer"}
    assert chosen_renderer("float32", "converter") == "converter"
    with pytest.raises(InvalidConfigError, match="unknown renderer 'fast'; known: auto, writer, converter"):
        chosen_renderer("float32", "fast")


def test_versions_of_the_two_ways_differ_and_name_their_tools() -> None:
    assert renderer_version("float32").startswith("tflite-writer/")
    assert renderer_version("float16") == renderer_version("int8") == renderer_version("float32")
    assert renderer_version("dynamic") == renderer_version("float32", "converter")
    assert "keras/" in renderer_version("dynamic")


def test_rendering_takes_the_chosen_way() -> None:
    assert render_tflite(GRAPH, seed=5) == write_tflite(GRAPH, seed=5)


@needs_tensorflow
def test_rendering_takes_the_converter_where_it_is_asked_for() -> None:
    content = render_tflite(replace(GRAPH, precision="int8"), "converter")
    assert b"MLIR Converted" in content
    assert input_type(content) is np.int8
