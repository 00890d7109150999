"""Why a start of benchmark_model gave nothing: the network's fault, the start's, or the phone's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.errors import AttemptError, DeviceError, InfeasibleError

if TYPE_CHECKING:
    from leti_opt.device.android.benchmark_model import RunOptions

_BY_SIGNAL = 128
_KILLED = 137
_SIGNALS = {
    134: "aborted",
    135: "bus error",
    136: "arithmetic error",
    139: "segmentation fault",
    159: "bad system call",
}

_NO_PROGRAM = re.compile(
    r"not executable:|CANNOT LINK EXECUTABLE|only position independent executables|"
    r"(?:benchmark_model|taskset|timeout): (?:inaccessible or not found|not found|Permission denied|"
    r"No such file or directory|can't execute|Exec format error)|"
    r"Unconsumed cmdline flags: "
)
_NO_DELEGATE = re.compile(
    r"acceleration is unsupported on this platform|Failed to load OpenCL library|"
    r"Going to apply 0 delegates|"
    r"NNAPI (?:accelerator|delegate).*(?:not (?:found|available|supported)|unsupported)|"
    r"Could not find the specified NNAPI accelerator"
)
_NO_OPENCL = re.compile(r"Can not open OpenCL library")
_NO_FILE = re.compile(r"Could not open '|No such file or directory: ?|Failed to initialize model loader with path")
_PASSING = re.compile(r"ANEURALNETWORKS_(?:DEAD_OBJECT|\w+_TRANSIENT)")
_NO_MEMORY = re.compile(
    r"Failed to allocate device memory|std::bad_alloc|OUT_OF_(?:HOST_)?(?:MEMORY|RESOURCES)|"
    r"MEM_OBJECT_ALLOCATION_FAILURE|Memory object allocation failure|Out of (?:host )?memory|Out of resources",
    re.IGNORECASE,
)
_FAILED_RUN = re.compile(r"failed to invoke|\bRun failed\b")
_NO_OPERATOR = re.compile(
    r"Encountered (?:an )?unresolved custom op|Didn't find op for builtin opcode|"
    r"Failed to (?:load|build|compile) (?:the )?model|Failed to (?:initialize|construct) the? ?interpreter|"
    r"Failed to apply .*delegate|failed to prepare|failed to invoke|Run failed|Op builtin_code out of range|"
    r"Failed to allocate tensors",
    re.IGNORECASE,
)
_Reason = tuple[re.Pattern[str], type[AttemptError | InfeasibleError], str]
_FIRST_REASONS: tuple[_Reason, ...] = (
    (_NO_FILE, AttemptError, "benchmark_model cannot open the network"),
    (_PASSING, AttemptError, "benchmark_model lost its driver"),
    (_NO_MEMORY, InfeasibleError, "out of memory"),
)
_LAST_REASONS: tuple[_Reason, ...] = ((_NO_OPERATOR, InfeasibleError, "refused by the runtime"),)
_REFUSED_OPERATORS = re.compile(
    r"Following operations are not supported by \S+ delegate:\n((?:(?!.*operations will run).+\n?)*)", re.MULTILINE
)
# What is said of XNNPACK, the CPU's own delegate, says nothing of GPU or NPU.
_PARTLY = re.compile(
    r"^(?!.*XNNPACK).*(?:Disallowed CPU fallback detected|will be partially executed by the delegate|"
    r"will not be executed by the delegate|is not (?:fully|completely) (?:delegated|accelerated)|"
    r"Some ops are not accelerated|Created 0 GPU delegate kernels)"
)
_LOG_PREFIX = re.compile(r"^\s*(?:INFO|WARNING|ERROR): ")
_WHOLE = re.compile(
    r"^(?!.*XNNPACK).*(?:model graph will be completely executed by the delegate|is fully accelerated)", re.MULTILINE
)
_REPLACING = re.compile(
    r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions"
)
_BACKEND = re.compile(r"(?:(?:Initialized|Falling back to|Using) Open|with delegate \(LITERT_)(CL|GL)\b")
_FAILED = "Benchmarking failed."
_XNNPACK = "TfLiteXNNPackDelegate"


@dataclass(frozen=True)
class Delegation:
    """What GPU or NPU took of a network, as the program said it.

    Args:
        delegate: TFLite's name of the delegate.
        full: whether it took all of it.
        nodes, delegated, partitions: None where the program did not say.
        backend: ``cl`` or ``gl``, which really ran; empty where it did not say.
    """

    delegate: str
    full: bool
    nodes: int | None = None
    delegated: int | None = None
    partitions: int | None = None
    backend: str = ""


def check_failure(text: str, exit_code: int, options: RunOptions) -> None:
    """Raise what a failed start means; nothing happens if it did not fail.

    Raises:
        InfeasibleError, AttemptError, DeviceError: the network's fault, the start's, or the phone's.
    """
    fault = _line(_NO_PROGRAM, text)
    if fault:
        raise DeviceError(f"benchmark_model cannot run as asked: {fault}")
    if exit_code > _BY_SIGNAL:
        how = "killed, as Android does when memory runs out" if exit_code == _KILLED else _SIGNALS.get(exit_code, "")
        raise AttemptError(f"benchmark_model ended with status {exit_code} ({how or 'by a signal'}): {end_of(text)}")
    failed = exit_code != 0 or _FAILED in text or bool(_FAILED_RUN.search(text))
    if options.unit != "cpu":
        _check_backend(text, options)
        _check_unit(text, options, failed)
    if failed:
        _raise_first(text, _FIRST_REASONS)
    if options.unit != "cpu":
        _check_refusal(text, options)
    if failed:
        _raise_first(text, _LAST_REASONS)
        raise AttemptError(f"benchmark_model ended with status {exit_code}: {end_of(text)}")


def check_delegation(text: str, options: RunOptions) -> Delegation | None:
    """What the delegate said, of a start that did not fail; None on a CPU.

    Raises:
        InfeasibleError: the delegate left a part of the network to the CPU.
        DeviceError: nothing says that a delegate ran.
    """
    if options.unit == "cpu":
        return None
    replacing = [match for match in _REPLACING.finditer(text) if match[3] != _XNNPACK]
    for match in replacing:
        if match[1] != match[2]:
            raise InfeasibleError(f"not fully delegated to the {options.unit}: {match[1]} of {match[2]} operators")
    taken = replacing[-1] if replacing else None
    if taken is None and not _WHOLE.search(text):
        raise DeviceError(
            f"nothing says that the {options.unit} ran the network, so its figures may be the CPU's: {end_of(text)}; "
            "use a benchmark_model with that delegate (?binary=)"
        )
    return Delegation(
        delegate=taken[3] if taken else options.unit,
        full=True,
        nodes=int(taken[2]) if taken else None,
        delegated=int(taken[1]) if taken else None,
        partitions=int(taken[4]) if taken else None,
        backend=next(iter(_backends(text)), ""),
    )


def _raise_first(text: str, reasons: tuple[_Reason, ...]) -> None:
    for pattern, error, meaning in reasons:
        found = _line(pattern, text)
        if found:
            raise error(f"{meaning}: {found}")


def _backends(text: str) -> set[str]:
    return {match[1].lower() for match in _BACKEND.finditer(text)}


def _check_backend(text: str, options: RunOptions) -> None:
    """A phone that fell back from OpenCL to OpenGL is at fault, whatever the other backend makes of the network."""
    others = sorted(_backends(text) - {options.backend})
    if others and options.backend:
        raise DeviceError(
            f"the GPU ran through {'/'.join(others)}, not {options.backend} as asked: the phone fell back; "
            f"write ?delegate={others[0]}"
        )


def _check_unit(text: str, options: RunOptions, failed: bool) -> None:
    unloaded = re.compile(rf"{options.unit.upper()} accelerator could not be loaded")
    missing = _line(_NO_DELEGATE, text) or _line(unloaded, text)
    if not missing and failed and options.backend == "cl":
        missing = _line(_NO_OPENCL, text)
    if missing:
        raise DeviceError(f"this phone or program has no {options.unit}: {missing}")


def _check_refusal(text: str, options: RunOptions) -> None:
    partly = _line(_PARTLY, text)
    if not partly:
        return
    named = _REFUSED_OPERATORS.search(text)
    lines = [_LOG_PREFIX.sub("", line).strip() for line in named[1].splitlines()] if named else []
    operators = "; ".join(filter(None, lines))
    raise InfeasibleError(f"not fully delegated to the {options.unit}: {operators or partly}")


def _line(pattern: re.Pattern[str], text: str) -> str:
    """The first whole line in which a pattern is found."""
    for line in text.splitlines():
        if pattern.search(line):
            return " ".join(line.split())[:300]
    return ""


def end_of(text: str, of_none: str = "it said nothing") -> str:
    """The end of an output, on one line; ``of_none`` where it is empty."""
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())[-300:] or of_none
