"""How busy a campaign keeps a device: this host's CPU pinned to one core, networks built on the others."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.result_table import Figure, write_result
from benchmarks.speed.timing import load
from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.definition import CampaignDefinition
from leti_opt.campaign.progress import EVERYTHING_ELSE
from leti_opt.device.open_device import open_device
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.questions import cell_question
from leti_opt.report.campaign_view import BUSY_KINDS
from leti_opt.store.latency_store import LatencyStore

DEVICE = "host-cpu?cores=0"
NETWORK: dict[str, Any] = {"preset": "small", "filters": 64}
PLAIN_CELLS = 40


def main() -> None:
    """Run the campaign, and a plain loop over some of its cells; write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--device", default=DEVICE)
    arguments = parser.parse_args()
    before = load()
    with tempfile.TemporaryDirectory(prefix="leti-opt-busy-") as folder:
        campaign = DatasetCampaign(
            CampaignDefinition(
                name="busy",
                store=f"{folder}/busy.db",
                devices=[arguments.device],
                networks=[NETWORK],
                cells={"sample": arguments.cells},
                canary={"pace": "off"},
            )
        )
        start = time.perf_counter()
        summary = campaign.run()
        wall_s = time.perf_counter() - start
        [row] = summary.outcome.rows
        mean_ms = _mean_ms(Path(folder) / "busy.db")
        plain, plain_s = plain_loop(campaign, arguments.device)
    seconds = dict(row.seconds)
    rows = [
        _row(f"campaign, {row.new} networks", seconds, sum(seconds.values())),
        _row(f"plain loop, {min(PLAIN_CELLS, arguments.cells)} networks", plain, plain_s),
    ]
    write_result(
        "busy",
        f"How busy a campaign of {arguments.cells} cells keeps a device",
        ["what", "at work", "seconds in all", "what they went into"],
        rows,
        [
            f"Device: {arguments.device}; a network's run takes {mean_ms:.2f} ms on average, 300 runs each, 10 of "
            "warm-up. At work is the time in timed runs, initialization (loading, first run, warm-up) and cooling, "
            "from the first question to the last answer.",
            f"The whole command took {wall_s:.0f} s, choosing the cells and starting the builders included; "
            f"{row.unstable} of {row.total} networks were unstable.",
            "The plain loop asks the measuring service for one network after the other in the same process: built, "
            "measured, stored.",
            f"Load average {before} before, {load()} after.",
        ],
        [Figure(f"device at work in a campaign of {arguments.cells} cells", _share(seconds), "%", 95, 98)],
    )


def plain_loop(campaign: DatasetCampaign, uri: str) -> tuple[Mapping[str, float], float]:
    """The same networks one after the other, without a campaign."""
    definition, config = campaign.definition, campaign.definition.configs[0]
    with LatencyStore(":memory:") as store, open_device(uri) as device:
        service = MeasuringService(device, store, definition.measurement_protocol, canary=definition.canary_settings)
        start = time.perf_counter()
        for cell in campaign.cells[:PLAIN_CELLS]:
            service.answer(cell_question(cell, config))
        wall_s = time.perf_counter() - start
        counted = device.use.seconds()
    return {**counted, EVERYTHING_ELSE: wall_s - sum(counted.values())}, wall_s


def _mean_ms(store: Path) -> float:
    with LatencyStore(store) as opened:
        rows = opened.to_frame(origin="measured", include_unstable=True)
    return float(rows["mean_ms"].mean())


def _share(seconds: Mapping[str, float]) -> float:
    return 100 * sum(seconds.get(kind, 0.0) for kind in BUSY_KINDS) / sum(seconds.values())


def _row(what: str, seconds: Mapping[str, float], total_s: float) -> list[str]:
    parts = ", ".join(f"{kind} {found:.1f}" for kind, found in seconds.items() if found >= 0.05)
    return [what, f"{_share(seconds):.1f} %", f"{total_s:.1f}", parts]


if __name__ == "__main__":
    main()
