"""A benchmark_model of our own: runs the pushed network in LiteRT and prints in the form of TensorFlow's program.

It cannot execute the pushed Android program, and says so in its first line.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

FLAGS = {
    "graph": ("string", "", "graph file name"),
    "num_runs": ("int32", "50", "expected number of runs"),
    "min_secs": ("float", "1", "minimum number of seconds to rerun for"),
    "max_secs": ("float", "150", "maximum number of seconds to rerun for"),
    "warmup_runs": ("int32", "1", "minimum number of runs performed on initialization"),
    "warmup_min_secs": ("float", "0.5", "minimum number of seconds to rerun for, before timing"),
    "num_threads": ("int32", "-1", "number of threads used for inference on CPU"),
    "use_gpu": ("bool", "false", "use gpu"),
    "gpu_backend": ("string", "", "force the GPU delegate to use a backend: cl or gl"),
    "gpu_precision_loss_allowed": ("bool", "true", "allow to process computation in lower precision"),
    "use_nnapi": ("bool", "false", "use nnapi delegate api"),
    "nnapi_accelerator_name": ("string", "", "the name of the nnapi accelerator to use"),
    "nnapi_allow_fp16": ("bool", "false", "allow fp32 computation to be run in fp16"),
    "use_xnnpack": ("bool", "true", "explicitly apply the XNNPACK delegate"),
    "require_full_delegation": ("bool", "false", "require delegate to run the entire graph"),
    "report_peak_memory_footprint": ("bool", "false", "report the peak memory footprint"),
    "enable_op_profiling": ("bool", "false", "enable op profiling"),
    "op_profiling_output_mode": ("string", "stdout", "how op profiling results are emitted"),
    "op_profiling_output_file": ("string", "", "output file of op profiling"),
}
FAULT_PAUSE_S = 0.15
_SEED = 0


class RefusedError(Exception):
    """The program ends with a failure."""


def run_program(words: Sequence[str], mask: str, root: Path, fault: str) -> int:
    """What the program does, from its arguments to its exit status."""
    say = _Sayer(fault)
    if "--help" in words:
        _print_help()
        return 0
    given = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    unknown = sorted(set(given) - set(FLAGS))
    if unknown:
        say(f"Unconsumed cmdline flags: {' '.join('--' + name for name in unknown)}")
        return 1
    flags = {name: given.get(name, default) for name, (_, default, _) in FLAGS.items()}
    settings = json.loads((root / "state" / "settings.json").read_text())
    say("STARTING! (loopback phone: LiteRT of this host runs the network, not the pushed program)")
    say(f"Graph: [{flags['graph']}]")
    log = _Log(root, flags, mask)
    try:
        return _run(flags, settings, fault, say, log)
    except RefusedError as error:
        say(f"ERROR: {error}")
        say("Benchmarking failed.")
        log("refused", reason=str(error))
        return 1


def _run(flags: dict[str, str], settings: dict[str, Any], fault: str, say: _Sayer, log: _Log) -> int:
    began = time.perf_counter()
    log("start", runs=int(flags["num_runs"]))
    interpreter = _load(flags["graph"], int(flags["num_threads"]))
    _delegate(interpreter, flags, settings, fault, say)
    init_us = (time.perf_counter() - began) * 1e6
    say(f"Initialized session in {init_us / 1e3:.3f}ms.")
    _strike(fault, say)
    run_us = _runner(interpreter, settings)
    warmup_us = [run_us() for _ in range(int(flags["warmup_runs"]))]
    first_us = warmup_us[0] if warmup_us else 0.0
    if warmup_us:
        say(f"Running benchmark for at least {flags['warmup_runs']} iterations and at least 0 seconds")
        say(_statistics(warmup_us))
    say(f"Running benchmark for at least {flags['num_runs']} iterations and at least {flags['min_secs']} seconds")
    times_us: list[float] = []
    until = time.perf_counter() + float(flags["max_secs"])
    while len(times_us) < int(flags["num_runs"]) and time.perf_counter() < until:
        times_us.append(run_us())
    say(_statistics(times_us))
    mean_us = f"{np.mean(times_us):.6g}"
    warm = f"{np.mean(warmup_us):.6g}" if warmup_us else "0"
    say(
        f"Inference timings in us: Init: {init_us:.0f}, First inference: {first_us:.0f}, "
        f"Warmup (avg): {warm}, Inference (avg): {mean_us}"
    )
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say("Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE")
    say(f"Memory footprint delta from the start of the tool (MB): init=1.5 overall={peak_mb / 10:.6g}")
    if flags["report_peak_memory_footprint"] == "true":
        say(f"Overall peak memory footprint (MB) via periodic monitoring: {peak_mb:.6g}")
    if flags["enable_op_profiling"] == "true":
        _profile(interpreter, flags, float(np.mean(times_us)))
    log("end", runs=len(times_us), busy_s=time.perf_counter() - began, timed_s=sum(times_us) / 1e6)
    return 0


def _load(path: str, threads: int) -> Any:
    if not Path(path).is_file():
        raise RefusedError(f"Could not open '{path}'.")
    try:
        interpreter = Interpreter(
            model_path=path,
            num_threads=max(1, threads),
            experimental_op_resolver_type=OpResolverType.BUILTIN,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise RefusedError(f"Failed to load the model: {' '.join(str(error).split())}") from error
    generator = np.random.default_rng(_SEED)
    for detail in interpreter.get_input_details():
        dtype = np.dtype(detail["dtype"])
        values = generator.random(detail["shape"]) if dtype.kind == "f" else generator.integers(0, 2, detail["shape"])
        interpreter.set_tensor(detail["index"], values.astype(dtype))
    return interpreter


def _delegate(interpreter: Any, flags: dict[str, str], settings: dict[str, Any], fault: str, say: _Sayer) -> None:
    gpu, nnapi = flags["use_gpu"] == "true", flags["use_nnapi"] == "true"
    if not gpu and not nnapi:
        say("Created TensorFlow Lite XNNPACK delegate for CPU.")
        return
    name, delegate = ("GPU", "TfLiteGpuDelegateV2") if gpu else ("NNAPI", "TfLiteNnapiDelegate")
    if fault == "silent_fallback":
        say("Created TensorFlow Lite XNNPACK delegate for CPU.")
        say(f"WARNING: {name} acceleration is unsupported on this platform.")
        return
    operators = [detail["op_name"] for detail in interpreter._get_ops_details() if detail["op_name"] != "DELEGATE"]
    refused = [op for op in operators if op in settings["gpu_refuses"] or fault == "refuses_delegation"]
    taken = len(operators) - len(refused)
    if refused:
        say(f"Following operations are not supported by {name} delegate:")
        for op in sorted(set(refused)):
            say(f"{op}: refused by the settings of this loopback phone")
        say(f"{taken} operations will run on the {name}, and the remaining {len(refused)} operations on the CPU.")
    partitions = 1 if not refused else 2
    say(
        f"Replacing {taken} out of {len(operators)} node(s) with delegate ({delegate}) node, "
        f"yielding {partitions} partitions for the whole graph."
    )
    if gpu and not refused:
        backend = {"gl": "OpenGL-based", "cl": "OpenCL-based"}[flags["gpu_backend"] or "cl"]
        say(f"Initialized {backend} API.")
    if not refused:
        say(f"Explicitly applied {name} delegate, and the model graph will be completely executed by the delegate.")
    elif flags["require_full_delegation"] == "true":
        raise RefusedError("Disallowed CPU fallback detected.")
    else:
        say(
            f"Explicitly applied {name} delegate, and the model graph will be partially executed by the delegate "
            "w/ 1 delegate kernels."
        )


def _strike(fault: str, say: _Sayer) -> None:
    if fault == "oom_kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault in ("hang", "vanish_in_measure", "reboot_in_measure"):
        time.sleep(3600 if fault == "hang" else FAULT_PAUSE_S * 4)
    if fault == "output_cut":
        say.silent = True


def _runner(interpreter: Any, settings: dict[str, Any]) -> Any:
    fixed_ms = settings["fixed_run_ms"]
    if fixed_ms is not None and settings["longer_by"]:
        # Not by the file's bytes: behind a header that was written over a longer one, the rest of that is left.
        made_of = [(op["op_name"], list(op["inputs"]), list(op["outputs"])) for op in interpreter._get_ops_details()]
        shapes = [detail["shape"].tolist() for detail in interpreter.get_tensor_details()]
        share = hashlib.sha256(repr((made_of, shapes)).encode()).digest()[0] / 255
        fixed_ms *= 1 + share * settings["longer_by"]

    def run() -> float:
        start = time.perf_counter()
        if fixed_ms is None:
            interpreter.invoke()
        else:
            time.sleep(fixed_ms / 1e3)
        return float(round((time.perf_counter() - start) * 1e6))

    return run


def _statistics(times_us: Sequence[float]) -> str:
    times = np.asarray(times_us)
    if len(times) == 1:
        return f"count=1 curr={times[0]:.0f}"
    p5, median, p95 = (f"{value:.0f}" for value in np.percentile(times, (5, 50, 95)))
    return (
        f"count={len(times)} first={times[0]:.0f} curr={times[-1]:.0f} min={times.min():.0f} max={times.max():.0f} "
        f"avg={times.mean():.6g} std={int(times.std())} p5={p5} median={median} p95={p95}"
    )


def _profile(interpreter: Any, flags: dict[str, str], mean_us: float) -> None:
    operators = interpreter._get_ops_details()
    share_ms = mean_us / 1e3 / max(1, len(operators))
    lines = ["node type, start, first, avg_ms, %, cdf%, mem KB, times called, name"]
    lines += [
        f"{op['op_name']}, 0.000, {share_ms:.3f}, {share_ms:.3f}, {100 / len(operators):.3f}%, "
        f"{100 * (place + 1) / len(operators):.3f}%, 0.000, 1, [operator {place}]:{place}"
        for place, op in enumerate(operators)
    ]
    text = "\n".join(["============================== Run Order ==============================", *lines, ""])
    if flags["op_profiling_output_file"]:
        Path(flags["op_profiling_output_file"]).write_text(text)
    else:
        print(text)


def _print_help() -> None:
    print("usage: benchmark_model (loopback phone)\nFlags:")
    for name, (kind, default, meaning) in FLAGS.items():
        print(f"\t--{name}={default}\t{kind}\toptional\t{meaning}")
    sys.stdout.flush()


class _Sayer:
    def __init__(self, fault: str) -> None:
        self.silent = False
        self.fault = fault

    def __call__(self, line: str) -> None:
        if not self.silent:
            print(line if line.startswith(("count=", "ERROR", "WARNING")) else f"INFO: {line}", flush=True)


class _Log:
    def __init__(self, root: Path, flags: dict[str, str], mask: str) -> None:
        self._path = root / "log.jsonl"
        graph = Path(flags["graph"])
        self._common = {
            "pid": os.getpid(),
            "model_sha256": hashlib.sha256(graph.read_bytes()).hexdigest() if graph.is_file() else None,
            "mask": mask,
        }

    def __call__(self, event: str, **values: Any) -> None:
        line = json.dumps({"at": time.time(), "event": event, **self._common, **values}) + "\n"
        with self._path.open("a") as file:
            file.write(line)
