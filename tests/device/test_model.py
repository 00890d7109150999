"""MeasurableModel: its key, where its TFLite content comes from, and files that are no models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from leti_opt.architecture import NAS_BENCH_101_LABELS, Architecture
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import InvalidConfigError, InvalidModelError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.tflite_writer import write_tflite
from tests.device.tiny_tflite import adding_model

CONV3, CONV1, POOL = NAS_BENCH_101_LABELS
CELL = Architecture.parse(f"0-1,0-2,1-2,1-3,2-3:{CONV3},{POOL}")
GRAPH = build_layer_graph(CELL, NetworkConfig(scope="cell", filters=4, input_shape=(4, 4, 4)))


def test_the_key_is_of_layers_and_renderer_and_not_of_weights_or_name() -> None:
    model = MeasurableModel.of_graph(GRAPH, "one", seed=0)
    other = MeasurableModel.of_graph(GRAPH, "two", seed=1)
    assert model.key == other.key
    assert model.tflite != other.tflite
    keys = {
        model.key,
        MeasurableModel.of_graph(GRAPH, renderer="converter").key,
        MeasurableModel.of_graph(replace(GRAPH, batch_size=2)).key,
        MeasurableModel.of_graph(replace(GRAPH, precision="int8")).key,
    }
    assert len(keys) == 4
    assert len(bytes.fromhex(model.key)) == 32


def test_a_graphs_model_says_what_it_is() -> None:
    model = MeasurableModel.of_graph(replace(GRAPH, precision="dynamic"), "mine")
    assert (model.name, model.precision, model.layer_graph) == ("mine", "dynamic", replace(GRAPH, precision="dynamic"))
    assert model.renderer.startswith("tf-converter/")
    assert MeasurableModel.of_graph(GRAPH).renderer.startswith("tflite-writer/")


def test_nothing_is_rendered_before_the_file_is_asked_for() -> None:
    calls = []

    def render() -> bytes:
        calls.append(1)
        return b"content"

    model = MeasurableModel("key", "name", "none", render=render)
    assert calls == []
    assert (model.tflite, model.tflite, len(calls)) == (b"content", b"content", 1)


def test_an_unknown_renderer_is_refused_at_once() -> None:
    with pytest.raises(InvalidConfigError, match="unknown renderer 'fast'"):
        MeasurableModel.of_graph(GRAPH, renderer="fast")


def test_a_temporary_file_lives_as_long_as_its_context() -> None:
    model = MeasurableModel.of_graph(GRAPH)
    with model.tflite_file() as path:
        assert path.read_bytes() == model.tflite == write_tflite(GRAPH)
    assert not path.parent.exists()


def test_a_users_file_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.tflite").write_bytes(adding_model())
    monkeypatch.chdir(tmp_path)
    model = MeasurableModel.of_file("net.tflite")
    assert (model.name, model.renderer, model.precision) == ("net.tflite", "file", "unknown")
    assert model.layer_graph is None
    monkeypatch.chdir("/")
    with model.tflite_file() as path:
        assert path == tmp_path / "net.tflite"
    assert path.exists()
    assert model.tflite == adding_model()


def test_a_files_key_is_that_of_its_structure_wherever_it_lies(tmp_path: Path) -> None:
    graphs = {"a.tflite": (GRAPH, 0), "b.tflite": (GRAPH, 1), "c.tflite": (replace(GRAPH, batch_size=2), 0)}
    keys = {}
    for name, (graph, seed) in graphs.items():
        (tmp_path / name).write_bytes(write_tflite(graph, seed=seed))
        keys[name] = MeasurableModel.of_file(tmp_path / name).key
    assert keys["a.tflite"] == keys["b.tflite"] != keys["c.tflite"]
    content = write_tflite(GRAPH)
    assert MeasurableModel.of_content(content, "a", "file", "unknown").key == keys["a.tflite"]
    assert MeasurableModel.of_content(content, "a", "tf-converter/1", "float32").key != keys["a.tflite"]


def test_a_missing_file_a_folder_and_a_text_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.tflite").write_text("hello, I am no model at all")
    (tmp_path / "folder.tflite").mkdir()
    for name, words in [
        ("no.tflite", "No such file"),
        ("folder.tflite", "directory"),
        ("text.tflite", "no 'TFL3' mark"),
    ]:
        with pytest.raises(InvalidModelError, match=rf"{name}.*{words}"):
            MeasurableModel.of_file(tmp_path / name)
    with pytest.raises(InvalidModelError, match="converted is not a TFLite model"):
        MeasurableModel.of_content(b"", "converted", "x", "float32")


def test_a_model_with_neither_file_nor_renderer_says_so() -> None:
    with pytest.raises(ValueError, match="mine has neither a file nor a way to render one"):
        _ = MeasurableModel("key", "mine", "none").tflite


def test_models_are_equal_by_their_facts_and_not_by_how_they_are_rendered() -> None:
    first, second = MeasurableModel.of_graph(GRAPH), MeasurableModel.of_graph(GRAPH, seed=1)
    assert first == second
    assert hash(first) == hash(second)
    assert isinstance(first.layer_graph, LayerGraph)
    assert "Layer(" not in repr(first)
