"""A data set of latencies: cells are chosen, measured, and read back with pandas. Run it again: it goes on, or is done.

python examples/dataset.py
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from leti_opt import CampaignDefinition, DatasetCampaign
from leti_opt.report.dataset_card import write_dataset


def main(device: str = "host-cpu", store: str = "latency.db", budget: int = 30) -> None:
    """Measure so many cells, and print the fastest."""
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
    table = pd.read_parquet(folder / "latencies.parquet").sort_values("device_latency_ms")
    for row in table.dropna(subset="device_latency_ms").head(5).itertuples():
        print(f"{row.device_latency_ms:.3f} ms ({row.device_status}), {row.flops / 1e6:.1f} MFLOPs: {row.cell}")


if __name__ == "__main__":
    main()
