from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pytest

from leti_opt import NAS_BENCH_201, Architecture, NetworkConfig, build_layer_graph
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.published import (
    CELLS_OF_NETWORK,
    DATA_FILE,
    HIGHEST_OF_CELLS,
    LATENCY,
    LOWEST_OF_CELLS,
    PublishedDevice,
    digest_prefix,
    published_names,
    shared_figure_text,
)
from leti_opt.errors import InfeasibleError, InvalidDeviceUriError, InvalidModelError, StatisticUnavailableError
from tests.device.published_cells import CONFIG, FULL, ONE_CONV, model, native
from tests.device.recordings import recorded, write_recording
from tests.reference.nasbench201_classes import class_string, edge_string, is_connected
from tests.reference.nasbench201_network import present_edges

SHA256 = "a7ad5b11b63dd49f592f341ca5d5f76d6ebb24ad2e2dc6731199927023005b55"
LICENCE_SHA256 = "3c98229c673fb4c782576aa9da6013416cc906a8a38d0d6daf15807c6361f4f5"


@pytest.fixture(scope="module")
def shipped() -> dict[str, np.ndarray]:
    with np.load(DATA_FILE, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def operations_of(index: int) -> list[str]:
    """The native cell with this index, read off its digits; it may be disconnected."""
    return [NAS_BENCH_201.operations[index // 5**place % 5] for place in range(6)]


def pruned_class(operations: Sequence[str]) -> str:
    """What a cell computes, as the benchmark's rule writes it, without all that leads nowhere or comes from nowhere."""
    nodes = {0: "0"}
    for target in (1, 2, 3):
        terms = [
            edge_string(nodes[start], operation)
            for start, end, operation in present_edges(operations, pruned=True)
            if end == target
        ]
        nodes[target] = "+".join(sorted(terms))
    return nodes[3]


def figures_of(shipped: dict[str, np.ndarray], name: str, text: str) -> list[float]:
    """The slow way: every cell that makes the same network, one after the other."""
    wanted = native(text)
    found = []
    for row, index in enumerate(shipped["cell"]):
        if pruned_class(operations_of(int(index))) == pruned_class(NAS_BENCH_201.native_operations(wanted)):
            cell = NAS_BENCH_201.from_native_index(int(index))
            if build_layer_graph(cell, CONFIG).digest == build_layer_graph(wanted, CONFIG).digest:
                found.append(float(shipped[LATENCY + name][row]))
    return found


class TestShippedFile:
    def test_it_is_the_file_that_was_checked_against_the_source(self) -> None:
        assert hashlib.sha256(DATA_FILE.read_bytes()).hexdigest() == SHA256

    def test_its_licence_and_its_story_lie_beside_it(self) -> None:
        licence = DATA_FILE.with_name("HELP-LICENSE").read_bytes()
        assert hashlib.sha256(licence).hexdigest() == LICENCE_SHA256
        assert b"Copyright (c) 2024 HayeonLee" in licence
        story = DATA_FILE.with_name("README.md").read_text()
        assert "45f70eb" in story
        assert "HELP-LICENSE" in story

    def test_it_holds_every_connected_cell_once_in_order(self, shipped: dict[str, np.ndarray]) -> None:
        connected = [index for index in range(5**6) if is_connected(operations_of(index))]
        assert shipped["cell"].tolist() == connected
        assert len(connected) == 15_284

    def test_it_holds_the_classes_that_the_benchmark_counts(self, shipped: dict[str, np.ndarray]) -> None:
        shipped_classes = {class_string(operations_of(int(index))) for index in shipped["cell"]}
        others = set(range(5**6)) - set(shipped["cell"].tolist())
        assert len(shipped_classes | {class_string(operations_of(index)) for index in others}) == 6_466

    def test_cells_of_one_network_are_of_one_class(self, shipped: dict[str, np.ndarray]) -> None:
        classes: dict[int, set[str]] = {}
        for index, network in zip(shipped["cell"], shipped["network"], strict=True):
            classes.setdefault(int(network), set()).add(pruned_class(operations_of(int(index))))
        assert all(len(found) == 1 for found in classes.values())
        assert sorted(classes) == list(range(len(shipped["digest_prefix"])))

    def test_prefixes_are_distinct_and_ascending(self, shipped: dict[str, np.ndarray]) -> None:
        assert (np.diff(shipped["digest_prefix"].astype(object)) > 0).all()

    def test_every_device_has_a_figure_for_every_cell(self, shipped: dict[str, np.ndarray]) -> None:
        columns = [name for name in shipped if name.startswith(LATENCY)]
        assert sorted(columns) == sorted(LATENCY + name for name in shipped["device"].tolist())
        assert len(columns) == 16
        for name in columns:
            assert shipped[name].dtype == np.float32
            assert shipped[name].shape == shipped["cell"].shape
            assert (shipped[name] > 0.5).all(), "no meaningless figures"

    def test_coarse_clocks_stayed_coarse(self, shipped: dict[str, np.ndarray]) -> None:
        for name in ("essential_ph_1", "samsung_a50", "samsung_s7"):
            column = shipped[LATENCY + name]
            assert (column == column.round()).all()

    def test_batch_sizes_are_those_in_the_names_of_gpus(self, shipped: dict[str, np.ndarray]) -> None:
        batches = dict(zip(shipped["device"].tolist(), shipped["batch_size"].tolist(), strict=True))
        assert batches["titanx_256"] == 256
        assert batches["1080ti_32"] == 32
        assert batches["2080ti_1"] == 1
        assert batches["essential_ph_1"] == batches["silver_4114"] == batches["pixel3"] == 1
        assert {name for name, batch in batches.items() if batch > 1} == {
            f"{gpu}_{batch}" for gpu in ("1080ti", "2080ti", "titanx") for batch in (32, 256)
        }

    @pytest.mark.parametrize("text", [ONE_CONV, FULL])
    def test_networks_of_known_cells_are_found_where_the_file_says(
        self, shipped: dict[str, np.ndarray], text: str
    ) -> None:
        row = shipped["cell"].tolist().index(NAS_BENCH_201.native_index(native(text)))
        prefix = shipped["digest_prefix"][shipped["network"][row]]
        assert int(prefix) == digest_prefix(build_layer_graph(native(text), CONFIG).digest)

    @pytest.mark.slow
    def test_prefixes_are_those_of_networks_built_now(self, shipped: dict[str, np.ndarray]) -> None:
        rows = np.random.default_rng(5).permutation(len(shipped["cell"]))[:3_000]
        for row in rows:
            cell = NAS_BENCH_201.from_native_index(int(shipped["cell"][row]))
            digest = build_layer_graph(cell, CONFIG).digest
            assert int(shipped["digest_prefix"][shipped["network"][row]]) == int.from_bytes(bytes.fromhex(digest)[:8])


class TestAnswers:
    def test_a_cell_of_its_own_has_its_own_figure(self, shipped: dict[str, np.ndarray]) -> None:
        row = shipped["cell"].tolist().index(NAS_BENCH_201.native_index(native(FULL)))
        measurement = measure(open_device("replay:help/pixel3"), model(FULL))
        assert measurement.latency_ms() == shipped[LATENCY + "pixel3"][row]
        assert [(metric.name, metric.value) for metric in measurement.metrics] == [(CELLS_OF_NETWORK, 1.0)]
        assert shared_figure_text(measurement.metrics) is None

    def test_cells_that_make_one_network_answer_with_their_median_and_say_so(
        self, shipped: dict[str, np.ndarray]
    ) -> None:
        figures = figures_of(shipped, "gold_6240", ONE_CONV)
        assert len(figures) > 100
        measurement = measure(open_device("replay:help/gold_6240"), model(ONE_CONV))
        assert measurement.latency_ms() == pytest.approx(median(figures), rel=1e-12)
        assert {metric.name: metric.value for metric in measurement.metrics} == {
            CELLS_OF_NETWORK: len(figures),
            LOWEST_OF_CELLS: min(figures),
            HIGHEST_OF_CELLS: max(figures),
        }
        text = shared_figure_text(measurement.metrics)
        assert text == (
            f"median of the figures of {len(figures)} cells that make this network, "
            f"{min(figures):.3f} to {max(figures):.3f} ms"
        )

    def test_all_cells_of_a_network_get_one_answer(self) -> None:
        with_dead_ends = "|none~0|+|avg_pool_3x3~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
        assert model(with_dead_ends).key == model(ONE_CONV).key
        device = open_device("replay:help/pixel3")
        assert measure(device, model(with_dead_ends)).batch == measure(device, model(ONE_CONV)).batch

    def test_the_renderer_and_the_seed_do_not_matter(self) -> None:
        device = open_device("replay:help/pixel3")
        converted = model(FULL, renderer="converter", seed=3)
        assert converted.key != model(FULL).key
        assert measure(device, converted).batch == measure(device, model(FULL)).batch

    def test_what_the_source_does_not_say_is_absent(self) -> None:
        measurement = measure(open_device("replay:help/pixel3"), model(FULL))
        batch = measurement.batch
        assert (batch.count, batch.std_ms, batch.runs_ms, batch.median_ms, batch.mean_error_ms) == (None,) * 5
        assert measurement.status == "unchecked"
        assert len(measurement.attempts) == 1
        assert measurement.first_run_ms is None
        for statistic in ("median", "p95", "std", "min"):
            with pytest.raises(StatisticUnavailableError):
                measurement.latency_ms(statistic)

    def test_a_relative_error_cannot_be_checked_either(self) -> None:
        protocol = MeasurementProtocol(relative_error=0.01, runs_per_sample=None)
        assert measure(open_device("replay:help/pixel3"), model(FULL), protocol).status == "unchecked"

    @pytest.mark.parametrize(
        "config",
        [
            NetworkConfig.nasbench201(classes=100),
            NetworkConfig.nasbench201(filters=32),
            NetworkConfig.nasbench201(precision="int8"),
            NetworkConfig.nasbench201(batch_size=32),
            NetworkConfig.nasbench201(scope="cell", input_shape=(32, 32, 16)),
        ],
    )
    def test_other_networks_of_the_same_cell_are_not_in_the_table(self, config: NetworkConfig) -> None:
        with pytest.raises(
            InfeasibleError, match=r"not in the table of help/pixel3; .* NetworkConfig\.nasbench201\(\)"
        ):
            measure(open_device("replay:help/pixel3"), model(FULL, config))

    def test_networks_of_another_space_are_not_in_the_table(self) -> None:
        graph = build_layer_graph(Architecture.parse("0-1,1-2:conv3x3-bn-relu"), NetworkConfig.small())
        with pytest.raises(InfeasibleError, match="network is not in the table of help/pixel3"):
            measure(open_device("replay:help/pixel3"), MeasurableModel.of_graph(graph))

    def test_a_device_of_a_batch_size_knows_networks_of_that_batch_only(self, shipped: dict[str, np.ndarray]) -> None:
        device = open_device("replay:help/1080ti_32")
        row = shipped["cell"].tolist().index(NAS_BENCH_201.native_index(native(FULL)))
        batched = NetworkConfig.nasbench201(batch_size=32)
        assert measure(device, model(FULL, batched)).latency_ms() == shipped[LATENCY + "1080ti_32"][row]
        with pytest.raises(InfeasibleError, match=r"NetworkConfig\.nasbench201\(batch_size=32\)"):
            measure(device, model(FULL))

    def test_a_network_without_known_layers_is_refused(self) -> None:
        with pytest.raises(InvalidModelError, match="no layer graph"):
            measure(open_device("replay:help/pixel3"), MeasurableModel(key="k", name="file", renderer="file"))

    @pytest.mark.slow
    def test_every_shipped_cell_is_answered_with_its_group_on_every_device(
        self, shipped: dict[str, np.ndarray]
    ) -> None:
        rows = np.random.default_rng(6).permutation(len(shipped["cell"]))[:100]
        devices = {name: open_device(f"replay:{name}") for name in published_names()}
        batches = dict(zip(shipped["device"].tolist(), shipped["batch_size"].tolist(), strict=True))
        for row in rows:
            cell = NAS_BENCH_201.from_native_index(int(shipped["cell"][row]))
            group = shipped["network"] == shipped["network"][row]
            for name, device in devices.items():
                own = name.removeprefix("help/")
                config = NetworkConfig.nasbench201(batch_size=batches[own])
                answer = measure(device, MeasurableModel.of_graph(build_layer_graph(cell, config)))
                assert answer.latency_ms() == median(shipped[LATENCY + own][group].astype(float).tolist())


def test_a_cell_that_was_not_measured_is_not_in_the_table(
    tmp_path: Path, shipped: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shipped["network"] == shipped["network"][shipped["cell"].tolist().index(_index(ONE_CONV))]
    some, none = shipped[LATENCY + "pixel3"].copy(), shipped[LATENCY + "samsung_s7"].copy()
    some[np.flatnonzero(rows)[1:]] = np.nan
    none[rows] = np.nan
    changed = tmp_path / "changed.npz"
    np.savez(changed, **{**shipped, LATENCY + "pixel3": some, LATENCY + "samsung_s7": none})
    monkeypatch.setattr("leti_opt.device.published.DATA_FILE", changed)
    measurement = measure(open_device("replay:help/pixel3"), model(ONE_CONV))
    assert measurement.latency_ms() == some[np.flatnonzero(rows)[0]]
    assert measurement.metrics[0].value == 1
    with pytest.raises(InfeasibleError, match="not in the table of help/samsung_s7"):
        measure(open_device("replay:help/samsung_s7"), model(ONE_CONV))


def _index(text: str) -> int:
    return NAS_BENCH_201.native_index(native(text))


class TestIdentity:
    def test_it_says_whose_figures_they_are_and_that_they_are_replayed(self) -> None:
        identity = open_device("replay:help/pixel3").identity
        assert identity.kind == "replay"
        assert identity.origin == "replayed"
        assert identity.name == "pixel3 (HELP) [REPLAYED]"
        assert "HayeonLee/HELP, commit 45f70eb" in identity.runtime
        assert SHA256 in identity.runtime

    def test_every_device_has_an_identity_of_its_own(self) -> None:
        names = published_names()
        assert len({open_device(f"replay:{name}").identity for name in names}) == len(names) == 16

    @pytest.mark.parametrize(
        ("uri", "fault"),
        [
            ("replay:help/pixel4", "no published device 'help/pixel4'; did you mean 'help/pixel3'"),
            ("replay:help/", "no published device 'help/'; .*Known: help/1080ti_1"),
            ("replay:help/pixel3?device=x", "takes no options, found device"),
            ("replay", "a published device: replay:help/pixel3"),
        ],
    )
    def test_bad_addresses_are_refused_with_what_is_known(self, uri: str, fault: str) -> None:
        with pytest.raises(InvalidDeviceUriError, match=fault):
            open_device(uri)

    def test_a_recording_in_a_folder_called_help_is_still_a_recording(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "help").mkdir()
        write_recording(tmp_path / "help" / "r.parquet", [recorded("a")])
        monkeypatch.chdir(tmp_path)
        assert open_device("replay:help/r.parquet").identity.hardware == "Pixel 3+"

    def test_listing_and_opening_reads_no_figures(self) -> None:
        script = (
            "import numpy, sys\n"
            "from leti_opt.device import list_devices, open_device\n"
            "read = []\n"
            "plain = numpy.lib.npyio.NpzFile.__getitem__\n"
            "numpy.lib.npyio.NpzFile.__getitem__ = lambda file, key: read.append(key) or plain(file, key)\n"
            "(row,) = [row for row in list_devices() if row.uri == 'replay:help/NAME']\n"
            "open_device('replay:help/pixel3')\n"
            "print(sorted(set(read)), row.origin, 'pixel3' in row.note)\n"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout == "['device'] replayed True\n"


def test_a_device_of_the_class_is_the_device_of_its_uri() -> None:
    assert open_device(PublishedDevice("help/pixel3").uri).identity == PublishedDevice("help/pixel3").identity
