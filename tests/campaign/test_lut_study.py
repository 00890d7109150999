"""The study of lookup tables on devices whose times are written down: what is measured, summed, kept and refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from leti_opt import Architecture, LatencyStore, LutStudy, MeasurementProtocol, NetworkConfig, build_layer_graph
from leti_opt.campaign.lut_result import ModelResult
from leti_opt.campaign.lut_study import LutStep
from leti_opt.errors import DeviceError, InfeasibleError, InvalidInputError, InvalidProtocolError, NotFoundError
from leti_opt.network.tflite_writer import write_tflite
from tests.campaign.by_operator import QUICK, START_MS, TIMES, ByOperator, Shaky
from tests.network.schema_files import SchemaFile

pytestmark = pytest.mark.needs("tensorflow")


def chain(depth: int = 2, filters: int = 4) -> Any:
    """``depth`` times convolution, batch norm, ReLU and dropout; then a mean and a dense layer."""
    import keras

    layers = keras.layers
    image = tensor = keras.Input((8, 8, filters))
    for _ in range(depth):
        tensor = layers.Conv2D(filters, 3, padding="same", use_bias=False)(tensor)
        tensor = layers.ReLU()(layers.BatchNormalization()(tensor))
        tensor = layers.Dropout(0.1)(tensor)
    return keras.Model(image, layers.Dense(5)(layers.GlobalAveragePooling2D()(tensor)))


def file_of(cell: str = "0-1,1-2:conv3x3-bn-relu") -> bytes:
    config = NetworkConfig(scope="cell", filters=8, input_shape=(8, 8, 8))
    return write_tflite(build_layer_graph(Architecture.parse(cell), config))


def study(models: Any, device: Any = None, store: Any = ":memory:", granularity: Any = ("layer",)) -> LutStudy:
    return LutStudy(models, device or ByOperator(), store, granularity, QUICK)


def only(found: Any) -> ModelResult:
    (model,) = found.models
    return model  # type: ignore[no-any-return]


def test_layers_are_summed_with_their_multiplicity_and_equal_ones_are_measured_once() -> None:
    device = ByOperator()
    model = only(study({"net": chain(3)}, device).run())
    (figure,) = model.sums
    layer = {"Conv2D": 4.0, "BatchNormalization": 1.5, "ReLU": 0.75, "GlobalAveragePooling2D": 2.0, "Dense": 3.0}
    counts = {"Conv2D": 3, "BatchNormalization": 3, "ReLU": 3, "GlobalAveragePooling2D": 1, "Dense": 1}
    expected = sum(counts[kind] * (START_MS + time) for kind, time in layer.items())
    assert figure.latency_ms == pytest.approx(expected)
    assert (figure.pieces, figure.distinct) == (14, 6)
    assert len(device.loads) == 1 + len(counts)


def test_the_direct_figure_and_the_error_stand_beside_the_sum() -> None:
    model = only(study({"net": chain(1)}).run())
    direct = START_MS + TIMES["CONV_2D"] + TIMES["MEAN"] + TIMES["FULLY_CONNECTED"]
    assert model.direct.latency_ms == pytest.approx(direct)
    assert (model.direct.runs, model.direct.stable) == (40, True)
    (figure,) = model.sums
    assert figure.latency_ms is not None
    assert figure.error_ms == pytest.approx(figure.latency_ms - direct)
    assert model.error_share(figure) == pytest.approx((figure.latency_ms - direct) / direct)
    assert figure.spread_ms is not None
    assert 0 < figure.spread_ms < figure.latency_ms


def test_layers_without_operators_cost_nothing_are_listed_and_never_run() -> None:
    device = ByOperator()
    (figure,) = only(study({"net": chain(2)}, device).run()).sums
    assert [(each.operation, each.count, each.latency_ms) for each in figure.free] == [("Dropout", 2, 0.0)]
    assert not [name for name in device.loads if "Dropout" in name]


def test_kernels_are_the_operators_of_the_converted_file() -> None:
    device = ByOperator()
    (figure,) = only(study({"net": chain(2)}, device, granularity=["kernel"]).run()).sums
    times = (TIMES["CONV_2D"], TIMES["CONV_2D"], TIMES["MEAN"], TIMES["FULLY_CONNECTED"])
    assert figure.pieces == len(times)
    assert figure.latency_ms == pytest.approx(sum(START_MS + time for time in times))


def test_short_pieces_are_timed_several_runs_as_one_and_that_is_recorded() -> None:
    device = ByOperator({**TIMES, "RELU": 0.0}, start_ms=0.2)
    with study({"net": chain(1)}, device) as made:
        made.run()
        entries = {entry.operation: entry for entry in made.table("layer").entries.values()}
    assert (entries["ReLU"].runs_per_sample, entries["ReLU"].runs) == (5, 200)
    assert (entries["Conv2D"].runs_per_sample, entries["Conv2D"].runs) == (1, 40)
    assert {samples for name, samples in device.samples.items() if "ReLU" in name} == {(40, 5)}


def test_an_unstable_piece_stays_in_the_sum_and_is_flagged() -> None:
    (figure,) = only(study({"net": chain(1)}, Shaky()).run()).sums
    assert [each.operation for each in figure.unstable] == ["Conv2D"]
    assert figure.latency_ms is not None


def test_what_was_unstable_is_measured_once_more_when_asked_and_nothing_else_is(tmp_path: Path) -> None:
    study({"net": chain(1)}, Shaky(), store=tmp_path / "a.db").run()
    calm = ByOperator()
    (figure,) = only(study({"net": chain(1)}, calm, store=tmp_path / "a.db").run()).sums
    assert len(figure.unstable) == 1
    assert calm.loads == [], "not without being asked"
    (figure,) = only(study({"net": chain(1)}, calm, store=tmp_path / "a.db").run(retry_unstable=True)).sums
    assert figure.unstable == ()
    assert [name.split(" (")[1] for name in calm.loads] == ["Conv2D)"]


def test_a_piece_that_the_device_refuses_leaves_no_sum_and_says_so() -> None:
    device = ByOperator()

    def refuse(name: str) -> None:
        if "BatchNormalization" in name:
            raise InfeasibleError("no MUL here")

    device.on_load = refuse
    model = only(study({"net": chain(1)}, device).run())
    (figure,) = model.sums
    assert (figure.latency_ms, figure.error_ms) == (None, None)
    assert [(each.operation, each.reason) for each in figure.missing] == [("BatchNormalization", "no MUL here")]
    assert figure.reason == "1 pieces have no figure: no MUL here"
    assert model.direct.latency_ms is not None


def test_a_network_that_the_device_refuses_whole_has_a_sum_and_no_error() -> None:
    device = ByOperator()

    def refuse(name: str) -> None:
        if name == "net":
            raise InfeasibleError("too large")

    device.on_load = refuse
    model = only(study({"net": chain(1)}, device).run())
    assert (model.direct.latency_ms, model.direct.reason) == (None, "too large")
    assert model.sums[0].latency_ms is not None
    assert model.sums[0].error_ms is None


# -- the residual -----------------------------------------------------------------------------------------------


def test_a_residual_is_judged_on_the_network_that_it_was_not_fitted_on() -> None:
    nets = {f"net{depth}": chain(depth) for depth in (1, 2, 4)}
    found = study(nets, granularity=["kernel", "residual"]).run()
    for model in found.models:
        kernel, residual = model.sums
        assert set(residual.fitted_on) == set(nets) - {model.name}
        # Each kernel alone pays a start that the whole pays once, and a chain has one transfer less than kernels.
        assert kernel.error_ms == pytest.approx(START_MS * (kernel.pieces - 1))
        assert residual.error_ms == pytest.approx(0, abs=0.05)
        assert residual.spread_ms == kernel.spread_ms


def test_a_residual_needs_two_other_networks() -> None:
    found = study({"a": chain(1), "b": chain(2)}, granularity=["residual"]).run()
    for model in found.models:
        assert model.sums[0].latency_ms is None
        assert model.sums[0].reason == "the residual takes 2 other networks that were measured whole; there are 1"


def test_a_table_with_residual_is_fitted_on_all_networks_and_predicts_another() -> None:
    nets = {f"net{depth}": chain(depth) for depth in (1, 2, 4)}
    with study(nets, granularity=["residual"]) as made:
        made.run()
        table = made.table("residual")
    assert table.residual is not None
    assert set(table.residual.fitted_on) == set(nets)
    direct = START_MS + 3 * TIMES["CONV_2D"] + TIMES["MEAN"] + TIMES["FULLY_CONNECTED"]
    assert table.predict(chain(3)).latency_ms == pytest.approx(direct, abs=0.05)


# -- what is kept -----------------------------------------------------------------------------------------------


def test_a_network_without_kernels_is_left_out_of_a_residual() -> None:
    file = SchemaFile()
    image, unwritten, result = (file.tensor((1, 4)) for _ in range(3))
    file.operator("ADD", [image, unwritten], [result], "Add")
    cells = ("0-1,1-2:conv3x3-bn-relu", "0-1,1-2:conv1x1-bn-relu")
    networks = {"one": file_of(cells[0]), "two": file_of(cells[1]), "broken": file.packed([image], [result])}
    device = ByOperator()

    def refuse(name: str) -> None:
        if name == "broken":
            raise InfeasibleError("it reads what nothing writes")

    device.on_load = refuse
    with study(networks, device, granularity=["kernel", "residual"]) as asked:
        asked.run()
        table = asked.table("residual")
    assert table.residual is not None
    assert table.residual.fitted_on == ("one", "two")


def test_a_study_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    store = tmp_path / "latency.db"
    net, first, second = chain(2), ByOperator(), ByOperator()

    def die_at_the_fourth(_name: str) -> None:
        if len(first.loads) == 4:
            raise DeviceError("unplugged")

    first.on_load = die_at_the_fourth
    with pytest.raises(DeviceError, match="unplugged"):
        study({"net": net}, first, store).run()
    done = set(first.loads[:3])
    steps: list[LutStep] = []
    found = study({"net": net}, second, store).run(steps.append)
    assert done.isdisjoint(second.loads)
    assert done | set(second.loads) >= {"net"}
    assert sorted(step.source for step in steps).count("store") == 3
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    third = ByOperator()
    assert study({"net": net}, third, store).run() == found
    assert third.loads == []


def test_a_second_network_measures_only_what_the_first_did_not_have(tmp_path: Path) -> None:
    store = tmp_path / "latency.db"
    study({"net": chain(2)}, store=store).run()
    device = ByOperator()
    study({"deeper": chain(5)}, device, store).run()
    assert device.loads == ["deeper"]


def test_pieces_are_no_results_of_a_store(tmp_path: Path) -> None:
    store = LatencyStore(tmp_path / "latency.db")
    study({"net": chain(1)}, store=store).run()
    frame = store.to_frame()
    assert list(frame["name"]) == ["net"]
    assert store.info().measurements == 1


def test_pieces_that_were_withdrawn_are_measured_again(tmp_path: Path) -> None:
    net, store, first = chain(1), LatencyStore(tmp_path / "latency.db"), ByOperator()
    study({"net": net}, first, store).run()
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    withdrawn = store.suspect(first.identity, first.epoch, since=long_ago, reason="it was not itself")
    assert len(withdrawn) == len(first.loads)
    again = ByOperator()
    study({"net": net}, again, store).run()
    assert sorted(again.loads) == sorted(first.loads)


def test_the_plan_says_what_is_left_and_measures_nothing(tmp_path: Path) -> None:
    store, device = tmp_path / "latency.db", ByOperator()
    before = study({"net": chain(2)}, device, store, ["layer", "kernel"]).plan()
    assert device.loads == []
    assert (before.pieces, before.distinct) == ({"layer": 10, "kernel": 4}, {"layer": 6, "kernel": 3})
    assert (before.networks, before.stored, before.to_measure) == (1, 0, 1 + 6 + 3)
    study({"net": chain(2)}, device, store, ["layer"]).run()
    after = study({"net": chain(2)}, device, store, ["layer", "kernel"]).plan()
    assert (after.stored, after.to_measure) == (6, 1 + 3)


def test_everything_can_be_converted_before_the_first_measurement() -> None:
    device = ByOperator()
    made = study({"net": chain(1)}, device)
    steps: list[LutStep] = []
    made.prepare(steps.append)
    assert device.loads == []
    assert {step.source for step in steps} == {"converted"}
    assert len(steps) == steps[0].total == 7
    assert only(made.run()).sums[0].latency_ms is not None


def test_nothing_is_told_before_everything_is_measured() -> None:
    with pytest.raises(NotFoundError, match=r"not measured yet on scripted:one; run the study"):
        study({"net": chain(1)}).result()


def test_the_order_is_shuffled_by_the_seed() -> None:
    net = chain(2)

    def order(seed: int) -> list[str]:
        device = ByOperator()
        LutStudy({"net": net}, device, ":memory:", ["layer", "kernel"], QUICK, seed=seed).run()
        return device.loads

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_a_table_sums_what_the_study_summed() -> None:
    with study({"net": chain(2)}, granularity=["layer", "kernel"]) as made:
        found = only(made.run())
        for figure in found.sums:
            table = made.table(figure.granularity)
            assert table.predict(chain(2)).latency_ms == figure.latency_ms
            assert table.origin.device == made.service.identity.name
            assert table.origin.protocol["min_runs"] == 40


# -- what is refused --------------------------------------------------------------------------------------------


def test_a_file_is_cut_into_kernels_and_said_to_have_no_layers() -> None:
    layer, kernel = only(study({"file": file_of()}, granularity=["layer", "kernel"]).run()).sums
    assert (layer.latency_ms, layer.pieces) == (None, 0)
    assert "file is a file, which holds no layers" in layer.reason
    assert kernel.latency_ms == pytest.approx(2 * (START_MS + TIMES["CONV_2D"]))
    plan = study({"file": file_of()}, granularity=["layer", "kernel"]).plan()
    assert list(plan.refused) == ["file, layer"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: LutStudy({}), "a study needs a network"),
        (lambda: LutStudy({"net": file_of()}, granularity=[]), "a study needs a granularity"),
        (lambda: study({"net": file_of()}, granularity=["layers"]), "did you mean 'layer'"),
        (lambda: study({"net": 3}), "net is a int"),
        (lambda: LutStudy({"net": file_of()}, precision="int3"), "unknown precision"),
        (lambda: study({"net": file_of()}, "replay:formula?seed=1"), "runs no files"),
        (lambda: study({"net": file_of()}).table("kernel"), "has no kernels; ask for the granularity kernel"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_measured(make: Any, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        make()


def test_samples_are_refused_on_a_device_that_times_single_runs() -> None:
    device = ByOperator()
    device.reveals_runs = False
    with pytest.raises(InvalidProtocolError, match="times single runs only"):
        study({"net": file_of()}, device)
    assert LutStudy({"net": file_of()}, device, ":memory:").service.protocol.runs_per_sample == 1


@pytest.mark.needs("litert")
@pytest.mark.slow
def test_on_this_machine_a_network_is_measured_whole_and_in_pieces(tmp_path: Path) -> None:
    quick = MeasurementProtocol(min_runs=5, max_attempts=1, warmup_runs=1, runs_per_sample=None)
    nets = {"net": chain(2), "file": file_of()}
    with LutStudy(nets, "host-cpu", tmp_path / "latency.db", ["layer", "kernel"], quick) as made:
        found = {model.name: model for model in made.run().models}
    for figure in (*found["net"].sums, found["file"].sums[1]):
        assert figure.latency_ms is not None
        assert figure.latency_ms > 0
    assert found["net"].direct.latency_ms is not None
