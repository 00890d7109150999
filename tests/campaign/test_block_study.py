"""The study of a space's blocks on a device whose times are written down: what is measured, once, kept and refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leti_opt import NAS_BENCH_101, Architecture, NetworkConfig, build_layer_graph, enumerate_architectures
from leti_opt.campaign.block_study import BlockStudy
from leti_opt.campaign.lut_work import LutStep
from leti_opt.device.open_device import open_device
from leti_opt.errors import DeviceError, InfeasibleError, InvalidInputError, NotFoundError
from leti_opt.predictor.lut_predictor import LutPredictor
from tests.campaign.by_operator import QUICK, START_MS, TIMES, ByOperator

CELLS = [Architecture.parse(f"0-1,1-2:{name}") for name in ("maxpool3x3", "conv1x1-bn-relu")]
CELL = NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 8))
ALL_TIMES = TIMES | {"MAX_POOL_2D": 1.5, "CONCATENATION": 0.6, "SLICE": 0.4}


def study(
    store: Path, device: ByOperator, cells: Any = CELLS, network: NetworkConfig = CELL, **more: Any
) -> BlockStudy:
    return BlockStudy(cells, network, device, store, protocol=QUICK, **more)


def test_each_different_kernel_is_measured_once_and_alone(tmp_path: Path) -> None:
    device = ByOperator(ALL_TIMES)
    steps: list[LutStep] = []
    with study(tmp_path / "a.db", device) as found:
        table = found.run(steps.append)
    assert sorted(entry.operation for entry in table.entries.values()) == ["CONV_2D", "MAX_POOL_2D"]
    assert len(device.loads) == 2
    assert [step.done for step in steps] == [1, 2]
    times = {entry.operation: entry.latency_ms for entry in table.entries.values()}
    assert times == pytest.approx({"CONV_2D": START_MS + 4.0, "MAX_POOL_2D": START_MS + 1.5})
    assert (table.granularity, table.precision, table.origin.device_digest) == (
        "kernel",
        "float32",
        device.identity.digest,
    )


def test_the_table_predicts_cells_that_were_not_named_as_long_as_they_consist_of_the_same(tmp_path: Path) -> None:
    space = enumerate_architectures(NAS_BENCH_101)
    network = NetworkConfig.small(filters=6)
    with study(tmp_path / "a.db", ByOperator(ALL_TIMES), space[:300], network) as found:
        table = found.run()
    predictor = LutPredictor.of_table(network, table)
    few = space[:300:60]
    expected = [table.predict(build_layer_graph(cell, network)).latency_ms for cell in few]
    np.testing.assert_allclose(predictor.predict(few), np.array(expected, dtype=np.float64), rtol=1e-12)


def test_a_second_study_measures_what_the_store_lacks_only(tmp_path: Path) -> None:
    first, second = ByOperator(ALL_TIMES), ByOperator(ALL_TIMES)
    with study(tmp_path / "a.db", first, CELLS[:1]) as found:
        found.run()
    with study(tmp_path / "a.db", second, [*CELLS, Architecture.parse("0-1,1-2:conv3x3-bn-relu")]) as found:
        plan = found.plan()
        assert (plan.cells, plan.pieces, plan.stored, plan.to_measure, plan.refused) == (3, 3, 2, 1, ())
        table = found.run()
    assert len(second.loads) == 1
    assert len(table) == 3


def test_it_goes_on_where_the_device_went_away(tmp_path: Path) -> None:
    device = ByOperator(ALL_TIMES)

    def gone(_name: str) -> None:
        if len(device.loads) == 2:
            raise DeviceError("unplugged")

    device.on_load = gone
    with study(tmp_path / "a.db", device) as found, pytest.raises(DeviceError, match="unplugged"):
        found.run()
    assert len(device.loads) == 2, "the fault fired"
    again = ByOperator(ALL_TIMES)
    with study(tmp_path / "a.db", again) as found:
        assert len(found.run()) == 2
    assert len(again.loads) == 1


def test_a_kernel_that_the_device_refuses_is_an_entry_without_a_figure(tmp_path: Path) -> None:
    device = ByOperator(ALL_TIMES)

    def refuse(name: str) -> None:
        if "MAX_POOL" in name:
            raise InfeasibleError("no pools here")

    device.on_load = refuse
    with study(tmp_path / "a.db", device) as found:
        table = found.run()
    (failed,) = [entry for entry in table.entries.values() if entry.latency_ms is None]
    assert (failed.operation, failed.state) == ("MAX_POOL_2D", "failed")
    assert "no pools here" in failed.reason


def test_there_is_no_table_before_it_was_measured(tmp_path: Path) -> None:
    with (
        study(tmp_path / "a.db", ByOperator(ALL_TIMES)) as found,
        pytest.raises(NotFoundError, match="not measured yet"),
    ):
        found.table()


@pytest.mark.needs("tensorflow")
def test_layers_are_measured_too(tmp_path: Path) -> None:
    device = ByOperator(ALL_TIMES)
    with study(tmp_path / "a.db", device, granularity="layer") as found:
        found.prepare()
        table = found.run()
    found_operations = {entry.operation for entry in table.entries.values()}
    assert found_operations == {"Conv2D", "BatchNormalization", "ReLU", "MaxPooling2D"}


def test_wrong_input_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    device = ByOperator(ALL_TIMES)
    with pytest.raises(InvalidInputError, match="of granularity layer or kernel, not 'residual'"):
        study(tmp_path / "a.db", device, granularity="residual")
    with pytest.raises(InvalidInputError, match="no cell"):
        study(tmp_path / "a.db", device, [])
    with pytest.raises(InvalidInputError, match="runs no files"):
        BlockStudy(CELLS, CELL, open_device("replay:formula"), tmp_path / "a.db")
    assert device.loads == []


def test_a_device_that_was_opened_for_a_study_and_refused_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    simulated = open_device("replay:formula?seed=1")
    monkeypatch.setattr(type(simulated), "close", lambda device: closed.append(device.uri))
    with pytest.raises(InvalidInputError, match="runs no files"):
        BlockStudy(CELLS, CELL, "replay:formula?seed=1", tmp_path / "a.db")
    assert closed == [simulated.uri]
    with pytest.raises(InvalidInputError, match="runs no files"):
        BlockStudy(CELLS, CELL, simulated, tmp_path / "a.db")
    assert len(closed) == 1, "one that was handed in is its owner's"
    assert not list(tmp_path.iterdir())
