"""Times of single operators: which are measured, which cannot be, and what is shared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from leti_opt.architecture import Architecture
from leti_opt.device.device import Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import DeviceError, InfeasibleError, InvalidInputError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.tflite_reader import read_tflite
from leti_opt.network.tflite_writer import write_tflite
from leti_opt.objective.operator_profile import check_profiling, profile, sum_ms
from tests.contracts.scripted_device import ScriptedDevice

CELL = Architecture.parse("0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3")
QUICK = MeasurementProtocol(min_runs=5, max_attempts=1, warmup_runs=1)


def graph_model() -> MeasurableModel:
    graph = build_layer_graph(CELL, NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 8)))
    return MeasurableModel.of_graph(graph)


class ByOperator(ScriptedDevice):
    """Runs files by reading them: so many milliseconds for each operator."""

    needs_file = True

    def __init__(self, milliseconds: dict[str, float | Exception]) -> None:
        super().__init__()
        self.milliseconds = milliseconds
        self.seen: list[str] = []

    def load(self, model: MeasurableModel) -> Session:
        (layer,) = [layer for layer in read_tflite(model.tflite).layers if layer.operator]
        self.seen.append(layer.operator)
        answer = self.milliseconds[layer.operator]
        if isinstance(answer, Exception):
            raise answer
        return _Steady(answer)


class _Steady(Session):
    def __init__(self, run_ms: float) -> None:
        self.run_ms = run_ms

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        return RunBatch.from_runs(np.full(n, self.run_ms).tolist(), runs_per_sample)


TIMES: dict[str, float | Exception] = {"CONV_2D": 2.0, "ADD": 0.25, "MAX_POOL_2D": 0.5, "CONCATENATION": 0.125}


def test_every_operator_of_the_file_has_its_own_time_in_the_order_of_execution() -> None:
    model = graph_model()
    found = profile(ByOperator(TIMES), model, QUICK)
    layers = [layer for layer in read_tflite(model.tflite).layers if layer.operator]
    assert [(time.operator, time.name) for time in found] == [(layer.operator, layer.name) for layer in layers]
    assert [time.latency_ms for time in found] == [TIMES[time.operator] for time in found]
    assert sum_ms(found) == sum(float(TIMES[layer.operator]) for layer in layers)  # type: ignore[arg-type]


def test_operators_of_one_shape_are_measured_once_and_say_whose_figures_they_have() -> None:
    device = ByOperator(TIMES)
    found = profile(device, graph_model(), QUICK)
    repeated = [time for time in found if time.same_as is not None]
    assert repeated
    assert len(device.seen) == len(found) - len(repeated)
    for time in repeated:
        first = found[time.same_as or 0]
        assert (first.operator, first.latency_ms, first.same_as) == (time.operator, time.latency_ms, None)


def test_an_operator_that_the_device_refuses_is_listed_with_the_reason_and_no_time() -> None:
    found = profile(ByOperator({**TIMES, "ADD": InfeasibleError("no ADD here")}), graph_model(), QUICK)
    refused = [time for time in found if time.reason]
    assert {(time.operator, time.reason, time.latency_ms) for time in refused} == {("ADD", "no ADD here", None)}
    assert sum_ms(found) == sum_ms([time for time in found if not time.reason]) > 0


def test_an_operator_that_cannot_stand_alone_is_listed_with_the_reason() -> None:
    from ai_edge_litert import schema_py_generated as schema

    def with_custom_operator(content: bytes) -> bytes:
        import flatbuffers

        model = schema.ModelT.InitFromPackedBuf(content, 0)
        code = schema.OperatorCodeT()
        code.builtinCode, code.customCode = schema.BuiltinOperator.CUSTOM, b"Mine"
        model.operatorCodes.append(code)
        operator = model.subgraphs[0].operators[-1]
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptions, operator.builtinOptionsType = None, 0
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    content = with_custom_operator(write_tflite(build_layer_graph(CELL, NetworkConfig(scope="cell", filters=8))))
    found = profile(ByOperator(TIMES), MeasurableModel.of_content(content, "mine", "file", "unknown"), QUICK)
    assert (found[-1].operator, found[-1].latency_ms) == ("Mine", None)
    assert "custom operator" in found[-1].reason
    assert all(time.latency_ms for time in found[:-1])


def test_a_gone_device_ends_the_profile() -> None:
    device = ByOperator({**TIMES, "CONV_2D": DeviceError("unplugged")})
    with pytest.raises(DeviceError, match="unplugged"):
        profile(device, graph_model(), QUICK)
    assert device.seen == ["CONV_2D"]


def test_a_device_that_runs_no_files_is_refused_with_what_to_do() -> None:
    device = open_device("replay:formula?seed=1")
    for ask in (lambda: check_profiling(device), lambda: profile(device, graph_model())):
        with pytest.raises(InvalidInputError, match=r"cannot time single operators.*host-cpu"):
            ask()


def test_an_unstable_operator_has_a_figure_but_no_interval() -> None:
    class Scattered(ByOperator):
        def load(self, model: MeasurableModel) -> Session:
            super().load(model)
            return _Scattered()

    class _Scattered(Session):
        def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
            return RunBatch.from_runs(np.random.default_rng(0).uniform(1, 5, n).tolist(), runs_per_sample)

    protocol = replace(QUICK, min_runs=40)
    first = profile(Scattered(TIMES), graph_model(), protocol)[0]
    assert first.latency_ms is not None
    assert (first.stable, first.mean_error_ms, first.runs) == (False, None, 40)


@pytest.mark.needs("litert")
def test_on_this_machine_every_operator_of_a_network_is_measured() -> None:
    with open_device("host-cpu") as device:
        found = profile(device, graph_model(), QUICK)
    assert {time.operator for time in found} == {"CONV_2D", "ADD", "MAX_POOL_2D", "CONCATENATION"}
    assert all(time.latency_ms and time.runs and time.runs >= 5 and not time.reason for time in found)
