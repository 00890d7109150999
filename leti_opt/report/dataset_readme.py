"""The card of a campaign's data set: what it is, how it was made, what its columns mean; Hugging Face reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.export import FIGURES, DeviceCounts
from leti_opt.campaign.places import DevicePlace
from leti_opt.campaign.sections import DeviceEntry
from leti_opt.campaign.work import CampaignWork
from leti_opt.network.config import NetworkConfig
from leti_opt.version import source_commit, version

TABLE = "latencies"
"""What the data set's files are called, before their endings."""

FIRST_LINES = "---\npretty_name: "
"""How a card begins, by which it is known."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_STATEMENTS = {
    "measured": "measured on the device",
    "simulated": "SIMULATED: a formula gave these figures; nothing was measured",
    "replayed": "REPLAYED: these figures come from a recording; nothing was measured for this data set",
}
_WATCHING = {
    "usual": "a small network is measured in between; what was measured while a device had left its usual pace was "
    "withdrawn and measured again.",
    "quiet": "only what was measured at a device's quickest pace counts; a small network before and after tells.",
    "off": "nobody looked whether the devices kept their usual pace.",
}
_MEANINGS = {
    "status": "`measured` (or `simulated`, `replayed`), `unstable`, `infeasible`; empty where nothing is known yet",
    "latency_ms": "mean latency of one run in milliseconds; empty for unstable and infeasible networks, as are the "
    "figures down to `…_mean_error_ms`",
    "std_ms": "standard deviation of the runs",
    "min_ms": "the fastest run",
    "max_ms": "the slowest run",
    "median_ms": "median of the runs",
    "p95_ms": "95th percentile of the runs",
    "mean_error_ms": "half the width of the mean's 95 % interval; empty where single runs are not known or too few",
    "runs": "timed runs of the attempt that counts",
    "attempts": "attempts that were made",
    "initialization_ms": "time to load the network",
    "peak_memory_bytes": "peak memory of the process that ran it",
    "measured_at": "when the measurement began (UTC)",
    "epoch": "which system build, driver and unit; see the devices",
    "failure": "why the device cannot run it",
}


def statement(place: DevicePlace, count: DeviceCounts) -> str:
    """In words, what a data set holds of a device."""
    return (
        f"{place.name}: {_STATEMENTS.get(place.identity.origin, place.identity.origin)}; {count.measured:,} networks, "
        f"{count.unstable:,} unstable, {count.infeasible:,} infeasible, {count.lacking:,} lacking"
    )


def readme_text(
    campaign: DatasetCampaign,
    work: CampaignWork,
    places: Sequence[DevicePlace],
    counts: Sequence[DeviceCounts],
    epochs: Sequence[str],
    panels: Sequence[str],
    csv: bool,
    without: Sequence[DeviceEntry],
) -> str:
    """The card.

    Args:
        campaign: which.
        work: its networks.
        places: its devices, with pseudonyms.
        counts: what the data set holds of each.
        epochs: a line for each digest that a column of epochs has.
        panels: files of networks to check the figures by.
        csv: whether there is a CSV file, too.
        without: devices of which there are no figures yet.
    """
    statements = [statement(*pair) for pair in zip(places, counts, strict=True)]
    statements += [f"{entry.name or 'a further device'}: no figures yet" for entry in without]
    sections = [
        _front_matter(campaign, work),
        f"# {work.name}\n\n"
        f"Latencies of {len(work):,} networks ({len(work.cells):,} cells) on {len(places)} device(s). "
        "Figures are for one run of one batch, in milliseconds.",
        "## Devices\n\n" + "\n".join(f"* {line}" for line in statements),
        _devices_table(places) + "\n\n" + "\n".join(epochs),
        "## How it was made\n\n" + _how(campaign, work),
        "## Networks\n\n" + "\n".join(_network_text(config) for config in work.configs),
        "## Columns\n\n" + _columns_text(places),
        _usage(panels, csv),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(campaign: DatasetCampaign, work: CampaignWork) -> str:
    size = next((name for most, name in _SIZES if len(work) < most), "1M<n<10M")
    lines = [
        f"{FIRST_LINES}{_yaml(work.name)}",
        *([f"license: {_yaml(campaign.definition.licence)}"] if campaign.definition.licence else []),
        "tags:",
        *(f"- {tag}" for tag in ("latency", "neural-architecture-search", "tflite", "benchmark")),
        "size_categories:",
        f"- {size}",
        "configs:",
        "- config_name: default",
        f"  data_files: {TABLE}.parquet",
        "---",
    ]
    return "\n".join(lines)


def _yaml(text: str) -> str:
    """A text as YAML has it. Of JSON's escapes it knows all but the pairs for what lies beyond 16 bits."""
    return json.dumps(text, ensure_ascii=False)


