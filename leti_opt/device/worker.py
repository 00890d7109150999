"""The child process that runs TFLite models, so that a model which crashes or hangs takes nothing else with it.

It is started as ``python -m leti_opt.device.worker`` by :mod:`leti_opt.device.worker_client`. A plain module start,
unlike ``multiprocessing``, works from scripts without a ``__main__`` guard. It imports LiteRT, never TensorFlow.

Requests and replies are lines of JSON on stdin and stdout; whatever the runtime prints goes to stderr. Every request
has a ``command`` (``load``, ``run``, ``unload``) and a ``deadline_s``. A reply is ``{"ok": {...}}``, or
``{"refused": reason}`` where the runtime does not take the model, or ``{"mismatch": reason}`` where the loaded model is
not the one that was asked for.

It ends at the end of stdin, and by SIGALRM when a request takes longer than its deadline: so it is gone in time even
when its parent was killed.
"""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

Reply = dict[str, Any]


def main() -> None:
    """Serve requests until the end of stdin."""
    replies = _keep_stdout_for_replies()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    gc.collect()
    gc.freeze()  # what was imported stays: a collection between two models then takes no time worth speaking of
    runner = _Runner()
    _send(replies, {"ok": {"pid": os.getpid()}})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        with _deadline(request["deadline_s"]):
            reply = _answer(runner, request)
        _send(replies, reply)


def _keep_stdout_for_replies() -> BinaryIO:
    """Keep a private copy of stdout and point descriptor 1 at stderr, for runtimes that print."""
    sys.stdout.flush()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def _send(replies: BinaryIO, reply: Reply) -> None:
    replies.write(json.dumps(reply).encode() + b"\n")
    replies.flush()


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _answer(runner: _Runner, request: Mapping[str, Any]) -> Reply:
    commands: dict[str, Callable[..., Reply]] = {"load": runner.load, "run": runner.run, "unload": runner.unload}
    arguments = {key: value for key, value in request.items() if key not in ("command", "deadline_s")}
    try:
        return {"ok": commands[request["command"]](**arguments)}
    except _MismatchError as error:
        return {"mismatch": str(error)}
    except (ValueError, RuntimeError, MemoryError) as error:  # what LiteRT raises for a model that it does not take
        message = " ".join(str(error).split())
        return {"refused": message or f"{type(error).__name__} without a message"}


class _MismatchError(Exception):
    """The interpreter holds another model than it should."""


class _Runner:
    """At most one loaded model."""

    def __init__(self) -> None:
        self.interpreter: Interpreter | None = None
        self.input_name: str | None = None

    def load(
        self,
        path: str,
        threads: int,
        xnnpack: bool,
        cores: list[int] | None,
        seed: int,
        input_name: str | None = None,
    ) -> Reply:
        """Load a model; ``input_name`` is what its input must be called, for files whose header gets replaced."""
        self.unload()
        if cores is not None:
            os.sched_setaffinity(0, cores)
        peak_is_fresh = _forget_peak_memory()
        start = time.perf_counter_ns()
        interpreter = Interpreter(
            model_path=path,
            num_threads=threads,
            experimental_op_resolver_type=(
                OpResolverType.BUILTIN if xnnpack else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        )
        interpreter.allocate_tensors()
        initialization_ms = (time.perf_counter_ns() - start) / 1e6
        _fill_inputs(interpreter, seed)
        self.interpreter, self.input_name = interpreter, input_name
        self.check_input_name()
        return {"initialization_ms": initialization_ms, "peak_is_fresh": peak_is_fresh}

    def run(self, n: int, runs_per_sample: int = 1) -> Reply:
        if self.interpreter is None:
            raise AssertionError("the client runs before it loads")
        samples_ns = _time_samples(self.interpreter, n, runs_per_sample)
        self.check_input_name()
        return {"samples_ns": samples_ns, "peak_memory_bytes": _peak_memory_bytes()}

    def check_input_name(self) -> None:
        """Names are read from the mapped file, so a header that was overwritten shows in them."""
        if self.interpreter is None or self.input_name is None:
            return
        found = self.interpreter.get_input_details()[0]["name"]
        if found != self.input_name:
            raise _MismatchError(f"the loaded model calls its input {found!r}, not {self.input_name!r}")

    def unload(self, path: str | None = None) -> Reply:
        """Let go of the model; the reply says whether ``path`` is still mapped."""
        if self.interpreter is not None:
            self.interpreter = None
            gc.collect()
        return {"still_mapped": path is not None and _is_mapped(path)}


def _is_mapped(path: str) -> bool:
    with open("/proc/self/maps") as file:
        return any(line.rstrip("\n").endswith(path) for line in file)


def _time_samples(interpreter: Interpreter, n: int, runs_per_sample: int) -> list[int]:
    """Nanoseconds of each sample: one run, or several back to back where one is too short to be timed well."""
    invoke, clock = interpreter.invoke, time.perf_counter_ns
    samples_ns = [0] * n
    further = range(runs_per_sample - 1)
    gc.disable()
    try:
        for sample in range(n):
            start = clock()
            invoke()
            for _ in further:
                invoke()
            samples_ns[sample] = clock() - start
    finally:
        gc.enable()
    return samples_ns


def _fill_inputs(interpreter: Interpreter, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], random_input(generator, tuple(detail["shape"]), detail["dtype"]))


def random_input(generator: np.random.Generator, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Ordinary values of a type: the numbers that an image or an embedding index would hold.

    Small integers fill their range, as quantized images do. Wide ones are 0 or 1, since they are mostly indices and
    larger ones may point outside of a table.

    >>> random_input(np.random.default_rng(0), (2,), np.int64).max() <= 1
    np.True_
    """
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return generator.uniform(-1.0, 1.0, shape).astype(kind)
    if kind.kind == "c":
        return (generator.uniform(-1.0, 1.0, shape) + 1j * generator.uniform(-1.0, 1.0, shape)).astype(kind)
    if kind.kind == "b":
        return generator.integers(0, 2, shape).astype(kind)
    if kind.kind in "iu" and kind.itemsize <= 2:
        limits = np.iinfo(kind)
        return generator.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)
    if kind.kind in "iu":
        return generator.integers(0, 2, shape, dtype=kind)
    raise ValueError(f"no random values for an input of type {kind}; only numbers and truth values can be measured")


def _forget_peak_memory() -> bool:
    """Start the peak anew for the next model; False where the kernel does not let us."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _peak_memory_bytes() -> int | None:
    try:
        with open("/proc/self/status") as file:
            found = re.search(r"VmHWM:\s+(\d+) kB", file.read())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


if __name__ == "__main__":
    main()
