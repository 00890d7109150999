"""One network on a phone: each attempt is one start of benchmark_model."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, TypeVar

from leti_opt.device.android.arrival import Arrival
from leti_opt.device.android.benchmark_model import Start, command, read_start
from leti_opt.device.android.benchmark_profile import read_profile
from leti_opt.device.android.health import PhoneState, state_metrics
from leti_opt.device.android.model_files import PlacedFile
from leti_opt.device.android.phone import REMOTE
from leti_opt.device.android.start_script import Started, read_started, start_script
from leti_opt.device.device import Session
from leti_opt.device.measurement import Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.run_batch import RunBatch
from leti_opt.device.use import FAILING, INITIALIZATION, TIMED_RUNS, TRANSFER
from leti_opt.errors import (
    AttemptError,
    DeviceError,
    InfeasibleError,
    InvalidProtocolError,
    PhoneError,
    PhoneGoneError,
)

if TYPE_CHECKING:
    from leti_opt.device.android.android_device import AndroidDevice
    from leti_opt.device.operator_time import OperatorTime

Result = TypeVar("Result")

_PROFILE = f"{REMOTE}/profile.csv"
_STARTING_S = 60.0
_HEADROOM = 4.0
_ADB_S = 15.0
"""What adb gets on top of the deadline that the phone itself keeps."""
_FRESH_S = 5.0
"""A state that was read longer ago, before a large file was pushed, say, is read again."""
_PLACINGS = 3


class AndroidSession(Session):
    """A network that lies on a phone. :meth:`AndroidDevice.load` makes it.

    The phone may vanish and come back at any moment: what was going on is done again, within the phone's patience.
    """

    def __init__(self, device: AndroidDevice, model: MeasurableModel, arrival: Arrival) -> None:
        self._device = device
        self._model = model
        self._as_left = arrival.same_boot
        self._first_state = arrival.state
        self._arrived = device.clock()
        self._placed: PlacedFile | None = None
        self._means_ms: list[float] = []
        self._state: PhoneState | None = None
        self._peak_memory_bytes: int | None = None
        self._waited_s = 0.0
        self._closed = False

    def place(self) -> None:
        """Put the network on the phone."""
        self._recovering("pushing the network", self._place)

    def first_run(self) -> None:
        """Every start makes its first run by itself."""
        return

    def attempt(self, n: int, warmup_runs: int) -> RunBatch:
        """One start: first run, warm-up, and ``n`` timed runs.

        Raises:
            AttemptError: benchmark_model crashed, hung, or said too little.
            InfeasibleError: the phone refuses the network.
            PhoneError: the phone is gone for good, or not fit to measure.
        """
        if n < 1:
            raise ValueError(f"a session makes 1 run or more, not {n}")
        start = self._recovering("measuring", lambda: self._started(n, warmup_runs))
        if self.initialization_ms is None:
            self.initialization_ms, self.first_run_ms = start.initialization_ms, start.first_run_ms
        self._peak_memory_bytes = start.peak_memory_bytes
        self._means_ms.append(start.batch.mean_ms)
        return start.batch

    def run(self, n: int, runs_per_sample: int = 1) -> RunBatch:
        """One start without a warm-up.

        Raises:
            as :meth:`attempt`; InvalidProtocolError: several runs in a sample.
        """
        if runs_per_sample != 1:
            raise InvalidProtocolError("benchmark_model times single runs; leave runs_per_sample at 1")
        return self.attempt(n, warmup_runs=0)

    def profile(self, runs: int) -> tuple[OperatorTime, ...]:
        """Time every operator within the whole network."""
        return self._recovering("profiling", lambda: self._profiled(runs))

    def metrics(self) -> tuple[Metric, ...]:
        """Peak memory, the phone's state before the last start, and the spread between starts if there were several."""
        found = [] if self._state is None else list(state_metrics(self._state))
        found.append(Metric("waited_until_fit", self._waited_s, "s", "the guard of temperature and battery"))
        if self._peak_memory_bytes is not None:
            found.append(Metric("peak_memory", float(self._peak_memory_bytes), "bytes", "benchmark_model"))
        if len(self._means_ms) > 1:
            spread = pstdev(self._means_ms) / fmean(self._means_ms)
            found.append(Metric("spread_between_starts", spread, "share of the latency", "benchmark_model's starts"))
        return tuple(found)

    def close(self) -> None:
        """Remove the network from the phone and let go of the phone."""
        if self._closed:
            return
        self._closed = True
        device = self._device
        with device.use.timing(TRANSFER):
            device.phone.release("" if self._placed is None else device.files.what_goes(self._placed))

    def _recovering(self, step: str, action: Callable[[], Result]) -> Result:
        phone, lost_s = self._device.phone, self._device.phone.lost_s

        def in_doubt() -> Result:
            try:
                return action()
            except PhoneGoneError:
                self._as_left, self._first_state = False, None
                raise

        try:
            return phone.recovering(step, in_doubt)
        finally:
            self._device.use.add(FAILING, phone.lost_s - lost_s)

    def _make_sure(self) -> None:
        """A phone that was away may be another one, or have lost everything."""
        if not self._as_left:
            self._device.make_ready()
            self._as_left = True

    def _place(self) -> PlacedFile:
        self._make_sure()
        with self._device.use.timing(TRANSFER):
            self._placed = self._device.files.place(self._model, self._device.layout)
        return self._placed

    def _wait_until_fit(self) -> None:
        state, self._first_state = self._first_state, None
        fresh = self._device.clock() - self._arrived <= _FRESH_S
        self._state, waited_s = self._device.wait_until_fit(state if fresh else None)
        self._waited_s += waited_s

    def _started(self, runs: int, warmup_runs: int) -> Start:
        start, _ = self._one_start(runs, warmup_runs, None)
        return start

    def _profiled(self, runs: int) -> tuple[OperatorTime, ...]:
        binary = self._device.binary
        to_file = binary is not None and "op_profiling_output_file" in binary.flags
        _, text = self._one_start(runs, 0, _PROFILE if to_file else "")
        if to_file:
            text = self._device.phone.pull(_PROFILE, "fetching the profile").decode("utf-8", errors="replace")
        return read_profile(text)

    def _one_start(self, runs: int, warmup_runs: int, profile_file: str | None) -> tuple[Start, str]:
        if self._closed:
            raise AttemptError("this session is over: it was closed")
        device, deadline_s = self._device, self._deadline_s(runs + warmup_runs)
        self._make_sure()
        if self._placed is None:
            self._place()
        self._wait_until_fit()
        started, wall_s = self._begun(lambda path: self._words(path, runs, warmup_runs, profile_file), deadline_s)
        try:
            if wall_s >= deadline_s and started.exit_code != 0:
                raise AttemptError(f"benchmark_model on {device.uri} took longer than {deadline_s:.0f} s and was ended")
            start = self._read(started.text, started.exit_code, runs)
        except InfeasibleError:
            device.use.add(INITIALIZATION, wall_s)
            raise
        except (AttemptError, DeviceError):
            device.use.add(FAILING, wall_s)
            raise
        timed_s = (start.batch.count or 0) * start.batch.mean_ms / 1e3
        device.use.add(TIMED_RUNS, timed_s)
        device.use.add(INITIALIZATION, max(0.0, wall_s - timed_s))
        return start, started.text

    def _words(self, path: str, runs: int, warmup_runs: int, profile_file: str | None) -> list[str]:
        device = self._device
        assert device.binary is not None
        return command(device.binary, device.remote_binary, path, runs, warmup_runs, device.options, profile_file)

    def _begun(self, words: Callable[[str], list[str]], deadline_s: float) -> tuple[Started, float]:
        """Run the program, on a network that is there to the byte.

        Returns:
            What came of it, and the seconds that the program took, with the way to the phone and back.
        """
        device, placed = self._device, self._placed
        for _ in range(_PLACINGS):
            placed = placed or self._place()
            began = device.clock()
            script = start_script(placed, words(placed.path), device.mask, deadline_s)
            try:
                reply = device.phone.start(script, deadline_s + _ADB_S + device.files.reading_s(placed))
                started = read_started(reply, device.uri)
            except (AttemptError, DeviceError):
                device.use.add(FAILING, device.clock() - began)
                raise
            device.files.tell_ended(started.ended)
            wall_s = device.clock() - began
            if started.network == "there":
                device.use.add(TRANSFER, started.preparing_s)
                return started, wall_s - started.preparing_s
            device.use.add(TRANSFER, wall_s)
            device.files.doubt()
            path, placed = placed.path, None
        raise PhoneError(
            device.uri,
            "checking the network on the phone",
            f"{path} was {started.network} {_PLACINGS} times right after it was put there",
            f"see what else writes to {REMOTE}, or use ?layout=file",
        )

    def _read(self, text: str, exit_code: int, runs: int) -> Start:
        device = self._device
        assert device.binary is not None
        try:
            return read_start(text, exit_code, runs, device.options, device.binary.dialect)
        except PhoneError:
            raise
        except DeviceError as error:
            raise PhoneError(
                device.uri, "starting benchmark_model", str(error), "use a benchmark_model for this phone (?binary=)"
            ) from error

    def _deadline_s(self, runs: int) -> float:
        if not self._means_ms:
            return self._device.deadline_s
        expected_s = runs * max(self._means_ms) / 1e3
        return min(self._device.deadline_s, _STARTING_S + _HEADROOM * expected_s)
