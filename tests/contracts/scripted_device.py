"""A device whose answers a test writes down beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Origin, Session
from leti_opt.device.measurement import Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch

Answer = RunBatch | Exception
Script = Sequence[Answer] | Callable[[MeasurableModel], Sequence[Answer]]


class ScriptedDevice(Device):
    """Gives the answers of a script, in order, and counts what is asked of it.

    A *timed* run, one of at least ``default_min_runs``, takes the next answer: a batch is returned, an error raised.
    Shorter runs (the first one, the warm-up) take none and give ``untimed_ms``. The script goes on from session to
    session. Asking beyond its end is an ``AssertionError``, so a test never gets more than it wrote.

    Args:
        script: answers for the whole life of the device, or a function that gives those for a network.
        load_script: errors to raise, one for each load, None for a load that succeeds; afterwards all succeed.
        name: enters the URI, the identity and the resource.
        default_min_runs: see above; a protocol in a test leaves ``min_runs`` to the device.
        untimed_ms: what short runs report.
        metrics: further figures of every session.
        origin: what the identity says.
        epoch: what the epoch says.

    >>> from leti_opt.device.protocol import measure
    >>> device = ScriptedDevice([steady(2.0)])
    >>> measure(device, MeasurableModel(key="k", name="k", renderer="none")).latency_ms()
    2.0
    """

    needs_file = False

    def __init__(
        self,
        script: Script = (),
        *,
        load_script: Sequence[Exception | None] = (),
        name: str = "one",
        default_min_runs: int = 300,
        untimed_ms: float = 9.0,
        metrics: tuple[Metric, ...] = (),
        origin: Origin = "measured",
        epoch: DeviceEpoch | None = None,
    ) -> None:
        self.uri = f"scripted:{name}"
        self.default_min_runs = default_min_runs
        self.loads: list[str] = []
        self.runs: list[int] = []
        self.open_sessions = 0
        self.closed = 0
        self._script = script
        self._answers: dict[str, Iterator[Answer]] = {}
        self._load_answers = iter(load_script)
        self._name = name
        self._untimed_ms = untimed_ms
        self._metrics = metrics
        self._origin = origin
        self._epoch = epoch or DeviceEpoch("scripted build", unit="unit")

    @property
    def timed_runs(self) -> int:
        """How many answers of the script were taken."""
        return sum(n >= self.default_min_runs for n in self.runs)

    @property
    def identity(self) -> DeviceIdentity:
        return DeviceIdentity(
            kind="scripted", hardware=self._name, runtime="script", runner="test", delegate="cpu", origin=self._origin
        )

    @property
    def epoch(self) -> DeviceEpoch:
        return self._epoch

    @property
    def resources(self) -> frozenset[str]:
        return frozenset({f"scripted:{self._name}"})

    def load(self, model: MeasurableModel) -> Session:
        self.loads.append(model.key)
        error = next(self._load_answers, None)
        if error is not None:
            raise error
        return _ScriptedSession(self, model)

    def close(self) -> None:
        self.closed += 1

    def _answer(self, model: MeasurableModel, n: int) -> RunBatch:
        self.runs.append(n)
        if n < self.default_min_runs:
            return RunBatch.from_runs([self._untimed_ms] * n)
        answer = next(self._answers_for(model), None)
        assert answer is not None, f"the script of {self.uri} has no answer left for {model.name}"
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _answers_for(self, model: MeasurableModel) -> Iterator[Answer]:
        if not callable(self._script):
            return self._answers.setdefault("", iter(self._script))
        if model.key not in self._answers:
            self._answers[model.key] = iter(self._script(model))
        return self._answers[model.key]


class _ScriptedSession(Session):
    initialization_ms = 1.5

    def __init__(self, device: ScriptedDevice, model: MeasurableModel) -> None:
        self._device = device
        self._model = model
        self._closed = False
        device.open_sessions += 1

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        assert runs_per_sample == 1, "this device is scripted for single runs"
        assert not self._closed, "a closed session was asked to run"
        if n < 1:
            raise ValueError(f"a session makes 1 run or more, not {n}")
        return self._device._answer(self._model, n)

    def metrics(self) -> tuple[Metric, ...]:
        return self._device._metrics

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._device.open_sessions -= 1


def steady(mean_ms: float, count: int = 300) -> RunBatch:
    """A batch that every protocol with so many runs accepts."""
    return RunBatch(count=count, mean_ms=mean_ms, std_ms=0.01 * mean_ms)


def shaky(mean_ms: float, count: int = 300) -> RunBatch:
    """A batch that spreads by half its mean."""
    return RunBatch(count=count, mean_ms=mean_ms, std_ms=0.5 * mean_ms)
