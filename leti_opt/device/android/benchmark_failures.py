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
    r"not executable:.*|CANNOT LINK EXECUTABLE.*|.*benchmark_model: (?:inaccessible or not found|Permission denied|"
    r"No such file or directory|can't execute.*|Exec format error)|"
    r"Unconsumed cmdline flags: .*"
)
_NO_DELEGATE = re.compile(
    r".*(?:acceleration is unsupported on this platform|Failed to load OpenCL library|"
    r"NNAPI (?:accelerator|delegate).*(?:not (?:found|available|supported)|unsupported)|"
    r"Could not find the specified NNAPI accelerator).*"
)
_NO_FILE = re.compile(
    r".*(?:Could not open '|No such file or directory: ?|Failed to initialize model loader with path).*"
)
_NO_MEMORY = re.compile(
    r".*(?:Failed to allocate (?:tensors|device memory)|std::bad_alloc|OUT_OF_(?:HOST_)?(?:MEMORY|RESOURCES)|"
    r"CL_(?:MEM_OBJECT_ALLOCATION_FAILURE|OUT_OF_RESOURCES|OUT_OF_HOST_MEMORY)|Out of memory).*",
    re.IGNORECASE,
)
_NO_OPERATOR = re.compile(
    r".*(?:Encountered (?:an )?unresolved custom op|Didn't find op for builtin opcode|"
    r"Failed to (?:load|build) (?:the )?model|Failed to (?:initialize|construct) the? ?interpreter|"
    r"Failed to apply .*delegate|failed to prepare|failed to invoke|Op builtin_code out of range).*",
    re.IGNORECASE,
)
_REFUSED_OPERATORS = re.compile(
    r"Following operations are not supported by \S+ delegate:\n((?:(?!.*operations will run).+\n?)*)", re.MULTILINE
)
_PARTLY = re.compile(
    r".*(?:Disallowed CPU fallback detected|will be partially executed by the delegate|"
    r"will not be executed by the delegate|is not (?:fully|completely) (?:delegated|accelerated)).*"
)
_WHOLE = re.compile(r"model graph will be completely executed by the delegate|is fully accelerated")
_REPLACING = re.compile(
    r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\) node, yielding (\d+) partitions"
)
_BACKEND = re.compile(r"Initialized Open(CL|GL)-based API")
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
        raise AttemptError(f"benchmark_model ended with status {exit_code} ({how or 'by a signal'}): {_end(text)}")
    if options.unit != "cpu":
        _check_refusal(text, options)
    if exit_code == 0 and _FAILED not in text:
        return
    if _line(_NO_FILE, text):
        raise AttemptError(f"benchmark_model cannot open the network: {_line(_NO_FILE, text)}")
    for pattern, meaning in ((_NO_MEMORY, "out of memory"), (_NO_OPERATOR, "refused by the runtime")):
        reason = _line(pattern, text)
        if reason:
            raise InfeasibleError(f"{meaning}: {reason}")
    raise AttemptError(f"benchmark_model ended with status {exit_code}: {_end(text)}")


def check_delegation(text: str, options: RunOptions) -> Delegation | None:
    """What the delegate said, of a start that did not fail; None on a CPU.

    Raises:
        DeviceError: the backend that ran is not the one that was asked for, or none ran at all.
    """
    if options.unit == "cpu":
        return None
    replacing = [match for match in _REPLACING.finditer(text) if match[3] != _XNNPACK]
    backends = {match[1].lower() for match in _BACKEND.finditer(text)}
    if backends and options.backend and backends != {options.backend}:
        raise DeviceError(
            f"the GPU ran through {'/'.join(sorted(backends))}, not {options.backend} as asked: the phone fell back; "
            f"write ?delegate={sorted(backends)[0]}"
        )
    taken = replacing[-1] if replacing else None
    if not _WHOLE.search(text) and not (taken and taken[1] == taken[2]):
        raise DeviceError(
            f"nothing says that the {options.unit} ran the network, so its figures may be the CPU's: {_end(text)}; "
            "use a benchmark_model with that delegate (?binary=)"
        )
    return Delegation(
        delegate=taken[3] if taken else options.unit,
        full=True,
        nodes=int(taken[2]) if taken else None,
        delegated=int(taken[1]) if taken else None,
        partitions=int(taken[4]) if taken else None,
        backend=next(iter(backends), ""),
    )


def _check_refusal(text: str, options: RunOptions) -> None:
    missing = _line(_NO_DELEGATE, text)
    if missing:
        raise DeviceError(f"this phone or program has no {options.unit}: {missing}")
    partly = _line(_PARTLY, text)
    if not partly:
        return
    named = _REFUSED_OPERATORS.search(text)
    operators = "; ".join(line.strip() for line in named[1].splitlines() if line.strip()) if named else ""
    raise InfeasibleError(f"not fully delegated to the {options.unit}: {operators or partly}")


def _line(pattern: re.Pattern[str], text: str) -> str:
    """The first whole line in which a pattern is found."""
    for line in text.splitlines():
        if pattern.search(line):
            return " ".join(line.split())[:300]
    return ""


def _end(text: str) -> str:
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())[-300:] or "it said nothing"
