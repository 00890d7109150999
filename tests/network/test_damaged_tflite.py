"""TFLite files that are damaged or contradict themselves: read, or refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.errors import InvalidModelError
from leti_opt.network.cost import network_cost
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.tflite_reader import read_tflite
from tests.network.schema_files import packed, unpacked
from tests.network.tiny_file import TINY


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match=r"cannot read .*none\.tflite: No such file"):
        read_tflite(tmp_path / "none.tflite")
    other = tmp_path / "other.tflite"
    other.write_bytes(b"PK" + bytes(100))
    with pytest.raises(InvalidModelError, match=r"other\.tflite is not a TFLite model.*convert"):
        read_tflite(other)


def broken(change: Any) -> bytes:
    model = unpacked(TINY)
    change(model)
    return packed(model)


def no_inputs(model: Any) -> None:
    """The constant that the first operator reads, as its image."""
    model.subgraphs[0].inputs = []
    operator = model.subgraphs[0].operators[0]
    operator.inputs = [operator.inputs[1]] * 3
    model.subgraphs[0].operators = [operator]
    model.subgraphs[0].outputs = operator.outputs


def negative_size(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [-1, 4, 4, 3]


def huge_size(model: Any) -> None:
    model.subgraphs[0].tensors[0].shape = [2**31 - 1] * 3


def unwritten(model: Any) -> None:
    model.subgraphs[0].operators = model.subgraphs[0].operators[1:]


def written_twice(model: Any) -> None:
    model.subgraphs[0].operators = [model.subgraphs[0].operators[0], *model.subgraphs[0].operators]


def wrong_tensor(model: Any) -> None:
    model.subgraphs[0].operators[0].inputs = [0, 10_000, -1]


def wrong_code(model: Any) -> None:
    model.subgraphs[0].operators[0].opcodeIndex = 99


def wrong_buffer(model: Any) -> None:
    model.subgraphs[0].tensors[0].buffer = 10_000


def short_weights(model: Any) -> None:
    model.buffers[1].data = model.buffers[1].data[:-4]


def no_graph(model: Any) -> None:
    model.subgraphs = []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (no_inputs, "has no input"),
        (negative_size, r"shape \(-1, 4, 4, 3\): convert the model with fixed sizes"),
        (huge_size, "more than any memory holds"),
        (unwritten, "which nothing writes before.*make it anew"),
        (written_twice, "which has its values already"),
        (wrong_tensor, "names tensor 10000"),
        (wrong_code, "names code 99"),
        (wrong_buffer, "names buffer 10000"),
        (short_weights, r"needs \d+ bytes and has"),
        (no_graph, "it has no graph"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_in_words(change: Any, words: str) -> None:
    with pytest.raises(InvalidModelError, match=words):
        read_tflite(broken(change))


def test_lists_with_more_entries_than_the_file_has_room_for_are_refused_at_once() -> None:
    tensors = unpacked(TINY).subgraphs[0].tensors
    count = len(tensors).to_bytes(4, "little")
    places = [at for at in range(0, len(TINY) - 4, 4) if TINY[at : at + 4] == count]
    assert places
    refused = 0
    for place in places:
        try:
            read_tflite(TINY[:place] + (2**30).to_bytes(4, "little") + TINY[place + 4 :])
        except InvalidModelError as error:
            refused += "entries in" in str(error)
    assert refused


def read_or_refused(content: bytes) -> LayerGraph | None:
    """Anything but a graph with costs and an InvalidModelError is a fault."""
    try:
        graph = read_tflite(content)
    except InvalidModelError:
        return None
    assert network_cost(graph).flops >= 0
    assert len(graph.digest) == 64
    return graph


@given(st.integers(0, len(TINY) - 1))
@settings(deadline=None, max_examples=60)
def test_a_file_that_was_cut_off_is_refused(length: int) -> None:
    assert read_or_refused(TINY[:length]) is None


@given(st.lists(st.tuples(st.integers(8, len(TINY) - 1), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=400)
def test_a_file_with_a_few_wrong_bytes_is_read_or_refused(changes: list[tuple[int, int]]) -> None:
    content = bytearray(TINY)
    for position, value in changes:
        content[position] = value
    read_or_refused(bytes(content))


@given(st.binary(min_size=4, max_size=4), st.binary(max_size=200))
@settings(deadline=None, max_examples=200)
def test_random_bytes_behind_the_mark_are_read_or_refused(start: bytes, rest: bytes) -> None:
    read_or_refused(start + b"TFL3" + rest)
