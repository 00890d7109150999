"""Latencies that nobody measured: learn from a campaign's file, predict a whole space, search by the predictor.

python examples/predictor.py
"""

from __future__ import annotations

from pathlib import Path

import nevergrad as ng

from leti_opt import (
    NAS_BENCH_101,
    ArchitectureSpace,
    CampaignDefinition,
    DatasetCampaign,
    DeviceLatencyObjective,
    NetworkConfig,
    SurrogateObjective,
    enumerate_architectures,
)
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.training_data import TrainingData, campaign_data
from leti_opt.report.dataset_card import write_dataset


def measured(device: str, store: str, budget: int) -> TrainingData:
    """A small campaign; yours is larger, and may have run elsewhere."""
    campaign = DatasetCampaign(
        CampaignDefinition(
            name="example",
            store=store,
            devices=[{"uri": device, "name": "device"}],
            networks=["small"],
            cells={"sample": budget, "method": "stratified"},
        )
    )
    campaign.run()
    folder = Path(store).with_suffix(".dataset")
    write_dataset(campaign, folder)
    return campaign_data(folder / "latencies.parquet", NetworkConfig.small())


def main(device: str = "host-cpu", store: str = "latency.db", budget: int = 60) -> None:
    """Learn from so many measured cells, predict all 423,624, search, and measure what the search found."""
    data = measured(device, store, budget)
    predictor = KernelPredictor(data.network).fit(data.cells, data.latency_ms)
    print(f"learned {data.story.statement()}, {data.latency_ms.min():.3f} to {data.latency_ms.max():.3f} ms")

    table = enumerate_architectures(NAS_BENCH_101)
    surrogate = SurrogateObjective(predictor)
    found = surrogate.evaluate_many(table)
    for row in found.mean_ms.argsort()[:3].tolist():
        interval = f"90 % from {found.lower_ms[row]:.3f} to {found.upper_ms[row]:.3f}"
        print(f"{found.mean_ms[row]:.3f} ms ({found.statuses[row]}), {interval}, among {len(table):,}: {table[row]}")

    space = ArchitectureSpace()
    space.random_state.seed(1)
    ng.optimizers.registry["DE"](space, budget=200).minimize(surrogate)
    best = surrogate.best()
    print(f"a search says {best.latency_ms:.3f} ms ({best.status}): {best.architecture}")
    objective = DeviceLatencyObjective(device=device, network=data.network, store=store)
    evaluation = objective.evaluate(best.architecture)
    print(f"the device says {evaluation.latency_ms:.3f} ms ({evaluation.answer.status})")
    objective.close()


if __name__ == "__main__":
    main()
