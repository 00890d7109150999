"""How benchmark_model closes its output: TensorFlow's in one line, LiteRT's in a block of rounded figures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leti_opt.device.android.benchmark_statistics import NUMBER, number_of, printed
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import AttemptError

if TYPE_CHECKING:
    from leti_opt.device.android.benchmark_model import Dialect

__all__ = ["Closing", "find_closing"]

_LINE = re.compile(
    r"Inference timings in us: Init: (\S+), First inference: (\S+), Warmup \(avg\): (\S+), "
    r"Inference \(avg\): (\S+)[ \t]*$",
    re.MULTILINE,
)
_PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: ({NUMBER})[ \t]*$", re.MULTILINE)
_BLOCK = re.compile(r"=+ *BENCHMARK RESULTS *=+")
_BLOCK_LINE = re.compile(
    r"(Model initialization|Warmup \(first\)|Warmup \(avg\)|Inference \((?:avg|min|max|std)\)|Peak memory[^:\n]*):"
    r"[ \t]+(\d+\.\d\d)(?: (?:ms|MB))?(?: \((\d+) runs\))?[ \t]*$",
    re.MULTILINE,
)
_HALF_A_DIGIT_MS = 0.005 + 1e-9
_HALF_A_MICROSECOND = 0.5


@dataclass(frozen=True)
class Closing:
    """The end of an output; None where it does not say.

    Args:
        place: where it begins.
        mean_us: of the timed runs, with six significant digits; None where there is a batch.
        batch: the timed runs, in hundredths of milliseconds.
        initialization_ms, first_run_ms, warmup_mean_ms, peak_memory_bytes: as in a start.
    """

    place: int
    mean_us: float | None = None
    batch: RunBatch | None = None
    initialization_ms: float | None = None
    first_run_ms: float | None = None
    warmup_mean_ms: float | None = None
    peak_memory_bytes: int | None = None

    def check(self, batch: RunBatch, line: str) -> None:
        """Compare with the statistics of the same runs.

        Raises:
            AttemptError: they contradict each other.
        """
        # The mean of several runs is printed twice, digit by digit; of equal runs there is only a whole number.
        allowed_us = _HALF_A_MICROSECOND if batch.min_ms == batch.max_ms else 0
        if self.mean_us is not None and abs(printed(batch.mean_ms * 1e3) - printed(self.mean_us)) > allowed_us:
            self._refuse(line, f"a mean of {self.mean_us:g} us")
        if self.batch is None:
            return
        if self.batch.count != batch.count:
            self._refuse(line, f"{self.batch.count} runs")
        for name in ("mean", "min", "max", "std"):
            exact_ms, rounded_ms = getattr(batch, f"{name}_ms"), getattr(self.batch, f"{name}_ms")
            if None not in (exact_ms, rounded_ms) and abs(exact_ms - rounded_ms) > _HALF_A_DIGIT_MS:
                self._refuse(line, f"a {name} of {rounded_ms:.2f} ms")

    @staticmethod
    def _refuse(line: str, other: str) -> None:
        raise AttemptError(f"benchmark_model's figures contradict each other: {line!r}, but {other} at its end")


def find_closing(text: str, dialect: Dialect) -> Closing | None:
    """The last closing of an output; None if there is none.

    Raises:
        AttemptError: it is not whole, or cannot be read.
    """
    lines = list(_LINE.finditer(text))
    blocks = list(_BLOCK.finditer(text)) if dialect == "litert" else []
    if blocks and (not lines or lines[-1].start() < blocks[-1].start()):
        return _read_block(text, blocks[-1])
    return _read_line(text, lines[-1]) if lines else None


def _read_line(text: str, found: re.Match[str]) -> Closing:
    init_us, first_us, warmup_us, mean_us = (number_of(group, found[0]) for group in found.groups())
    peaks = {match[1] for match in _PEAK.finditer(text, found.end())}
    if len(peaks) > 1:
        raise AttemptError(f"benchmark_model gives several peaks of memory: {', '.join(sorted(peaks))} MB")
    return Closing(
        place=found.start(),
        mean_us=mean_us,
        initialization_ms=init_us / 1e3,
        # Without a warm-up nothing tells how long the first run took; the program prints 0.
        first_run_ms=first_us / 1e3 or None,
        warmup_mean_ms=warmup_us / 1e3 or None,
        peak_memory_bytes=round(number_of(peaks.pop(), "peak memory") * 2**20) if peaks else None,
    )


def _read_block(text: str, heading: re.Match[str]) -> Closing:
    lines = list(_BLOCK_LINE.finditer(text, heading.end()))
    found = {"Peak memory" if match[1].startswith("Peak memory") else match[1]: match for match in lines}
    if len(found) < len(lines):
        raise AttemptError("benchmark_model's results have a line twice")
    for name in ("avg", "min", "max", "std"):
        if f"Inference ({name})" not in found:
            raise AttemptError(f"benchmark_model's results lack Inference ({name})")
    ms = {name: float(match[2]) for name, match in found.items()}
    mean_ms, low_ms, high_ms, std_ms = (ms[f"Inference ({name})"] for name in ("avg", "min", "max", "std"))
    runs = int(found["Inference (avg)"][3] or 0)
    if runs < 1 or not low_ms <= mean_ms <= high_ms or std_ms > (high_ms - low_ms) / 2 + 2 * _HALF_A_DIGIT_MS:
        raise AttemptError(
            f"benchmark_model's results contradict each other: {runs} runs, mean {mean_ms:.2f} ms, "
            f"min {low_ms:.2f} ms, max {high_ms:.2f} ms, std {std_ms:.2f} ms"
        )
    return Closing(
        place=heading.start(),
        batch=RunBatch(runs, mean_ms, std_ms if runs > 1 else None, low_ms, high_ms),
        initialization_ms=ms.get("Model initialization"),
        first_run_ms=ms.get("Warmup (first)") or None,
        warmup_mean_ms=ms.get("Warmup (avg)") or None,
        peak_memory_bytes=round(ms["Peak memory"] * 2**20) if "Peak memory" in ms else None,
    )
