"""The outputs of ``benchmark_outputs/``, which we wrote, and what each of them means."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from leti_opt.device.android.benchmark_failures import Delegation
from leti_opt.device.android.benchmark_model import Dialect, RunOptions, Start, read_start
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError, DeviceError, InfeasibleError, LetiError

FOLDER = Path(__file__).with_name("benchmark_outputs")

CPU = RunOptions()
GPU = RunOptions("gpu", backend="cl")
GL = RunOptions("gpu", backend="gl")
NPU = RunOptions("npu", accelerator="vendor-npu")
WHOLE_CL = Delegation("TfLiteGpuDelegateV2", full=True, nodes=31, delegated=31, partitions=1, backend="cl")
WHOLE_GL = Delegation("TfLiteGpuDelegateV2", full=True, nodes=31, delegated=31, partitions=1, backend="gl")
WHOLE_LITERT = Delegation("LITERT_CL", full=True, nodes=31, delegated=31, partitions=1, backend="cl")
WHOLE_NNAPI = Delegation("TfLiteNnapiDelegate", full=True, nodes=31, delegated=31, partitions=1)


@dataclass(frozen=True)
class Output:
    """One file.

    Args:
        name: of the file, without ``.txt``.
        runs: how many were asked for.
        options: where the network was to run.
        exit_code: of the program.
        dialect: whose program it was.
        start: what it reveals.
        earlier: what it reveals as long as its last start is missing.
        error: whose fault it is that it reveals nothing: InfeasibleError, AttemptError or DeviceError.
        match: of the error's message.
    """

    name: str
    runs: int
    options: RunOptions = CPU
    exit_code: int = 0
    dialect: Dialect = "tensorflow"
    start: Start | None = None
    earlier: Start | None = None
    error: type[LetiError] = LetiError
    match: str = ""
    text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # newline="" keeps the line ends as they are in the file.
        with (FOLDER / f"{self.name}.txt").open(encoding="utf-8", newline="") as file:
            object.__setattr__(self, "text", file.read())

    def read(self, text: str | None = None) -> Start:
        """Read the file, or another text in its place."""
        return read_start(self.text if text is None else text, self.exit_code, self.runs, self.options, self.dialect)


def batch(count: int, mean_us: float, std_us: float, *others_us: float) -> RunBatch:
    """A series of runs, in microseconds; ``others_us`` are min, max and, if there are more, p5, median, p95."""
    return RunBatch(
        count,
        mean_us / 1e3,
        std_us / 1e3,
        **{
            f"{name}_ms": value / 1e3
            for name, value in zip(("min", "max", "p5", "median", "p95"), others_us, strict=False)
        },
    )


def equal_runs(count: int, us: float, with_percentiles: bool) -> RunBatch:
    """One run, or several that took equally long."""
    percentiles = (us / 1e3,) * 3 if with_percentiles else (None,) * 3
    std_ms = 0.0 if count > 1 else None
    median_ms, p5_ms, p95_ms = percentiles
    return RunBatch(count, us / 1e3, std_ms, us / 1e3, us / 1e3, median_ms, p95_ms, p5_ms)


def megabytes(value: float) -> int:
    return round(value * 2**20)


_NEW = Start(batch(300, 4184.67, 44, 4061, 4309, 4111, 4184, 4262), 5.381, 4.5, 4.3745, megabytes(11.4258))
_GPU_BATCH = batch(300, 2748.22, 89, 2480, 3004, 2596, 2747, 2890)
_GPU_MEMORY = megabytes(118.75)
_CL = Start(_GPU_BATCH, 812.733, 2.811, 2.8818, _GPU_MEMORY, WHOLE_CL)

FIGURES = (
    Output("cpu_old", 300, start=Start(batch(300, 5010.31, 62, 4846, 5174), 3.127, 5.176, 5.2121)),
    Output("cpu_new", 300, start=_NEW),
    Output("cpu_logcat_noise", 300, start=_NEW),
    Output("cpu_all_same", 50, start=Start(equal_runs(50, 412, False), 0.611, 0.413, 0.413)),
    Output("cpu_all_same_new", 50, start=Start(equal_runs(50, 412, True), 0.64, 0.413, 0.413)),
    Output("cpu_one_run", 1, start=Start(equal_runs(1, 1234567, False), 2.21, 1301.222, 1301.22)),
    Output("cpu_one_run_new", 1, start=Start(equal_runs(1, 902, True), 1.544, 0.913, 0.913)),
    Output(
        "cpu_slow_network",
        30,
        start=Start(
            batch(30, 1010720, 5241, 999444, 1021275, 999605, 1010979, 1019341),
            18.211,
            1020.598,
            1028.12,
            megabytes(71.5),
        ),
    ),
    Output("cpu_no_warmup", 20, start=Start(batch(20, 2297.7, 41, 2240, 2389, 2245, 2309, 2389), 4.02)),
    Output(
        "cpu_more_runs", 300, start=Start(batch(1090, 916.482, 15, 865, 962, 889, 917, 942), 3.3, 0.926, 921.127 / 1e3)
    ),
    Output(
        "cpu_profiled", 100, start=Start(batch(100, 1515.38, 20, 1467, 1562, 1485, 1514, 1555), 2.95, 1.568, 1.5568)
    ),
    Output("cpu_crlf", 50, start=Start(batch(50, 7044.96, 81, 6899, 7298), 2.044, 7.297, 7.2199, megabytes(9.53125))),
    Output(
        "cpu_two_starts",
        200,
        start=Start(batch(200, 3108.62, 36, 3029, 3190, 3047, 3107, 3164), 4.077, 3.157, 3.1685, megabytes(14.25)),
        earlier=Start(batch(200, 3193.99, 51, 3026, 3326, 3108, 3193, 3287), 4.1, 3.253, 3.2771, megabytes(15.5)),
    ),
    Output("gpu_cl", 300, GPU, start=_CL),
    Output("gpu_cl_cached", 300, GPU, start=_CL),
    Output("gpu_beside_xnnpack", 300, GPU, start=_CL),
    Output("gpu_gl", 300, GL, start=Start(_GPU_BATCH, 812.733, 2.811, 2.8818, _GPU_MEMORY, WHOLE_GL)),
    Output(
        "nnapi",
        300,
        NPU,
        start=Start(
            batch(300, 1349.24, 41, 1240, 1472, 1278, 1351, 1419), 352.0, 1.374, 1.3649, megabytes(21.75), WHOLE_NNAPI
        ),
    ),
    Output(
        "litert_cpu",
        1000,
        dialect="litert",
        start=Start(batch(1000, 463.729, 12, 423, 502, 442, 464, 485), 4.48, 0.44, 0.47),
    ),
    Output(
        "litert_block_only",
        300,
        dialect="litert",
        start=Start(RunBatch(300, 12.05, 0.19, 11.57, 12.64), 21.73, 12.01, 12.35, megabytes(93.2)),
    ),
    Output(
        "litert_gpu",
        300,
        GPU,
        dialect="litert",
        start=Start(
            batch(300, 2987.63, 68, 2781, 3202, 2879, 2984, 3104), 611.24, 3.14, 3.12, megabytes(141.75), WHOLE_LITERT
        ),
    ),
)

_LACKS_GPU = "this phone or program has no gpu"
_OUT = "out of memory: ERROR: "

FAILURES = (
    # The network's fault: no phone is asked again.
    Output(
        "gpu_partial", 300, GPU, 1, error=InfeasibleError, match=r"not fully delegated to the gpu: CAST: .*; GATHER: "
    ),
    Output("gpu_partial_with_figures", 300, GPU, error=InfeasibleError, match="not fully delegated to the gpu: CAST: "),
    Output("gpu_not_executed", 300, GPU, error=InfeasibleError, match="will not be executed by the delegate"),
    Output("litert_gpu_partial", 300, GPU, 1, "litert", error=InfeasibleError, match="Some ops are not accelerated"),
    Output("gpu_out_of_memory", 300, GPU, 1, error=InfeasibleError, match=f"{_OUT}TfLiteGpuDelegate Init"),
    Output("nnapi_refuses", 300, NPU, 1, error=InfeasibleError, match="refused by the runtime: .*apply NNAPI delegate"),
    Output("failing_invoke", 300, CPU, 1, error=InfeasibleError, match=r"Node number 12 \(GATHER\) failed to invoke"),
    Output("failing_invoke_with_figures", 300, CPU, 1, error=InfeasibleError, match="failed to invoke"),
    Output("allocation_refused", 300, CPU, 1, error=InfeasibleError, match=r"refused by the runtime: .*CONV_2D"),
    Output("out_of_memory", 300, CPU, 1, error=InfeasibleError, match=f"{_OUT}std::bad_alloc"),
    Output("unresolved_operator", 300, CPU, 1, error=InfeasibleError, match="unresolved custom op: FancyOp"),
    # This start's: another one may succeed.
    Output("time_limit", 300, error=AttemptError, match="made 214 runs, not 300"),
    Output("cut_short", 300, error=AttemptError, match="output has no figures"),
    Output("killed", 300, CPU, 137, error=AttemptError, match=r"status 137 \(killed, as Android does when memory runs"),
    Output("segfault", 300, CPU, 139, error=AttemptError, match=r"status 139 \(segmentation fault\)"),
    Output("bad_alloc", 300, CPU, 134, error=AttemptError, match=r"status 134 \(aborted\).*std::bad_alloc"),
    Output("missing_model", 300, CPU, 1, error=AttemptError, match="cannot open the network: .*m-5f2c.tflite"),
    Output("nnapi_driver_died", 300, NPU, 1, error=AttemptError, match="lost its driver: .*DEAD_OBJECT"),
    # The phone's or the program's: no network is to blame.
    Output("gpu_fell_back_to_gl", 300, GPU, error=DeviceError, match=r"through gl, not cl.*\?delegate=gl"),
    Output("gpu_replaced_by_xnnpack", 300, GPU, error=DeviceError, match="nothing says that the gpu ran the network"),
    Output("gpu_unsupported", 300, GPU, 1, error=DeviceError, match=f"{_LACKS_GPU}: .*unsupported on this platform"),
    Output("gpu_no_delegate", 300, GPU, 1, error=DeviceError, match=f"{_LACKS_GPU}: .*apply 0 delegates"),
    Output("gpu_no_opencl", 300, GPU, 1, error=DeviceError, match=f"{_LACKS_GPU}: .*Can not open OpenCL library"),
    Output("litert_no_gpu", 300, GPU, 1, "litert", error=DeviceError, match=f"{_LACKS_GPU}: .*could not be loaded"),
    Output("nnapi_unknown_accelerator", 300, NPU, 1, error=DeviceError, match="Could not find the specified NNAPI"),
    Output("unknown_flags", 300, error=DeviceError, match="cannot run as asked: .*--use_npu=true"),
    Output("wrong_abi", 300, CPU, 126, error=DeviceError, match="not executable: 64-bit ELF file"),
    Output("exec_format", 300, CPU, 126, error=DeviceError, match="Exec format error"),
    Output("not_position_independent", 300, CPU, 1, error=DeviceError, match="only position independent"),
    Output("cannot_link", 300, CPU, 1, error=DeviceError, match='library "libEGL.so" not found'),
    Output("no_program", 300, CPU, 127, error=DeviceError, match="inaccessible or not found"),
)