def _indented(text: str) -> str:
    """A text of several lines as part of a list's entry."""
    return "\n  ".join(text.strip().splitlines())


def _devices_table(places: Sequence[DevicePlace]) -> str:
    lines = [
        "| columns | device | runtime | runner | delegate | options | figures |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for place in places:
        identity = place.identity
        options = ", ".join(f"{name}={value}" for name, value in identity.options)
        cells = (f"`{place.name}_…`", identity.hardware, identity.runtime, identity.runner, identity.delegate, options)
        lines.append("| " + " | ".join(_cell(text) for text in (*cells, identity.origin)) + " |")
    return "\n".join(lines)


def _how(campaign: DatasetCampaign, work: CampaignWork) -> str:
    protocol = work.protocol
    runs = (
        f"until the 95 % interval of the mean is within ±{100 * protocol.relative_error:g} %"
        if protocol.relative_error is not None
        else f"{protocol.min_runs or '300 (on CUDA 100)'} timed runs"
    )
    cells = campaign.definition.cells
    source = str(cells.table.name) if cells.table else cells.space
    sample = "all cells" if cells.sample is None else f"a {cells.method} sample of {cells.sample:,} cells"
    limits = cells.filter.model_dump(mode="json", exclude_defaults=True)
    if limits.get("accuracy"):
        limits["accuracy"] = Path(limits["accuracy"]).name
    return "\n".join(
        [
            f"* Cells: {sample} of {source}; filter: {json.dumps(limits) if limits else 'none'}; seed {work.seed}. "
            "They were measured in a shuffle by that seed, so any part is a fair sample.",
            f"* Protocol: {protocol.warmup_runs} run(s) of warm-up, then {runs}; an attempt holds if its standard "
            f"deviation is at most {100 * protocol.max_relative_std:g} % of its mean; at most {protocol.max_attempts} "
            "attempt(s). No run is dropped.",
            f"* Watching: {_WATCHING[work.canary.pace]}",
            *([f"* Remark: {_indented(campaign.definition.remark)}"] if campaign.definition.remark else []),
            f"* Made with leti_opt {version()}, commit {source_commit() or 'unknown'}.",
        ]
    )


def _network_text(config: NetworkConfig) -> str:
    height, width, channels = config.input_shape
    settings = json.dumps(config.settings, sort_keys=True)
    return (
        f"* `{config.digest[:16]}`: input {config.batch_size}x{height}x{width}x{channels} (batch, height, width, "
        f"channels), precision {config.precision}, random weights. Settings: `{settings}`"
    )


def _columns_text(places: Sequence[DevicePlace]) -> str:
    general = [
        "* `graph_hash`: of the cell, as NAS-Bench-101 computes it",
        "* `cell`: the cell as text, edges and operations; `Architecture.parse` reads it",
        "* `adjacency`: its matrix, rows of 0 and 1",
        "* `operations`: of its vertices, input and output included",
        "* `network`: which of the networks above, by digest",
        "* `flops`: operations of one run, 2 x multiply-accumulates of convolutions and dense layers",
        "* `parameters`: trainable ones",
        "* `peak_activation_bytes`: the largest sum of live activations in the order of execution",
    ]
    names = " or ".join(f"`{place.name}`" for place in places)
    own = [f"* `…_{name}`: {_MEANINGS[name]}" for name in ("status", *FIGURES)]
    return "\n".join([*general, "", f"And for each device, after {names}:", "", *own])


def _usage(panels: Sequence[str], csv: bool) -> str:
    lines = ["## Use", "", "```python", "import pandas as pd", "", f'table = pd.read_parquet("{TABLE}.parquet")', "```"]
    if csv:
        lines += ["", f"`{TABLE}.csv` has the same rows; adjacency and operations are JSON there."]
    if panels:
        lines += [
            "",
            "Do these figures hold on your device? Each panel file brings the networks to find out with:",
            "",
            *(f"    leti-opt reproduce {panel} --device host-cpu" for panel in panels),
        ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ") or "–"
