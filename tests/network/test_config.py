"""The config dict: what it refuses, its presets, and a digest of all that it says."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from leti_opt.architecture import Architecture
from leti_opt.errors import InvalidConfigError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.operations import Operation, batch_norm, conv, depthwise_conv, relu

SEPARABLE = Operation("separable3x3", (depthwise_conv(3), conv(1), batch_norm(), relu()))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"filter": 16}, r"unknown setting 'filter'; did you mean 'filters'\?"),
        ({"cell_per_stack": 1}, "did you mean 'cells_per_stack'"),
        ({"zzz": 1}, r"unknown setting 'zzz'; Known: scope, input_shape"),
        ({"filters": 0}, r"filters: .*greater than 0 \(given: 0\)"),
        ({"filters": "many"}, r"filters: .*integer.*\(given: 'many'\)"),
        ({"filters": 1.5}, r"filters: .*integer.*\(given: 1\.5\)"),
        ({"stacks": -1}, r"stacks: .*\(given: -1\)"),
        ({"cells_per_stack": 0}, "cells_per_stack: "),
        ({"classes": 0}, "classes: "),
        ({"batch_size": 0}, "batch_size: "),
        ({"input_shape": (32, 32)}, "input_shape"),
        ({"input_shape": (32, 0, 3)}, r"input_shape\.1: "),
        ({"scope": "network"}, r"scope: .*'cell' or 'stacked' \(given: 'network'\)"),
        ({"cell_output": "mean"}, "cell_output: .*'concatenate' or 'sum'"),
        ({"reduction": "none"}, "reduction: .*'max_pool' or 'residual'"),
        ({"precision": "float64"}, "precision: .*'float32', 'float16', 'dynamic' or 'int8'"),
        ({"chained_adds": "perhaps"}, "chained_adds: "),
        ({"stem": "conv3x3-relu"}, r"stem is the unknown operation 'conv3x3-relu'; did you mean 'conv3x3-bn-relu'\?"),
        ({"head": "relu-bn"}, "head is the unknown operation 'relu-bn'"),
        ({"projection": "conv"}, "projection is the unknown operation 'conv'"),
        ({"projection": None}, "cell_output='concatenate' needs a projection, not None"),
        (
            {"projection": None, "cell_output": "sum"},
            "reduction='max_pool' needs a projection to double the channels; use reduction='residual'",
        ),
        (
            {"projection": None, "cell_output": "sum", "scope": "cell", "filters": 8, "input_shape": (4, 4, 3)},
            "the input's 3 channels must equal filters=8",
        ),
        ({"operations": (Operation("maxpool3x3", (relu(),)),)}, "'maxpool3x3' is defined already, with other layers"),
        ({"operations": (SEPARABLE, Operation("separable3x3"))}, "'separable3x3' is defined already"),
        ({"operations": ("conv",)}, r"operations\.0: "),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidConfigError, match=words) as refusal:
        NetworkConfig(**settings)
    assert isinstance(refusal.value, ValueError)
    assert "pydantic" not in str(refusal.value)


def test_every_wrong_setting_is_named_at_once() -> None:
    with pytest.raises(InvalidConfigError, match=r"classes: .*; filters: .*; unknown setting 'stack'"):
        NetworkConfig(filters=0, classes=0, stack=2)


def test_changing_a_field_in_place_is_refused() -> None:
    config = NetworkConfig()
    with pytest.raises(ValueError, match="frozen"):
        config.filters = 3
    assert config.filters == 128


def test_defaults_are_those_of_nasbench101() -> None:
    config = NetworkConfig()
    assert config == NetworkConfig.nasbench101()
    assert (config.filters, config.stacks, config.cells_per_stack, config.classes) == (128, 3, 3, 10)
    assert (config.input_shape, config.chained_adds) == ((32, 32, 3), True)


def test_nasbench201_has_three_stacks_of_five_summing_cells() -> None:
    config = NetworkConfig.nasbench201()
    assert (config.filters, config.stacks, config.cells_per_stack) == (16, 3, 5)
    assert (config.cell_output, config.projection, config.reduction) == ("sum", None, "residual")


def test_presets_take_changes() -> None:
    assert NetworkConfig.small(filters=8).filters == 8
    assert NetworkConfig.small(filters=8).stacks == NetworkConfig.small().stacks
    assert NetworkConfig.nasbench201(scope="cell", filters=4).input_shape == (32, 32, 4)
    with pytest.raises(InvalidConfigError, match="did you mean 'filters'"):
        NetworkConfig.small(filtres=8)


def test_a_cell_alone_takes_its_own_channels_unless_told_otherwise() -> None:
    assert NetworkConfig(scope="cell", filters=24).input_shape == (32, 32, 24)
    assert NetworkConfig(scope="cell", filters=24, input_shape=None).input_shape == (32, 32, 24)
    assert NetworkConfig(scope="cell", filters=24, input_shape=(8, 8, 5)).input_shape == (8, 8, 5)


CHANGES: list[dict[str, Any]] = [
    {"scope": "cell"},
    {"input_shape": (32, 32, 4)},
    {"input_shape": (32, 31, 3)},
    {"batch_size": 2},
    {"classes": 11},
    {"filters": 127},
    {"stacks": 2},
    {"cells_per_stack": 2},
    {"stem": "conv3x3-bn"},
    {"head": "bn-relu"},
    {"cell_output": "sum"},
    {"projection": "conv1x1"},
    {"reduction": "residual"},
    {"chained_adds": False},
    {"precision": "int8"},
    {"operations": (SEPARABLE,)},
    {"operations": (Operation("separable3x3", (depthwise_conv(5), conv(1), batch_norm(), relu())),)},
    {"operations": (Operation("separable3x3", (depthwise_conv(3, use_bias=True), conv(1), batch_norm(), relu())),)},
    {"operations": (Operation("separable3x3", (conv(1), depthwise_conv(3), batch_norm(), relu())),)},
    {"operations": (Operation("other", SEPARABLE.steps),)},
]


def test_every_field_changes_the_digest() -> None:
    changed = {name for change in CHANGES for name in change}
    assert changed == set(NetworkConfig.model_fields)
    digests = [NetworkConfig().digest, *(NetworkConfig(**change).digest for change in CHANGES)]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 and int(digest, 16) >= 0 for digest in digests)


def test_equal_configs_have_one_digest_however_they_were_written() -> None:
    assert NetworkConfig(filters="16").digest == NetworkConfig(filters=16).digest
    assert NetworkConfig(input_shape=[32, 32, 3]).digest == NetworkConfig().digest
    assert NetworkConfig(operations=[SEPARABLE]).digest == NetworkConfig(operations=(SEPARABLE,)).digest


@pytest.mark.parametrize("config", [NetworkConfig.small(operations=(SEPARABLE,)), NetworkConfig.nasbench201()])
def test_a_pickled_config_is_the_same(config: NetworkConfig) -> None:
    table = config.operation_table
    copy = pickle.loads(pickle.dumps(config))
    assert (copy, copy.digest, copy.operation_table) == (config, config.digest, table)
    assert hash(copy) == hash(config)


def test_pydantics_own_copy_has_a_digest_of_its_own_too() -> None:
    config = NetworkConfig.small()
    assert config.digest != config.model_copy(update={"filters": 64}).digest
    assert config.model_copy().digest == config.digest


def test_a_default_input_shape_follows_the_scope() -> None:
    assert NetworkConfig.small().changed(scope="cell").input_shape == (32, 32, 32)
    assert NetworkConfig.small(input_shape=(8, 8, 3)).changed(filters=64).input_shape == (8, 8, 3)


def test_a_changed_copy_is_checked_anew_and_has_a_digest_of_its_own() -> None:
    config = NetworkConfig.small(operations=(SEPARABLE,))
    before = config.digest
    other = config.changed(filters=16)
    assert (other.filters, other.stacks, other.operations) == (16, config.stacks, (SEPARABLE,))
    assert other.digest != before
    assert (config.filters, config.digest) == (32, before)
    assert config.changed() == config
    with pytest.raises(InvalidConfigError, match="filters"):
        config.changed(filters=0)
    with pytest.raises(InvalidConfigError, match="did you mean 'filters'"):
        config.changed(filter=1)


def test_operations_may_be_written_as_plain_data() -> None:
    plain = {
        "label": "separable3x3",
        "steps": [
            {"kind": "depthwise_conv", "kernel_size": 3},
            {"kind": "conv", "kernel_size": 1},
            {"kind": "batch_norm"},
            {"kind": "relu"},
        ],
    }
    config = NetworkConfig.small(operations=[plain])
    assert config.operations == (SEPARABLE,)
    assert config.digest == NetworkConfig.small(operations=(SEPARABLE,)).digest
    with pytest.raises(InvalidConfigError, match=r"operations\.0"):
        NetworkConfig.small(operations=[{**plain, "steps": [{"kind": "softmax"}]}])


def test_a_stem_of_the_users_own_is_known() -> None:
    config = NetworkConfig.small(operations=(SEPARABLE,), stem="separable3x3", filters=8)
    kinds = [layer.kind.value for layer in build_layer_graph(Architecture.parse("0-1:"), config).layers[1:5]]
    assert kinds == ["depthwise_conv", "conv", "batch_norm", "relu"]


def test_cost_of_an_architecture_needs_a_config() -> None:
    with pytest.raises(ValueError, match="needs a NetworkConfig"):
        network_cost(Architecture.parse("0-1:"))
