"""What a build of benchmark_model knows, and how it is told what to run."""

from __future__ import annotations

from itertools import combinations

import pytest

from leti_opt.device.android.benchmark_model import Binary, RunOptions, check_options, command
from leti_opt.errors import DeviceError, InvalidInputError
from tests.device.android.written_outputs import CPU, GL, GPU, NPU

TENSORFLOW_FLAGS = frozenset(
    [
        "graph",
        "num_runs",
        "warmup_runs",
        "min_secs",
        "max_secs",
        "warmup_min_secs",
        "num_threads",
        "report_peak_memory_footprint",
        "use_gpu",
        "gpu_backend",
        "gpu_precision_loss_allowed",
        "use_nnapi",
        "nnapi_allow_fp16",
        "nnapi_accelerator_name",
        "require_full_delegation",
        "enable_op_profiling",
        "op_profiling_output_mode",
        "op_profiling_output_file",
    ]
)
LITERT_FLAGS = frozenset(
    [
        "graph",
        "num_runs",
        "warmup_runs",
        "min_secs",
        "max_secs",
        "warmup_min_secs",
        "num_threads",
        "report_peak_memory_footprint",
        "use_cpu",
        "use_gpu",
        "use_npu",
        "gpu_backend",
        "allow_fp16",
        "require_full_delegation",
        "use_profiler",
    ]
)
TENSORFLOW = Binary("tensorflow", TENSORFLOW_FLAGS)
LITERT = Binary("litert", LITERT_FLAGS)
FULL = "--require_full_delegation=true"


def words(binary: Binary, options: RunOptions, profile_file: str | None = None) -> list[str]:
    path, *flags = command(binary, "/b", "/m.tflite", 300, 10, options, profile_file)
    assert path == "/b"
    return flags


def help_of(
    flags: frozenset[str], line: str = "\t--{}=0                \tint32\toptional\tmeaning --not_a_flag"
) -> str:
    return "\n".join(["usage: benchmark_model", "Flags:", *(line.format(name) for name in sorted(flags))])


@pytest.mark.parametrize(
    "line",
    [
        "\t--{}=0                \tint32\toptional\tmeaning --not_a_flag",
        "--{} (meaning); default: 0;",
        "  --{}",
        "\t--{}=\r",
    ],
)
@pytest.mark.parametrize(("flags", "dialect"), [(TENSORFLOW_FLAGS, "tensorflow"), (LITERT_FLAGS, "litert")])
def test_the_help_tells_flags_and_dialect(line: str, flags: frozenset[str], dialect: str) -> None:
    assert Binary.from_help(help_of(flags, line)) == Binary(dialect, flags)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["graph", "num_runs", "warmup_runs"])
def test_a_help_without_a_needed_flag_is_of_another_program(name: str) -> None:
    with pytest.raises(InvalidInputError, match=f"no benchmark_model: its help lacks --{name}; it says: usage"):
        Binary.from_help(help_of(TENSORFLOW_FLAGS - {name}))


def test_a_program_that_says_nothing_is_none() -> None:
    with pytest.raises(InvalidInputError, match="it says: nothing"):
        Binary.from_help("\r\n")


@pytest.mark.parametrize("binary", [TENSORFLOW, LITERT])
@pytest.mark.parametrize("options", [CPU, GPU, GL, NPU])
def test_exactly_the_asked_runs_are_made(binary: Binary, options: RunOptions) -> None:
    flags = words(binary, options)
    assert {"--graph=/m.tflite", "--num_runs=300", "--warmup_runs=10", "--min_secs=0", "--max_secs=3600"} <= set(flags)
    assert len({flag.partition("=")[0] for flag in flags}) == len(flags)


