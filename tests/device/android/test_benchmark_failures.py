"""Whose fault it is that a start of benchmark_model gave nothing: the network's, the start's, or the phone's."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.android.benchmark_failures import Delegation, check_delegation, check_failure
from leti_opt.device.android.benchmark_model import RunOptions
from leti_opt.errors import AttemptError, DeviceError, InfeasibleError, LetiError
from tests.device.android.written_outputs import CPU, FAILURES, FIGURES, GL, GPU, NPU, Output

NAMED = {output.name: output for output in (*FIGURES, *FAILURES)}
FAILED = "ERROR: Benchmarking failed.\n"


def replacing(taken: int, of: int, delegate: str = "TfLiteGpuDelegateV2", subgraph: int = 0) -> str:
    return (
        f"VERBOSE: Replacing {taken} out of {of} node(s) with delegate ({delegate}) node, yielding 1 partitions "
        f"for subgraph {subgraph}.\n"
    )


@pytest.mark.parametrize("output", FAILURES, ids=lambda output: output.name)
def test_a_failure_is_blamed_on_one(output: Output) -> None:
    with pytest.raises(output.error, match=output.match) as raised:
        output.read()
    assert type(raised.value) is output.error
    assert "\n" not in str(raised.value)


def test_each_of_the_three_is_blamed_in_the_table() -> None:
    assert {output.error for output in FAILURES} == {InfeasibleError, AttemptError, DeviceError}


@pytest.mark.parametrize("output", FIGURES, ids=lambda output: output.name)
def test_a_start_that_did_not_fail_is_blamed_on_nobody(output: Output) -> None:
    check_failure(output.text.replace("\r\n", "\n"), 0, output.options)


@given(
    output=st.sampled_from([output for output in FIGURES if output.options == CPU]),
    signal=st.sampled_from([134, 137, 139]),
)
def test_whoever_is_ended_by_a_signal_may_succeed_the_next_time(output: Output, signal: int) -> None:
    with pytest.raises(AttemptError, match=f"ended with status {signal}"):
        replace(output, exit_code=signal).read()


@pytest.mark.parametrize("exit_code", [1, 2, 126, 127, 255])
@pytest.mark.parametrize("text", ["", "STARTING!\n", NAMED["cpu_new"].text])
def test_a_failure_without_a_reason_is_the_starts(exit_code: int, text: str) -> None:
    with pytest.raises(AttemptError, match=f"ended with status {exit_code}"):
        check_failure(text, exit_code, CPU)


def test_a_program_that_says_nothing_gave_no_figures() -> None:
    with pytest.raises(AttemptError, match="no figures: it is empty"):
        replace(NAMED["cpu_new"], exit_code=0).read("")


def test_failing_is_believed_whatever_the_exit_status() -> None:
    with pytest.raises(AttemptError, match="ended with status 0"):
        NAMED["cpu_new"].read(NAMED["cpu_new"].text + FAILED)


@pytest.mark.parametrize(
    "line",
    [
        "ERROR: Can not open OpenCL library on this device - undefined symbol",
        "INFO: Though GPU delegate is explicitly applied, the model graph will not be executed by the delegate.",
        "WARN: GPU acceleration is unsupported on this platform.",
        "INFO: Going to apply 0 delegates one after another.",
    ],
)
def test_what_is_said_of_delegates_is_nothing_to_the_cpu(line: str) -> None:
    output = NAMED["cpu_new"]
    assert output.read(f"{line}\n{output.text}") == output.start


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("ERROR: clCreateBuffer - Out of resources", InfeasibleError),
        ("ERROR: clCreateImage: CL_MEM_OBJECT_ALLOCATION_FAILURE", InfeasibleError),
        ("ERROR: Failed to build program executable - Out of host memory", InfeasibleError),
        ("ERROR: NN API returned error ANEURALNETWORKS_OUT_OF_MEMORY at line 1", InfeasibleError),
        ("ERROR: NN API returned error ANEURALNETWORKS_RESOURCE_EXHAUSTED_TRANSIENT at line 1", AttemptError),
        ("ERROR: NN API returned error ANEURALNETWORKS_MISSED_DEADLINE_TRANSIENT at line 1", AttemptError),
        ("ERROR: Didn't find op for builtin opcode 'CONV_2D' version '9'.", InfeasibleError),
        ("ERROR: Op builtin_code out of range: 200. Are you using old TFLite binary?", InfeasibleError),
        ("ERROR: Failed to initialize the interpreter", InfeasibleError),
        ("ERROR: Failed to load model /m.tflite", InfeasibleError),
        ("ERROR: Could not find the specified NNAPI accelerator: npu. Must be one of: {}.", DeviceError),
        ("WARN: NNAPI acceleration is unsupported on this platform.", DeviceError),
        ("taskset: inaccessible or not found", DeviceError),
        ("/data/local/tmp/benchmark_model: Permission denied", DeviceError),
    ],
)
@pytest.mark.parametrize("end", ["", "ERROR: Failed to apply NNAPI delegate.\n"])
def test_the_reason_tells_whose_fault_it_is(message: str, error: type[LetiError], end: str) -> None:
    with pytest.raises(error) as raised:
        check_failure(f"STARTING!\n{message}\n{end}{FAILED}", 1, NPU)
    assert type(raised.value) is error
    assert message in str(raised.value)


def test_refused_operators_are_named() -> None:
    with pytest.raises(InfeasibleError) as raised:
        NAMED["gpu_partial"].read()
    assert raised.value.reason == (
        "not fully delegated to the gpu: CAST: Not supported Cast case. Input type: FLOAT32 and output type: INT64; "
        "GATHER: Operation is not supported."
    )


@pytest.mark.parametrize("asked", [GPU, GL])
def test_a_fall_back_is_the_phones_fault_whatever_the_other_backend_makes_of_the_network(asked: RunOptions) -> None:
    ran = {"cl": "GL", "gl": "CL"}[asked.backend]
    text = (
        f"INFO: Initialized Open{ran}-based API.\n{replacing(29, 31)}ERROR: Disallowed CPU fallback detected.\n{FAILED}"
    )
    with pytest.raises(DeviceError, match=f"not {asked.backend} as asked.*delegate={ran.lower()}"):
        check_failure(text, 1, asked)


def test_an_announced_fall_back_is_enough() -> None:
    with pytest.raises(DeviceError, match="ran through gl, not cl"):
        check_failure("ERROR: Falling back to OpenGL\n", 0, GPU)


def test_without_opencl_a_network_on_opengl_is_not_affected() -> None:
    text = "ERROR: Can not open OpenCL library on this device\nERROR: Failed to apply GPU delegate.\n" + FAILED
    with pytest.raises(DeviceError, match=r"no gpu: .*OpenCL"):
        check_failure(text, 1, GPU)
    with pytest.raises(InfeasibleError, match="refused by the runtime"):
        check_failure(text, 1, GL)


@pytest.mark.parametrize("unit", ["gpu", "npu"])
def test_an_accelerator_that_cannot_be_loaded_concerns_its_own_unit(unit: str) -> None:
    options = {"gpu": GPU, "npu": NPU}[unit]
    for missing in ("GPU", "NPU"):
        text = f"WARNING: [a.cc:1] {missing} accelerator could not be loaded and registered.\n"
        if missing.lower() == unit:
            with pytest.raises(DeviceError, match=f"no {unit}: .*{missing} accelerator"):
                check_failure(text, 0, options)
        else:
            check_failure(text, 0, options)


def test_a_part_that_one_subgraph_left_to_the_cpu_is_the_networks_fault() -> None:
    assert check_delegation(replacing(31, 31) + replacing(7, 7, subgraph=1), GPU) == Delegation(
        "TfLiteGpuDelegateV2", full=True, nodes=7, delegated=7, partitions=1
    )
    with pytest.raises(InfeasibleError, match="not fully delegated to the gpu: 30 of 31 operators"):
        check_delegation(replacing(30, 31) + replacing(7, 7, subgraph=1), GPU)


@pytest.mark.parametrize(
    "text",
    [
        "",
        replacing(31, 31, "TfLiteXNNPackDelegate"),
        "Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate.\n",
    ],
)
@pytest.mark.parametrize("options", [GPU, NPU])
def test_a_delegate_that_does_not_say_that_it_ran_may_be_the_cpu(text: str, options: RunOptions) -> None:
    with pytest.raises(DeviceError, match=f"nothing says that the {options.unit} ran the network"):
        check_delegation(text, options)


def test_the_cpu_has_no_delegation() -> None:
    assert check_delegation(replacing(31, 31, "TfLiteXNNPackDelegate"), CPU) is None
