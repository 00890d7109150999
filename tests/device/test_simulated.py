from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_device
from leti_opt.device.protocol import MeasurementProtocol, measure
from leti_opt.device.simulated import Formula, SimulatedDevice
from leti_opt.errors import InfeasibleError, InvalidDeviceUriError, InvalidModelError
from tests.device.tiny_graphs import graph_model

KEYS = [f"network {number}" for number in range(400)]


def runs(device: SimulatedDevice, key: str, n: int = 300) -> np.ndarray:
    with device.load(graph_model(key)) as session:
        return np.array(session.run(n).runs_ms)


def fates(formula: Formula) -> list[str]:
    device, found = SimulatedDevice(formula), []
    for key in KEYS:
        try:
            stable = measure(device, graph_model(key), MeasurementProtocol(min_runs=20, max_attempts=2)).stable
            found.append("stable" if stable else "unstable")
        except InfeasibleError:
            found.append("infeasible")
    return found


def test_it_says_that_it_simulates() -> None:
    identity = SimulatedDevice().identity
    assert identity.origin == "simulated"
    assert identity.name.endswith("[SIMULATED]")


def test_every_number_is_part_of_the_identity() -> None:
    digests = {SimulatedDevice(replace(Formula(), **{name: 0.125})).identity.digest for name in ("noise", "residual")}
    digests |= {SimulatedDevice(Formula(seed=seed)).identity.digest for seed in (0, 1)}
    assert len(digests) == 4
    assert SimulatedDevice(Formula(noise=0)).identity == SimulatedDevice(Formula(noise=0.0)).identity


@given(
    st.builds(
        Formula,
        seed=st.integers(0, 2**63),
        noise=st.floats(0, 1),
        drift=st.floats(-0.9, 2),
        unstable=st.floats(0, 0.5),
        infeasible=st.floats(0, 0.5),
    )
)
def test_its_uri_holds_the_whole_formula(formula: Formula) -> None:
    device = open_device(SimulatedDevice(formula).uri)
    assert isinstance(device, SimulatedDevice)
    assert device.formula == formula


def test_runs_do_not_depend_on_the_order_of_networks() -> None:
    forward, backward = SimulatedDevice(Formula(seed=5)), SimulatedDevice(Formula(seed=5))
    first = {key: runs(forward, key, 3).tolist() for key in KEYS[:10]}
    assert {key: runs(backward, key, 3).tolist() for key in reversed(KEYS[:10])} == first


def test_runs_are_the_same_in_another_process() -> None:
    script = (
        "from tests.device.tiny_graphs import graph_model\n"
        "from leti_opt.device import open_device\n"
        "print(open_device('replay:formula?seed=5').load(graph_model('k')).run(3).runs_ms)"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert told.strip() == str(tuple(runs(SimulatedDevice(Formula(seed=5)), "k", 3).tolist()))


def test_another_seed_gives_other_latencies() -> None:
    assert runs(SimulatedDevice(Formula(seed=1)), "k", 1) != runs(SimulatedDevice(Formula(seed=2)), "k", 1)


def test_a_larger_network_takes_longer() -> None:
    device = SimulatedDevice(Formula(residual=0))
    latencies = [measure(device, graph_model("k", filters, side=16)).latency_ms() for filters in (8, 64, 256)]
    assert latencies == sorted(latencies)
    assert latencies[2] > 2 * latencies[0]


def test_residuals_spread_as_told() -> None:
    device = SimulatedDevice(Formula(residual=0.2, noise=0))
    latencies = np.array([runs(device, key, 1)[0] for key in KEYS])
    assert 0.17 < latencies.std() / latencies.mean() < 0.23


def test_runs_spread_as_told() -> None:
    times = runs(SimulatedDevice(Formula(noise=0.05)), "k", 3000)
    assert 0.045 < times.std() / times.mean() < 0.055
    assert np.ptp(runs(SimulatedDevice(Formula(noise=0)), "k")) == 0


def test_drift_changes_the_latency_over_a_session() -> None:
    with SimulatedDevice(Formula(noise=0, drift=0.5)).load(graph_model("k")) as session:
        first = session.run(1).mean_ms
        session.run(999)
        assert session.run(1).mean_ms == pytest.approx(1.5 * first)


def test_shares_of_unstable_and_infeasible_networks_are_as_told() -> None:
    found = fates(Formula(unstable=0.3, infeasible=0.2))
    assert 0.22 < found.count("unstable") / len(found) < 0.38
    assert 0.13 < found.count("infeasible") / len(found) < 0.27


def test_by_default_every_network_is_stable() -> None:
    assert set(fates(Formula())) == {"stable"}


@given(n=st.integers(2, 50), seed=st.integers(0, 1000))
def test_unstable_networks_break_the_rule_in_every_attempt(n: int, seed: int) -> None:
    device = SimulatedDevice(Formula(seed=seed, unstable=1.0))
    measurement = measure(device, graph_model("k"), MeasurementProtocol(min_runs=n, max_attempts=3))
    assert not measurement.stable
    assert len(measurement.attempts) == 3


def test_a_network_without_layers_is_refused() -> None:
    model = MeasurableModel(key="k", name="mine.tflite", renderer="file")
    with pytest.raises(InvalidModelError, match=r"mine\.tflite has no layer graph"):
        measure(SimulatedDevice(), model)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("noise=-0.1", "noise must be a number of 0 or more"),
        ("noise=nan", "noise must be a number"),
        ("noise=loud", "noise must be a number, not 'loud'"),
        ("seed=1.5", "seed must be a whole number, not '1.5'"),
        ("drift=-1", "drift must be above -1"),
        ("unstable=0.6&infeasible=0.6", "together they must not exceed 1"),
        ("gflops_per_s=0", "must be above 0"),
        ("nois=0", "no option 'nois'; did you mean 'noise'"),
    ],
)
def test_impossible_formulas_are_refused(query: str, fault: str) -> None:
    with pytest.raises(InvalidDeviceUriError, match=fault):
        open_device(f"replay:formula?{query}")
