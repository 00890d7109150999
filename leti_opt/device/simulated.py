"""A device that works latencies out by a seeded formula, and says so: *simulated*."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InfeasibleError, InvalidDeviceUriError, InvalidModelError, InvalidProtocolError
from leti_opt.network.cost import layer_costs
from leti_opt.network.layer_graph import LayerGraph

WHOLE_NUMBERS = ("seed", "aggregates")
"""Fields of a :class:`Formula` that are whole numbers."""

_SPREAD_OF_UNSTABLE = 0.3
_FORMULA_VERSION = 1


@dataclass(frozen=True)
class Formula:
    """How a simulated device behaves. All its latencies follow from these numbers and the network's key.

    Args:
        seed: chooses the residuals, the noise, and which networks are unstable or infeasible.
        noise: standard deviation of a run, relative to the network's latency.
        drift: relative change of the latency over 1,000 runs of a session.
        unstable: share of networks whose runs always spread too far.
        infeasible: share of networks that are refused.
        residual: relative spread of latencies around what the costs say.
        gflops_per_s: speed of arithmetic.
        gb_per_s: speed of reading the parameters.
        layer_us: fixed time a layer.
        overhead_us: fixed time a run.
        aggregates: 1 for a device that tells no single runs, only their statistics, as phones do.

    Raises:
        InvalidDeviceUriError: a number is out of range.
    """

    seed: int = 0
    noise: float = 0.02
    drift: float = 0.0
    unstable: float = 0.0
    infeasible: float = 0.0
    residual: float = 0.1
    gflops_per_s: float = 20.0
    gb_per_s: float = 10.0
    layer_us: float = 3.0
    overhead_us: float = 20.0
    aggregates: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not math.isfinite(value) or (value < 0 and name != "drift"):
                raise InvalidDeviceUriError(f"{name} must be a number of 0 or more, not {value}")
        if int(self.seed) != self.seed:
            raise InvalidDeviceUriError(f"seed must be a whole number, not {self.seed}")
        if self.aggregates not in (0, 1):
            raise InvalidDeviceUriError(f"aggregates must be 0 or 1, not {self.aggregates}")
        for field in fields(self):  # 0 and 0.0 are one device
            kind = int if field.name in WHOLE_NUMBERS else float
            object.__setattr__(self, field.name, kind(getattr(self, field.name)))
        if self.drift <= -1:
            raise InvalidDeviceUriError(f"drift must be above -1, not {self.drift}: a latency stays positive")
        if self.unstable + self.infeasible > 1:
            raise InvalidDeviceUriError(
                f"unstable={self.unstable} and infeasible={self.infeasible} are shares of all networks; "
                "together they must not exceed 1"
            )
        if not (self.gflops_per_s > 0 and self.gb_per_s > 0):
            raise InvalidDeviceUriError("gflops_per_s and gb_per_s must be above 0")

    def changed(self) -> dict[str, str]:
        """The numbers that are not the default, as a URI has them."""
        return {
            field.name: str(getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }


class SimulatedDevice(Device):
    """A formula over a network's costs, for tests and for trying things out without measuring.

    The same seed and network give the same runs in any process and in any order of networks. It uses nothing physical
    and may be used by many threads at once, so it names no resources to be locked.

    >>> SimulatedDevice(Formula(seed=1)).uri
    'replay:formula?seed=1'
    >>> SimulatedDevice(Formula(seed=1)).identity.origin
    'simulated'
    """

    needs_file = False
    watched = False

    def __init__(self, formula: Formula | None = None) -> None:
        self.formula = formula or Formula()
        self.reveals_runs = not self.formula.aggregates
        query = "&".join(f"{name}={value}" for name, value in self.formula.changed().items())
        self.uri = "replay:formula" + (f"?{query}" if query else "")

    @cached_property
    def identity(self) -> DeviceIdentity:
        """Every number of the formula."""
        numbers = asdict(self.formula)
        if not self.formula.aggregates:
            del numbers["aggregates"]  # as it was before there was a choice
        return DeviceIdentity(
            kind="replay",
            hardware="formula",
            runtime=f"formula {_FORMULA_VERSION}",
            runner="replay",
            delegate="",
            options=tuple(sorted((name, str(value)) for name, value in numbers.items())),
            origin="simulated",
        )

    @cached_property
    def epoch(self) -> DeviceEpoch:
        """A formula does not change: always the same."""
        return DeviceEpoch(system_build="formula")

    @property
    def resources(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def load(self, model: MeasurableModel) -> Session:
        """Work out how the network behaves.

        Raises:
            InvalidModelError: its layers are not known.
            InfeasibleError: it is one of the share that this device refuses.
        """
        if model.layer_graph is None:
            raise InvalidModelError(
                f"{model.name} has no layer graph, and a formula needs one; measure it on a device such as host-cpu"
            )
        fate = self._generator(model, "fate").uniform()
        if fate < self.formula.infeasible:
            raise InfeasibleError(f"simulated refusal ({self.uri})")
        unstable = fate < self.formula.infeasible + self.formula.unstable
        latency_ms = self._latency_ms(model, model.layer_graph)
        return _SimulatedSession(self.formula, latency_ms, unstable, self._generator(model, "runs"))

    def _latency_ms(self, model: MeasurableModel, graph: LayerGraph) -> float:
        costs = layer_costs(graph)
        latency_us = (
            self.formula.overhead_us
            + self.formula.layer_us * len(graph.layers)
            + sum(cost.flops for cost in costs) / (1e3 * self.formula.gflops_per_s)
            + 4 * sum(cost.parameters for cost in costs) / (1e3 * self.formula.gb_per_s)
        )
        (residual,) = _lognormal(self._generator(model, "residual"), self.formula.residual, 1)
        return float(latency_us / 1e3 * residual)

    def _generator(self, model: MeasurableModel, purpose: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.formula.seed} {purpose} {model.key}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


class _SimulatedSession(Session):
    def __init__(self, formula: Formula, latency_ms: float, unstable: bool, generator: np.random.Generator) -> None:
        self._formula = formula
        self._latency_ms = latency_ms
        self._unstable = unstable
        self._generator = generator
        self._runs_made = 0

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        if n < 1:
            raise ValueError(f"a session makes 1 run or more, not {n}")
        samples, n = n, n * runs_per_sample
        position = np.arange(self._runs_made, self._runs_made + n)
        runs_ms = self._latency_ms * _lognormal(self._generator, self._formula.noise, n)
        runs_ms *= (1 + self._formula.drift) ** (position / 1000)
        if self._unstable:  # alternating, so that two runs suffice to show it
            runs_ms *= np.where(position % 2 == 0, 1 - _SPREAD_OF_UNSTABLE, 1 + _SPREAD_OF_UNSTABLE)
        self._runs_made += n
        if self._formula.aggregates:
            return _statistics(runs_ms, runs_per_sample)
        return RunBatch.from_runs(runs_ms.reshape(samples, runs_per_sample).mean(axis=1).tolist(), runs_per_sample)


def _statistics(runs_ms: NDArray[np.float64], runs_per_sample: int) -> RunBatch:
    if runs_per_sample != 1:
        raise InvalidProtocolError("this simulated device times single runs only, as phones do")
    # As np.percentile does it, which takes ten times as long.
    places = np.array([0.05, 0.5, 0.95]) * (len(runs_ms) - 1)
    p5, median, p95 = np.interp(places, np.arange(len(runs_ms)), np.sort(runs_ms)).tolist()
    return RunBatch(
        count=len(runs_ms),
        mean_ms=float(runs_ms.mean()),
        std_ms=float(runs_ms.std()),
        min_ms=float(runs_ms.min()),
        max_ms=float(runs_ms.max()),
        median_ms=median,
        p5_ms=p5,
        p95_ms=p95,
    )


def _lognormal(generator: np.random.Generator, relative_std: float, count: int) -> NDArray[np.float64]:
    """Positive factors with mean 1 and the given standard deviation."""
    variance = math.log1p(relative_std**2)
    return np.exp(generator.normal(-variance / 2, math.sqrt(variance), count))
