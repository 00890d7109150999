"""An Android phone that measures networks with benchmark_model, over adb."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar, cast
from urllib.parse import quote

from leti_opt.device.android.android_session import AndroidSession
from leti_opt.device.android.arrival import Arrival, arrival_script, read_arrival
from leti_opt.device.android.benchmark_model import Binary, RunOptions, Unit, check_options
from leti_opt.device.android.benchmark_profile import METHOD
from leti_opt.device.android.binary import FoundBinary, find_binary, install_binary
from leti_opt.device.android.cores import affinity_mask, read_core_groups
from leti_opt.device.android.health import Guard, GuardSettings, PhoneState
from leti_opt.device.android.identity import PhoneFacts, phone_epoch, phone_identity, read_facts
from leti_opt.device.android.layouts import Layout, known_layout
from leti_opt.device.android.model_files import ModelFiles
from leti_opt.device.android.phone import Phone
from leti_opt.device.android.phone_connection import Patience
from leti_opt.device.android.phone_options import DEFAULT_DEADLINE_S, GUARD_OPTIONS, check
from leti_opt.device.device import Device, DeviceEpoch, DeviceIdentity, Session
from leti_opt.device.model import MeasurableModel
from leti_opt.device.use import COOLING, FAILING, INITIALIZATION, TRANSFER, DeviceUse
from leti_opt.errors import DeviceError, PhoneError
from leti_opt.network.weights_block import open_block

if TYPE_CHECKING:
    from leti_opt.device.android.adb import AdbServer
    from leti_opt.device.operator_time import OperatorTime

Result = TypeVar("Result")

_LOGGER = logging.getLogger("leti_opt")

_HELP_S = 20.0
_MOMENTS_S = 5.0


class AndroidDevice(Device):
    """One processing unit of one phone.

    Args:
        address: what adb calls the phone: its serial, or ``host:port``.
        unit: ``cpu``, ``gpu`` or ``npu`` (NNAPI, which Android has deprecated).
        threads: of the CPU.
        cores: ``big`` (all but the slowest group), ``little``, ``all``, or a mask in hexadecimal.
        delegate: the GPU's backend, ``cl`` or ``gl``; other units take none.
        precision_loss: whether the GPU may calculate in half precision.
        accelerator: NNAPI's name of the accelerator; empty for the one that Android chooses.
        binary: path of a benchmark_model for this phone; None to look for one.
        layout: ``file`` pushes every network whole, ``resident`` only its header over a block of weights that stays on
            the phone; ``auto`` takes what ``leti-opt devices setup`` found, and ``file`` before that.
        guard: when the phone is fit to measure.
        deadline_s: a start of benchmark_model that takes longer counts as hung.
        server: the adb server; None for this host's usual one.
        patience: how long to wait for a phone that went away.
        notify: told in one line what is being waited for.

    Raises:
        InvalidDeviceUriError: an option is unknown, or does not go with the unit. The phone has not been contacted.

    >>> AndroidDevice("R58M123", "gpu", delegate="gl").uri
    'android:R58M123/gpu?delegate=gl'
    """

    reveals_runs = False
    canary_every_s = 60.0
    default_min_runs = 300
    profile_method = METHOD

    def __init__(
        self,
        address: str,
        unit: str = "cpu",
        *,
        threads: int = 1,
        cores: str = "big",
        delegate: str | None = None,
        precision_loss: bool = False,
        accelerator: str = "",
        binary: str | None = None,
        layout: Literal["auto", "resident", "file"] = "auto",
        guard: GuardSettings | None = None,
        deadline_s: float = DEFAULT_DEADLINE_S,
        server: AdbServer | None = None,
        patience: Patience | None = None,
        notify: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        check(address, unit, threads, delegate, precision_loss, accelerator, layout, deadline_s)
        self.address, self.unit = address, cast(Unit, unit)
        backend = (delegate or "cl") if unit == "gpu" else ""
        self.options = RunOptions(
            unit=self.unit, threads=threads, backend=backend, precision_loss=precision_loss, accelerator=accelerator
        )
        self.cores = cores
        self.deadline_s = deadline_s
        self.use = DeviceUse(clock)
        self.clock = clock
        self._binary_path = binary
        self._wanted_layout = layout
        self._guard_settings = guard or GuardSettings()
        self._interrupted = threading.Event()
        self._sleep = sleep or self._pause
        self.phone = Phone(address, server, patience, notify or _LOGGER.warning, clock, self._sleep)
        self.files = ModelFiles(self.phone)
        self._facts: PhoneFacts | None = None
        self._found: FoundBinary | None = None
        self._mask: str | None = None
        self._layout: Layout | None = None
        self._guard: Guard | None = None
        self._ready_in_boot: str | None = None
        self.remote_binary = ""
        self.binary: Binary | None = None
        self.uri = self._canonical_uri()

    def _canonical_uri(self) -> str:
        guard, usual = self._guard_settings, GuardSettings()
        options = {
            "threads": None if self.options.threads == 1 else str(self.options.threads),
            "cores": None if self.cores == "big" else self.cores,
            "delegate": self.options.backend if self.options.backend not in ("", "cl") else None,
            "precision_loss": "yes" if self.options.precision_loss else None,
            "accelerator": self.options.accelerator or None,
            "binary": self._binary_path,
            "layout": None if self._wanted_layout == "auto" else self._wanted_layout,
            "deadline_s": None if self.deadline_s == DEFAULT_DEADLINE_S else f"{self.deadline_s:g}",
            **{
                name: None if getattr(guard, name) == getattr(usual, name) else f"{getattr(guard, name):g}"
                for name in GUARD_OPTIONS
            },
        }
        query = "&".join(f"{name}={quote(value, safe='/,:')}" for name, value in options.items() if value is not None)
        return f"android:{self.address}/{self.unit}" + (f"?{query}" if query else "")

    @property
    def facts(self) -> PhoneFacts:
        """What the phone says of itself; read at the first contact."""
        if self._facts is None:
            self._facts = self.phone.recovering("reading what it is", lambda: read_facts(self.phone))
        return self._facts

    @property
    def found_binary(self) -> FoundBinary:
        """The benchmark_model that will be used; looked for at the first call."""
        if self._found is None:
            abi = self.facts.abi
            self._found = self.phone.recovering(
                "looking for benchmark_model", lambda: find_binary(self._binary_path, self.phone, abi)
            )
        return self._found

    @property
    def mask(self) -> str:
        """The cores to run on, as a mask in hexadecimal; empty for all."""
        if self._mask is None:
            groups = self.phone.recovering("reading its cores", lambda: read_core_groups(self.phone))
            self._mask = affinity_mask(self.cores, groups)
        return self._mask

    @property
    def layout(self) -> Layout:
        """How networks are laid out on the phone."""
        if self._layout is None:
            known = known_layout(self.epoch.unit, self.found_binary.sha256, self.unit)
            self._layout = (known or "file") if self._wanted_layout == "auto" else self._wanted_layout
        return self._layout

    @layout.setter
    def layout(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def identity(self) -> DeviceIdentity:
        """Phone, SHA-256 of benchmark_model, unit, threads, cores and every option that matters.

        The layout enters it only where the user insists on one: what ``auto`` chooses was shown not to matter.

        Raises:
            DeviceError: the phone cannot be reached, or has no benchmark_model.
        """
        layout = "" if self._wanted_layout == "auto" else self._wanted_layout
        runtime = f"benchmark_model {self.found_binary.sha256}"
        return phone_identity(self.facts, runtime, self.options, self.mask, layout)

    @property
    def epoch(self) -> DeviceEpoch:
        """The system build, the GPU driver and a pseudonym of the serial number."""
        return phone_epoch(self.facts)

    @property
    def resources(self) -> frozenset[str]:
        """The phone by its serial number, whichever address leads to it."""
        return frozenset({f"android:{self.phone.serial}"})

    def prepare(self, model: MeasurableModel) -> None:
        """Build on this host what will be pushed."""
        if self.layout == "resident" and model.placed is not None:
            open_block(model.placed.needs)
        else:
            model.prepare()

    def load(self, model: MeasurableModel) -> Session:
        """Put a network on the phone, and hold the phone against other hosts until the session is closed.

        Raises:
            InvalidModelError: the model's file is no model.
            PhoneError: the phone cannot be reached, is busy, or lacks what it takes.
        """
        session = AndroidSession(self, model, self._recovering("taking the phone's lock", self._arrive))
        try:
            session.place()
        except BaseException:
            session.close()
            raise
        return session

    def _arrive(self) -> Arrival:
        """Take the phone, and in the same command look whether it is as it was left."""
        known, waited_s = self._ready_in_boot, self.phone.waited_s
        began = self.clock()
        text = self.phone.take(arrival_script(known) if known else "")
        self.use.add(TRANSFER, self.clock() - began - (self.phone.waited_s - waited_s))
        return read_arrival(text, known) if known else Arrival(same_boot=False)

    def make_ready(self) -> None:
        """See to it that a phone which was just found, or has restarted, is clean and has its benchmark_model."""
        self.phone.contact("looking whether it is the same phone")
        if self._ready_in_boot == self.phone.boot_id:
            return
        if self._ready_in_boot is not None:
            self._refuse_another_epoch()
        with self.use.timing(TRANSFER):
            self.files.clean()
            self.remote_binary = install_binary(self.phone, self.found_binary)
        if self.binary is None:
            self.binary = self._asked_binary()
        self._ready_in_boot = self.phone.boot_id

    def _refuse_another_epoch(self) -> None:
        before, now = phone_epoch(self.facts), phone_epoch(read_facts(self.phone))
        if now != before:
            raise PhoneError(
                self.uri,
                "looking at it after a restart",
                f"its system changed from {before.system_build} {before.driver} to {now.system_build} {now.driver}",
                "everything is kept; start again: its results from now on are an epoch of their own",
            )

    def wait_until_fit(self, first: PhoneState | None = None) -> tuple[PhoneState, float]:
        """Wait until the phone is cool and charged enough.

        Args:
            first: its state as it was read a moment ago; None to read it.

        Returns:
            Its state, and the seconds waited.

        Raises:
            PhoneError: it did not get there in time.
        """
        if self._guard is None:
            self._guard = Guard(self.phone, self._guard_settings, self.clock, self._sleep, self.phone.notify)
        with self.use.timing(COOLING):
            return self._guard.wait(first)

    def contact(self) -> None:
        """Make sure that the same phone as ever answers.

        Raises:
            PhoneError: it does not, or another phone does.
        """
        self.phone.look("looking whether it is back")

    def give_up_soon(self) -> None:
        """Wait only for moments, from now on, when the phone goes away."""
        patience = self.phone.patience
        self.phone.patience = replace(patience, back_within_s=min(patience.back_within_s, _MOMENTS_S))

    def interrupt(self) -> None:
        """End waits for the phone that are going on in other threads; they raise a PhoneError."""
        self._interrupted.set()

    def _pause(self, seconds: float) -> None:
        if self._interrupted.wait(seconds):
            raise PhoneError(self.uri, "waiting for it", "nobody needs it any more", "start again, everything is kept")

    def operator_times(self, model: MeasurableModel, runs: int) -> tuple[OperatorTime, ...]:
        """Time every operator within the whole network, by benchmark_model's own profiler.

        Raises:
            as :meth:`load` and :meth:`Session.run`.
        """
        session = self.load(model)
        assert isinstance(session, AndroidSession)
        with session:
            return session.profile(runs)

    def close(self) -> None:
        """Forget what is known of the phone; nothing on it needs to be ended."""
        self._interrupted.clear()
        self._facts = self._found = self._mask = self._layout = self._ready_in_boot = None

    def _asked_binary(self) -> Binary:
        with self.use.timing(INITIALIZATION):
            command = f"timeout -s KILL {_HELP_S:.0f} {self.remote_binary} --help 2>&1"
            # Its exit status says nothing: builds differ in what they end their help with.
            reply = self.phone.shell(command, "asking benchmark_model for its flags", 2 * _HELP_S, check=False)
        try:
            binary = Binary.from_help(reply.stdout)
            check_options(binary, self.options)
        except (DeviceError, ValueError) as error:
            raise PhoneError(
                self.uri, "asking benchmark_model for its flags", str(error), "use another benchmark_model (?binary=)"
            ) from error
        return binary

    def _recovering(self, step: str, action: Callable[[], Result]) -> Result:
        lost_s = self.phone.lost_s
        try:
            return self.phone.recovering(step, action)
        finally:
            self.use.add(FAILING, self.phone.lost_s - lost_s)