@pytest.mark.parametrize("binary", [TENSORFLOW, LITERT])
@pytest.mark.parametrize("options", [CPU, RunOptions(threads=4), GPU, GL, NPU])
def test_no_flag_is_used_that_the_build_does_not_know(binary: Binary, options: RunOptions) -> None:
    for count in (0, 1, 2):
        for missing in combinations(sorted(binary.flags - {"graph", "num_runs", "warmup_runs", "use_npu"}), count):
            build = Binary(binary.dialect, binary.flags - set(missing))
            try:
                check_options(build, options)
            except DeviceError:
                continue
            used = {word[2:].partition("=")[0] for word in words(build, options, "/p.csv")}
            assert used <= build.flags


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        (RunOptions(threads=2), {"num_threads"}),
        (GPU, {"use_gpu", "gpu_backend", "gpu_precision_loss_allowed", "require_full_delegation"}),
        (NPU, {"use_nnapi", "nnapi_allow_fp16", "nnapi_accelerator_name", "require_full_delegation"}),
    ],
)
def test_a_build_that_lacks_a_needed_flag_is_named_before_anything_is_measured(
    options: RunOptions, needed: set[str]
) -> None:
    check_options(TENSORFLOW, options)
    for name in needed:
        with pytest.raises(DeviceError, match=rf"does not know --{name}, which {options.unit} needs"):
            check_options(Binary("tensorflow", TENSORFLOW_FLAGS - {name}), options)


def test_a_delegate_has_to_take_the_whole_network() -> None:
    assert FULL not in words(TENSORFLOW, CPU)
    for options in (GPU, GL, NPU):
        assert FULL in words(TENSORFLOW, options)
        assert FULL in words(LITERT, options)


def test_the_gpus_backend_and_precision_are_always_named() -> None:
    half = RunOptions("gpu", backend="gl", precision_loss=True)
    assert {"--use_gpu=true", "--gpu_backend=gl", "--gpu_precision_loss_allowed=true"} <= set(words(TENSORFLOW, half))
    assert {"--gpu_backend=cl", "--gpu_precision_loss_allowed=false"} <= set(words(TENSORFLOW, GPU))


def test_nnapi_uses_an_accelerator_only_if_one_is_named() -> None:
    assert {"--use_nnapi=true", "--nnapi_accelerator_name=vendor-npu"} <= set(words(TENSORFLOW, NPU))
    assert not any("accelerator" in word for word in words(TENSORFLOW, RunOptions("npu")))


@pytest.mark.parametrize(("options", "unit"), [(GPU, "--use_gpu=true"), (NPU, "--use_npu=true")])
def test_litert_leaves_the_cpu_out_where_a_delegate_runs_everything(options: RunOptions, unit: str) -> None:
    check_options(LITERT, options)
    assert {unit, "--use_cpu=false", FULL} <= set(words(LITERT, options))


def test_litert_runs_on_the_cpu_if_told_so() -> None:
    assert "--use_cpu=true" in words(LITERT, CPU)
    assert not {"--use_gpu=true", "--use_npu=true"} & set(words(LITERT, CPU))


def test_litert_names_the_precision_otherwise() -> None:
    assert "--allow_fp16=false" in words(LITERT, GPU)
    both = Binary("litert", LITERT_FLAGS | {"gpu_precision_loss_allowed"})
    assert "--gpu_precision_loss_allowed=false" in words(both, GPU)
    with pytest.raises(DeviceError, match="does not know --allow_fp16"):
        check_options(Binary("litert", LITERT_FLAGS - {"allow_fp16"}), GPU)


def test_operators_are_profiled_only_if_asked_for() -> None:
    for binary in (TENSORFLOW, LITERT):
        assert not any("profil" in word for word in words(binary, CPU))
    assert [word for word in words(TENSORFLOW, CPU, "/p.csv") if "profil" in word] == [
        "--enable_op_profiling=true",
        "--op_profiling_output_mode=csv",
        "--op_profiling_output_file=/p.csv",
    ]
    assert [word for word in words(TENSORFLOW, CPU, "") if "profil" in word] == ["--enable_op_profiling=true"]
    assert [word for word in words(LITERT, CPU, "/p.csv") if "profil" in word] == ["--use_profiler=true"]
