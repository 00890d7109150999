"""benchmark_model's command line: which flags a build knows, and how it is told what to run.

There are two programs of that name: TensorFlow's (``tensorflow`` here), and LiteRT's newer one (``litert``), which
takes other flags for GPU and NPU. Builds of either differ in what they know, so the program is asked first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from leti_opt.device.android.benchmark_output import Delegation, Start, read_start
from leti_opt.errors import DeviceError, InvalidInputError, did_you_mean

__all__ = [
    "Binary",
    "Delegation",
    "Dialect",
    "RunOptions",
    "Start",
    "Unit",
    "check_options",
    "command",
    "read_start",
]

Unit = Literal["cpu", "gpu", "npu"]
Dialect = Literal["tensorflow", "litert"]

_FLAG = re.compile(r"^\s*--([a-z][a-z0-9_]*)(?:=|\s|$)", re.MULTILINE)
_NEEDED = ("graph", "num_runs", "warmup_runs")


@dataclass(frozen=True)
class RunOptions:
    """What a network is run on.

    Args:
        unit: ``cpu``, ``gpu`` or ``npu``.
        threads: of the CPU.
        backend: of the GPU, ``cl`` or ``gl``: always named there, since a build may fall back from one to the other.
        precision_loss: whether GPU or NPU may calculate in half precision.
        accelerator: NNAPI's name of one; empty for the one that Android chooses.
    """

    unit: Unit = "cpu"
    threads: int = 1
    backend: str = ""
    precision_loss: bool = False
    accelerator: str = ""


@dataclass(frozen=True)
class Binary:
    """What a build of benchmark_model knows.

    Args:
        dialect: whose program it is.
        flags: names of its flags.
    """

    dialect: Dialect
    flags: frozenset[str]

    @classmethod
    def from_help(cls, text: str) -> Binary:
        r"""Read what ``--help`` prints.

        Raises:
            InvalidInputError: it is not the help of a benchmark_model.

        >>> Binary.from_help("Flags:\n\t--graph=\tstring\n\t--num_runs=50\tint32\n\t--warmup_runs=1\tint32\n").dialect
        'tensorflow'
        """
        flags = frozenset(_FLAG.findall(text.replace("\r", "")))
        missing = [name for name in _NEEDED if name not in flags]
        if missing:
            said = " ".join(text.split())[:200] or "nothing"
            raise InvalidInputError(f"it is no benchmark_model: its help lacks --{missing[0]}; it says: {said}")
        return cls("litert" if "use_npu" in flags else "tensorflow", flags)


def check_options(binary: Binary, options: RunOptions) -> None:
    """Refuse options that a build does not know, before anything is measured.

    Raises:
        DeviceError: the message names the flag.
    """
    for flag in (*_unit_flags(binary, options), *(("num_threads",) if options.threads != 1 else ())):
        if flag not in binary.flags:
            raise DeviceError(
                f"this benchmark_model does not know --{flag}, which {options.unit} needs; "
                f"{did_you_mean(flag, sorted(binary.flags))}; take a newer build"
            )


def command(
    binary: Binary,
    path: str,
    model: str,
    runs: int,
    warmup_runs: int,
    options: RunOptions,
    profile_file: str | None = None,
    max_s: float = 3600,
) -> list[str]:
    """The words of one start.

    The program's own limits of time are lifted, so that it makes exactly the runs that it is asked for. A network that
    GPU or NPU do not take whole is refused: otherwise it would silently run on the CPU.

    Args:
        binary: what the build knows.
        path, model: of program and network on the phone.
        runs, warmup_runs: how many.
        options: where.
        profile_file: times of single operators, too, to this file on the phone; empty for the program's output.
        max_s: the program's own limit.

    >>> known = Binary("tensorflow", frozenset({"graph", "num_runs", "warmup_runs", "min_secs", "max_secs"}))
    >>> command(known, "/b", "/m.tflite", 300, 10, RunOptions())
    ['/b', '--graph=/m.tflite', '--num_runs=300', '--warmup_runs=10', '--min_secs=0', '--max_secs=3600']
    """
    flags: dict[str, str] = {"graph": model, "num_runs": str(runs), "warmup_runs": str(warmup_runs)}
    wished = {
        "min_secs": "0",
        "max_secs": f"{max_s:g}",
        "warmup_min_secs": "0",
        "num_threads": str(options.threads),
        "report_peak_memory_footprint": "true",
    }
    if profile_file is not None:
        wished |= {"enable_op_profiling": "true", "use_profiler": "true"}
        if profile_file:
            wished |= {"op_profiling_output_mode": "csv", "op_profiling_output_file": profile_file}
    flags |= {name: value for name, value in wished.items() if name in binary.flags}
    flags |= _unit_flags(binary, options)
    return [path, *(f"--{name}={value}" for name, value in flags.items())]


def _unit_flags(binary: Binary, options: RunOptions) -> dict[str, str]:
    """Flags that say where to run; a build has to know all of them."""
    # LiteRT's program uses the CPU, too, unless told otherwise, and aborts if the delegate is to run everything.
    cpu = {"use_cpu": "true" if options.unit == "cpu" else "false"} if "use_cpu" in binary.flags else {}
    if options.unit == "cpu":
        return cpu
    loss = "true" if options.precision_loss else "false"
    if options.unit == "gpu":
        precision = "allow_fp16" if _names_precision_otherwise(binary) else "gpu_precision_loss_allowed"
        flags = {**cpu, "use_gpu": "true", precision: loss, "gpu_backend": options.backend}
        return {**flags, "require_full_delegation": "true"}
    if binary.dialect == "litert":
        return {**cpu, "use_npu": "true", "require_full_delegation": "true"}
    flags = {"use_nnapi": "true", "nnapi_allow_fp16": loss, "require_full_delegation": "true"}
    if options.accelerator:
        flags["nnapi_accelerator_name"] = options.accelerator
    return flags


def _names_precision_otherwise(binary: Binary) -> bool:
    return binary.dialect == "litert" and "gpu_precision_loss_allowed" not in binary.flags
