"""Latencies that nobody measured: learn from a campaign's file, predict a whole space, search by the predictor.

    python examples/predictor.py

The file is a campaign of ours (``examples/data/host_small_cells``); examples/dataset.py makes one of your own device.
"""

from __future__ import annotations

from pathlib import Path

import nevergrad as ng

from leti_opt import (
    NAS_BENCH_101,
    ArchitectureSpace,
    DeviceLatencyObjective,
    NetworkConfig,
    SurrogateObjective,
    enumerate_architectures,
)
from leti_opt.predictor.evaluation import evaluate, split_by_class
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.training_data import campaign_data

DATA = Path(__file__).parent / "data" / "host_small_cells" / "latencies.parquet"


def main(data: Path = DATA, device: str | None = None, store: str = "latency.db", budget: int = 200) -> None:
    """Learn, say how good it is, predict all 423,624 cells, search; measure what was found if a device is given."""
    figures = campaign_data(data, NetworkConfig.small(filters=64))
    split = split_by_class(figures.cells.graph_hashes, len(figures) * 4 // 5, seed=0)
    judged = evaluate(KernelPredictor(figures.network), figures.cells, figures.latency_ms, split)
    print(f"{judged.metrics.within[0.05]:.1%} of {len(split.test)} cells that it did not see are predicted within ±5 %")

    predictor = KernelPredictor(figures.network).fit(figures.cells, figures.latency_ms)
    print(f"learned {figures.story.statement()}")

    table = enumerate_architectures(NAS_BENCH_101)
    surrogate = SurrogateObjective(predictor)
    found = surrogate.evaluate_many(table)
    for row in found.mean_ms.argsort()[:3].tolist():
        interval = f"90 % from {found.lower_ms[row]:.3f} to {found.upper_ms[row]:.3f}"
        print(f"{found.mean_ms[row]:.3f} ms ({found.statuses[row]}), {interval}, among {len(table):,}: {table[row]}")

    space = ArchitectureSpace()
    space.random_state.seed(1)
    ng.optimizers.registry["DE"](space, budget=budget).minimize(surrogate)
    best = surrogate.best()
    print(f"a search says {best.latency_ms:.3f} ms ({best.status}): {best.architecture}")
    if device is not None:
        objective = DeviceLatencyObjective(device=device, network=figures.network, store=store)
        evaluation = objective.evaluate(best.architecture)
        print(f"{device} says {evaluation.latency_ms:.3f} ms ({evaluation.answer.status})")
        objective.close()


if __name__ == "__main__":
    main()
