"""Measured latency as an objective: a callable that any nevergrad optimizer can minimize."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, Literal

from leti_opt.architecture import Architecture
from leti_opt.device.device import Device
from leti_opt.device.model import MeasurableModel
from leti_opt.device.open_device import open_devices
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.device.run_batch import STATISTICS
from leti_opt.errors import InfeasibleError, InvalidInputError, NotFoundError, did_you_mean
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.gpu_rules import rule_set
from leti_opt.network.gpu_support import gpu_support
from leti_opt.network.layer_graph import LayerGraph
from leti_opt.network.rendering import Renderer, check_renderer
from leti_opt.objective.answers import Answer, Question, Source, without_runs
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.evaluations import Best, Evaluation, Value
from leti_opt.objective.pooled import open_service
from leti_opt.objective.questions import as_measurable_model, cell_question
from leti_opt.store.latency_store import LatencyStore


class LatencyObjective(Generic[Value]):
    """Latency in milliseconds of whatever network ``build`` makes of a value.

    It works with ``minimize``, with ask and tell and with an executor of threads or processes; pickled, it opens
    device and store anew where it arrives. What was measured before is answered from the store.

    Args:
        device: a URI such as ``"host-cpu?threads=2"``, an open device, or several of either: devices that are equal
            share the work, and of different ones the slowest counts
            (:class:`~leti_opt.objective.pooled.PooledService`). ``"android:*"`` stands for every phone that is ready.
        build: turns a value into a :class:`~leti_opt.network.layer_graph.LayerGraph`, a ``keras.Model``, the path of
            a ``.tflite`` file or its content.
        store: path or URL of the store, or an open one.
        protocol: when a measurement holds.
        statistic: ``mean`` (the LETI paper's), ``median``, ``p95`` …
        penalty_ms: what an infeasible network is answered with. It is never stored as a latency.
        on_infeasible: ``"penalty"``, or ``"raise"`` an InfeasibleError.
        offline: answer from the store alone.
        retry_unstable: measure again what the store holds as unstable.
        canary: how the device is watched while it measures.

    Raises:
        InvalidInputError: unknown statistic and the like; nothing has been opened or measured by then.
        StatisticUnavailableError: the device is known not to reveal the statistic; nothing has been measured by then.

    >>> from leti_opt import NetworkConfig, build_layer_graph
    >>> cell = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
    >>> objective = LatencyObjective(
    ...     "replay:formula?seed=1",
    ...     build=lambda filters: build_layer_graph(cell, NetworkConfig.small(filters=filters)),
    ...     store=":memory:",
    ... )
    >>> objective(8) < objective(64)
    True
    >>> objective.best().value
    8
    """

    def __init__(
        self,
        device: str | Device | Sequence[str | Device],
        build: Callable[[Value], Any],
        *,
        store: str | Path | LatencyStore = "latency.db",
        protocol: MeasurementProtocol | None = None,
        statistic: str = "mean",
        penalty_ms: float = 10_000.0,
        on_infeasible: Literal["penalty", "raise"] = "penalty",
        offline: bool = False,
        retry_unstable: bool = False,
        canary: CanarySettings | None = None,
    ) -> None:
        if statistic not in STATISTICS:
            raise InvalidInputError(f"unknown statistic {statistic!r}; {did_you_mean(statistic, STATISTICS)}")
        if on_infeasible not in ("penalty", "raise"):
            raise InvalidInputError(f"on_infeasible must be 'penalty' or 'raise', not {on_infeasible!r}")
        if not 0 < penalty_ms < float("inf"):
            raise InvalidInputError(f"penalty_ms must be a positive finite number, not {penalty_ms}")
        if statistic != "mean" and protocol is not None and protocol.runs_per_sample != 1:
            raise InvalidInputError(
                f"runs_per_sample={protocol.runs_per_sample} times several runs as one, which hides the {statistic} of "
                "single runs; leave it at 1, or ask for the mean"
            )
        self.build = build
        self.statistic = statistic
        self.penalty_ms = penalty_ms
        self.on_infeasible = on_infeasible
        self.retry_unstable = retry_unstable
        opened = _opened(device)
        for each in opened:
            each.check_statistic(statistic)
        store = store if isinstance(store, LatencyStore) else LatencyStore(store)
        self.service = open_service(opened, store, protocol or MeasurementProtocol(), offline, canary, statistic)
        self._evaluations: list[Evaluation[Value]] = []
        self._lock = threading.Lock()

    @property
    def devices(self) -> tuple[Device, ...]:
        """What measures."""
        return tuple(member.device for member in self.service.members)

    @property
    def device(self) -> Device:
        """What measures, where it is one device.

        Raises:
            InvalidInputError: there are several.
        """
        if len(self.devices) > 1:
            raise InvalidInputError(f"this objective has {len(self.devices)} devices; ask for .devices")
        return self.devices[0]

    @property
    def store(self) -> LatencyStore:
        """What remembers."""
        return self.service.store

    def __call__(self, value: Value) -> float:
        """Latency in milliseconds; for an unstable network the median of its attempts.

        Raises:
            InfeasibleError: with ``on_infeasible="raise"``.
            StatisticUnavailableError: the device does not reveal the statistic.
            DeviceError: the device is gone; everything measured so far is in the store.
        """
        return self.evaluate(value).latency_ms

    def evaluate(self, value: Value) -> Evaluation[Value]:
        """The same call, with what stands behind the number."""
        answer = self.answer(value)
        evaluation = Evaluation(value, self.latency_ms(answer), answer)
        with self._lock:
            self._evaluations.append(replace(evaluation, answer=without_runs(answer)))
        return evaluation

    def answer(self, value: Value) -> Answer:
        """What is known of a value, measured if nothing was. No call, so :meth:`best` does not know it.

        Raises:
            DeviceError: the device is gone; everything measured so far is in the store.
        """
        question = self.question(value)
        answer = self.service.answer(question)
        retried = answer.provisional and self.retry_unstable and answer.source is Source.STORE
        if retried or self._hides_statistic(answer):
            answer = self.service.answer(question, fresh=True)
        return answer

    def question(self, value: Value) -> Question:
        """What the measuring service is asked about a value."""
        return Question(str(value), lambda: self._model(value))

    def best(self) -> Best[Value]:
        """The best measured value among this objective's calls: never a provisional one, never a penalty.

        Calls of copies that an executor sent to other processes are in the store, but not among these; ask the
        objective for the recommendation to have it here.

        Raises:
            NotFoundError: none of the calls gave a measurement that holds.
        """
        self.settle()
        held = [e for e in self.evaluations if e.answer.measurement and not e.answer.provisional]
        if not held:
            raise NotFoundError("no network was measured to the protocol's rule yet; evaluate some first")
        winner = min(held, key=lambda evaluation: evaluation.latency_ms)
        assert winner.answer.measurement is not None
        return Best(winner.value, winner.latency_ms, winner.answer.measurement)

    @property
    def evaluations(self) -> tuple[Evaluation[Value], ...]:
        """Every call so far in this process, in order; what was measured again since has its newer figure."""
        with self._lock:
            made = tuple(self._evaluations)
        return tuple(self.current(evaluation) for evaluation in made)

    def current(self, evaluation: Evaluation[Value]) -> Evaluation[Value]:
        """The evaluation itself, or with the figure that replaced its own after the device had left its pace."""
        answer = self.service.current(evaluation.answer)
        if answer is evaluation.answer:
            return evaluation
        return replace(evaluation, latency_ms=self.latency_ms(answer), answer=without_runs(answer))

    def settle(self) -> None:
        """See to it that the last measurements, too, were made at the device's usual pace.

        Raises:
            DeviceError: the device is gone, or does not come back to its pace.
        """
        self.service.settle()

    def close(self) -> None:
        """Release the devices, after a last look at their canaries. The objective may be called again."""
        try:
            self.settle()
        finally:
            self.service.close()

    def latency_ms(self, answer: Answer) -> float:
        """What an answer tells an optimizer: the statistic, the provisional figure or the penalty."""
        if answer.measurement is not None:
            return answer.measurement.latency_ms(self.statistic)
        if self.on_infeasible == "raise":
            raise InfeasibleError(str(answer.failure))
        return self.penalty_ms

    def _hides_statistic(self, answer: Answer) -> bool:
        """Whether the store's answer timed several runs as one, so that it knows nothing but their mean."""
        stored = None if answer.source is Source.DEVICE else answer.measurement
        return stored is not None and self.statistic != "mean" and stored.batch.runs_per_sample > 1

    def _model(self, value: Value) -> MeasurableModel:
        return as_measurable_model(self.build(value), str(value))

    def __getstate__(self) -> dict[str, Any]:
        service = self.service
        state = {**self.__dict__, "service": None, "_lock": None, "_evaluations": []}
        return {
            **state,
            "_reopen": (
                [member.device.uri for member in service.members],
                *(service.store, service.protocol, service.offline, service.canary),
            ),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        uris, store, protocol, offline, canary = state.pop("_reopen")
        self.__dict__.update(state)
        self.service = open_service(open_devices(uris), store, protocol, offline, canary, self.statistic)
        self._lock = threading.Lock()


class DeviceLatencyObjective(LatencyObjective[Architecture]):
    """Measured latency of a cell, laid out with a network config.

    Args:
        device: a URI such as ``"host-cpu?threads=2"``, an open device, or several of either.
        network: how cells become networks.
        renderer: the way to a TFLite file: ``"writer"``, ``"converter"``, or ``"auto"``.
        skip_forecast: rules of :func:`~leti_opt.network.gpu_support.gpu_support`. Networks that they forecast not to
            fit a phone's GPU are answered like infeasible ones, without asking the device; nothing is stored of them.
            By default every network is tried: the device's verdict decides.
        settings: as for :class:`LatencyObjective`.

    >>> import nevergrad as ng
    >>> from leti_opt import ArchitectureSpace
    >>> objective = DeviceLatencyObjective(
    ...     device="replay:formula?seed=1", network=NetworkConfig.small(), store=":memory:"
    ... )
    >>> space = ArchitectureSpace()
    >>> space.random_state.seed(1)
    >>> recommendation = ng.optimizers.registry["DiscreteOnePlusOne"](space, budget=20).minimize(objective)
    >>> objective(objective.best().architecture) == objective.best().latency_ms
    True
    """

    def __init__(
        self,
        device: str | Device | Sequence[str | Device] = "host-cpu",
        network: NetworkConfig | None = None,
        *,
        renderer: Renderer = "auto",
        skip_forecast: str | None = None,
        **settings: Any,
    ) -> None:
        self.network = network or NetworkConfig()
        self.renderer = renderer
        self.skip_forecast = skip_forecast
        if skip_forecast is not None:
            rule_set(skip_forecast)
        check_renderer(self.network.precision, renderer)
        build_layer_graph(Architecture.parse("0-1:"), self.network)
        super().__init__(device, self._graph, **settings)

    def question(self, value: Architecture) -> Question:
        """What the measuring service is asked about a cell."""
        if not isinstance(value, Architecture):
            raise InvalidInputError(
                f"the objective takes an Architecture, not {type(value).__name__}; optimize over ArchitectureSpace()"
            )
        question = cell_question(value, self.network, self.renderer)
        return question if self.skip_forecast is None else replace(question, refusal=self._forecast_refusal)

    def _forecast_refusal(self, model: MeasurableModel) -> str | None:
        assert model.layer_graph is not None
        assert self.skip_forecast is not None
        refusals = gpu_support(model.layer_graph, self.skip_forecast).refusals
        return f"skipped, forecast {self.skip_forecast}: {refusals[0].reason}" if refusals else None

    def _graph(self, value: Architecture) -> LayerGraph:
        return build_layer_graph(value, self.network)


def _opened(device: str | Device | Sequence[str | Device]) -> list[Device]:
    named = [device] if isinstance(device, str | Device) else list(device)
    uris = [each for each in named if isinstance(each, str)]
    return [*(open_devices(uris) if uris or not named else []), *(each for each in named if isinstance(each, Device))]
