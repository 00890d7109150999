"""Networks of a panel, built again from what the store knows of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from leti_opt import (
    NAS_BENCH_201,
    Architecture,
    LatencyStore,
    MeasurableModel,
    NetworkConfig,
    Operation,
    build_layer_graph,
    write_tflite,
)
from leti_opt.errors import NotFoundError
from leti_opt.network.operations import batch_norm, conv, depthwise_conv, relu
from leti_opt.objective.panel import panel_model
from leti_opt.objective.questions import cell_question
from tests.objective.changed_device import NETWORK, ChangedDevice, cells, measure_cells, service_on

SEPARABLE = Operation("separable3x3", (depthwise_conv(3), conv(1), batch_norm(), relu()))


NATIVE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"


@pytest.mark.parametrize(
    ("cell", "config"),
    [
        (cells(8)[7], NETWORK),
        (cells(8)[7], NETWORK.changed(precision="dynamic")),
        (NAS_BENCH_201.parse_native(NATIVE), NetworkConfig.nasbench201(cells_per_stack=1, input_shape=(8, 8, 3))),
        (
            Architecture.parse("0-1,1-2:separable3x3:separable3x3,conv3x3-bn-relu"),
            NETWORK.changed(operations=(SEPARABLE,)),
        ),
    ],
)
def test_a_cell_is_built_again_from_the_store_alone(
    store: LatencyStore, old: ChangedDevice, cell: Architecture, config: NetworkConfig
) -> None:
    answer = service_on(old, store).answer(cell_question(cell, config))
    assert answer.measurement is not None
    model = panel_model(store, answer.measurement.model_key)
    assert model.key == answer.measurement.model_key
    assert model.layer_graph == build_layer_graph(cell, config)


def test_a_cell_of_another_renderer_version_is_not_built_again(store: LatencyStore, old: ChangedDevice) -> None:
    key = measure_cells(old, store, 1)[0]
    alias = replace(store.aliases(model_key=key)[0], renderer="tflite_writer 0")
    store.add_alias(alias, MeasurableModel("of an old version", "cell", "tflite_writer 0"))
    with pytest.raises(NotFoundError, match="tflite_writer 0"):
        panel_model(store, "of an old version")


def test_a_cell_that_is_laid_out_in_another_way_now_is_not_built_again(store: LatencyStore, old: ChangedDevice) -> None:
    key = measure_cells(old, store, 1)[0]
    alias = replace(store.aliases(model_key=key)[0], graph_hash="another")
    store.add_alias(alias, MeasurableModel("laid out before", "cell", alias.renderer))
    with pytest.raises(NotFoundError, match="another way"):
        panel_model(store, "laid out before")


def test_a_cell_whose_network_was_not_kept_is_not_built_again(store: LatencyStore, old: ChangedDevice) -> None:
    key = measure_cells(old, store, 1)[0]
    alias = replace(store.aliases(model_key=key)[0], network_digest="of an old store")
    store.add_alias(alias, MeasurableModel("old", "cell", alias.renderer))
    with pytest.raises(NotFoundError, match="settings of networks"):
        panel_model(store, "old")


def test_a_model_that_the_store_never_saw_is_not_found(store: LatencyStore) -> None:
    with pytest.raises(NotFoundError, match="does not know"):
        panel_model(store, "nothing")


def a_file(folder: Path, number: int = 0) -> Path:
    path = folder / f"net{number}.tflite"
    path.write_bytes(write_tflite(build_layer_graph(cells(20)[number], NETWORK)))
    return path


def keep_file(store: LatencyStore, path: Path) -> str:
    model = MeasurableModel.of_file(path)
    store.add_model(model)
    return model.key


def test_a_users_file_is_found_again(store: LatencyStore, tmp_path: Path) -> None:
    key = keep_file(store, a_file(tmp_path))
    assert panel_model(store, key).key == key


def test_a_file_that_is_gone_or_another_is_not_found(store: LatencyStore, tmp_path: Path) -> None:
    path = a_file(tmp_path)
    key = keep_file(store, path)
    path.write_bytes(a_file(tmp_path, 5).read_bytes())
    with pytest.raises(NotFoundError, match="not the file"):
        panel_model(store, key)
    path.unlink()
    with pytest.raises(NotFoundError, match="No such file"):
        panel_model(store, key)
