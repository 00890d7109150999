"""The loop that anybody would write over LiteRT's interpreter. Run by :mod:`benchmarks.agreement`, and free of us.

``python benchmarks/plain_loop.py FILE RUNS WARMUP`` prints the median of a run in milliseconds.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(path: str, runs: int, warmup: int) -> None:
    """Load, fill the inputs, run, print."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    generator = np.random.default_rng(0)
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], generator.uniform(-1, 1, detail["shape"]).astype(np.float32))
    times_ms = []
    for number in range(warmup + runs):
        start = time.perf_counter()
        interpreter.invoke()
        if number >= warmup:
            times_ms.append(1e3 * (time.perf_counter() - start))
    print(statistics.median(times_ms))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
