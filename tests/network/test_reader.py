"""The structure digest of a TFLite file, and files that are none."""

from __future__ import annotations

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.errors import InvalidModelError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.keras_model import build_keras_model
from leti_opt.network.layer_graph import Layer, LayerGraph, LayerKind
from leti_opt.network.tflite_converter import convert_tflite
from leti_opt.network.tflite_reader import check_tflite, structure_digest
from leti_opt.network.tflite_writer import write_tflite
from tests.device.tiny_tflite import adding_model, model_with_custom_operator

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
CELL = Architecture.parse(f"0-1,0-2,1-2,1-3,2-3:{CONV3},{POOL}")
GOOD = write_tflite(build_layer_graph(CELL, NetworkConfig(scope="cell", filters=3, input_shape=(4, 4, 3))))


def pooled(size: int = 3, stride: int = 1, side: int = 8, kind: LayerKind = LayerKind.MAX_POOL) -> bytes:
    layers = (
        Layer("in", LayerKind.INPUT, (), (side, side, 2)),
        Layer("pool", kind, (0,), (-(-side // stride), -(-side // stride), 2), size, stride),
    )
    return write_tflite(LayerGraph(layers))


def test_every_part_of_the_structure_changes_the_digest() -> None:
    others = [
        pooled(),
        pooled(size=5),
        pooled(stride=2),
        pooled(side=9),
        pooled(kind=LayerKind.AVERAGE_POOL),
        adding_model(),
        adding_model((1, 9)),
        model_with_custom_operator("One"),
        model_with_custom_operator("Other"),
    ]
    assert len({structure_digest(content) for content in others}) == len(others)


def test_the_digest_is_the_same_each_time_and_hexadecimal() -> None:
    digest = structure_digest(GOOD)
    assert digest == structure_digest(bytes(GOOD))
    assert len(bytes.fromhex(digest)) == 32


def test_sizes_that_are_cut_off_are_structure_and_weights_are_not() -> None:
    cell = Architecture.parse(f"0-1,0-2,1-2,1-3,2-3:{CONV3},{CONV1}")

    def digest(filters: int, seed: int) -> str:
        config = NetworkConfig(scope="cell", filters=filters, input_shape=(4, 4, 3))
        return structure_digest(write_tflite(build_layer_graph(cell, config), seed=seed))

    assert digest(5, 0) == digest(5, 1)
    assert digest(5, 0) != digest(7, 0)


@pytest.mark.needs("tensorflow")
def test_int8_files_with_other_weights_have_one_digest() -> None:
    graph = build_layer_graph(CELL, NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 8)))
    files = [convert_tflite(build_keras_model(graph, seed), "int8", seed=seed) for seed in (0, 1)]
    assert files[0] != files[1]
    assert structure_digest(files[0]) == structure_digest(files[1])


@pytest.mark.parametrize(
    "content", [b"", b"x", b"TFL3", bytes(4) + b"TFL3", b"hello world, this is no model", b"PK\3\4" + bytes(100)]
)
def test_what_is_no_model_is_refused_by_name_with_what_to_do(content: bytes) -> None:
    with pytest.raises(InvalidModelError, match=rf"net\.bin is not a TFLite model \({len(content)} bytes.*convert"):
        check_tflite(content, "net.bin")
    with pytest.raises(InvalidModelError, match=r"net\.bin is not a TFLite model"):
        structure_digest(content, "net.bin")


def test_a_damaged_model_is_refused_by_name() -> None:
    with pytest.raises(InvalidModelError, match=r"net\.tflite is marked as a TFLite model but is damaged"):
        structure_digest(b"\xff\xff\xff\xff" + b"TFL3" + bytes(100), "net.tflite")


@given(st.integers(0, len(GOOD) - 1))
@settings(deadline=None, max_examples=60)
def test_a_model_that_was_cut_off_is_refused(length: int) -> None:
    with pytest.raises(InvalidModelError):
        structure_digest(GOOD[:length])


def digest_or_refusal(content: bytes) -> str | None:
    """Anything but a digest and an InvalidModelError is a fault."""
    try:
        return structure_digest(content)
    except InvalidModelError:
        return None


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=200))
@example(b"\x0c\0\0\0", bytes(200))
@example(b"\x08\0\0\0", b"\x04" * 200)
@settings(deadline=None, max_examples=300)
def test_random_bytes_behind_the_mark_are_refused_or_read(start: bytes, rest: bytes) -> None:
    found = digest_or_refusal(start + b"TFL3" + rest)
    assert found is None or len(found) == 64


@given(st.lists(st.tuples(st.integers(8, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=300)
def test_a_model_with_a_few_wrong_bytes_is_refused_or_read(changes: list[tuple[int, int]]) -> None:
    content = bytearray(GOOD)
    for position, value in changes:
        content[position] = value
    found = digest_or_refusal(bytes(content))
    assert found is None or len(found) == 64


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_axes_are_structure_though_they_lie_among_the_weights() -> None:
    content = write_tflite(build_layer_graph(CELL, NetworkConfig.small(filters=4)))
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    axes = [b for b in model.buffers if b.data is not None and bytes(b.data) == bytes([1, 0, 0, 0, 2, 0, 0, 0])]
    assert len(axes) == 1
    assert structure_digest(packed(model)) == structure_digest(content)
    axes[0].data = list(bytes([1, 0, 0, 0, 1, 0, 0, 0]))
    assert structure_digest(packed(model)) != structure_digest(content)


def test_names_of_tensors_are_no_structure() -> None:
    model = schema.ModelT.InitFromPackedBuf(GOOD, 0)
    assert {tensor.name for tensor in model.subgraphs[0].tensors} != {b"x"}
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"x"
    assert structure_digest(packed(model)) == structure_digest(GOOD)
