"""A campaign's data set as a folder: the table, the card that says what it is, and networks to check it by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.definition import DeviceEntry
from leti_opt.campaign.export import FIGURES, DeviceCounts, has_figures, write_table
from leti_opt.campaign.places import DevicePlace, device_places, epochs_of, without_figures
from leti_opt.campaign.standing import Lookup
from leti_opt.campaign.work import CampaignWork
from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.panel import choose_panel
from leti_opt.report.card_export import write_card
from leti_opt.store import exchange
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.pseudonyms import Pseudonyms
from leti_opt.version import source_commit, version

TABLE = "latencies"
README = "README.md"

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


@dataclass(frozen=True)
class WrittenDataset:
    """What was written.

    Args:
        folder: where.
        rows: networks.
        files: names in the folder.
        counts: what it holds of each device.
        statement: in words, what its figures are.
        without_figures: devices of the campaign that it says nothing of yet.
        left_over: files in the folder that an earlier export wrote and this one did not.
    """

    folder: str
    rows: int
    files: tuple[str, ...]
    counts: tuple[DeviceCounts, ...]
    statement: str
    without_figures: tuple[str, ...]
    left_over: tuple[str, ...]


def write_dataset(campaign: DatasetCampaign, folder: Path, *, csv: bool = False) -> WrittenDataset:
    """Write a campaign's data set as far as it is. Devices are not contacted; names of units and hosts are replaced.

    Args:
        campaign: which.
        folder: made if absent; files of these names in it are replaced.
        csv: a CSV file, too.

    Raises:
        NotFoundError: the store has no figures of the campaign's devices.
        StoreError: the store cannot be read, or the folder not be written.
    """
    with campaign.opened_store() as (work, store):
        every = device_places(campaign.definition, store)
        lookup = Lookup(work)
        places = [place for place in every if has_figures(work, place, store, lookup)]
        if not places:
            raise NotFoundError(
                f"the store {store.url} has no figures of this campaign's devices yet; start it with: "
                "leti-opt campaign run"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make the folder {folder}: {error.strerror}; name another") from error
        names = store.pseudonyms()
        told = [replace(place, identity=names.identity(place.identity)) for place in places]
        story = {
            "campaign": work.name,
            "devices": [_device_story(place) for place in told],
            "networks": [config.settings for config in work.configs],
        }
        plain = folder / f"{TABLE}.csv" if csv else None
        counts = write_table(work, places, store, folder / f"{TABLE}.parquet", plain, story, lookup)
        epochs = [line for place in places for line in _epoch_lines(store, place, names)]
        measured = [place for place in places if place.identity.origin == "measured"]
        panels = [panel for place in measured if (panel := _panel(work, store, place, folder)) is not None]
        files = [f"{TABLE}.parquet", *([f"{TABLE}.csv"] if csv else []), README, *panels]
        without = without_figures(campaign.definition, store, places)
        text = _readme(campaign, work, told, counts, epochs, panels, csv, without)
        with exchange.replacing(folder / README) as temporary:
            temporary.write_text(text, encoding="utf-8")
    statement = "; ".join(_statement(place, count) for place, count in zip(told, counts, strict=True))
    return WrittenDataset(
        str(folder),
        len(work),
        tuple(files),
        tuple(counts),
        statement,
        tuple(entry.name or entry.uri for entry in without),
        _left_over(folder, files),
    )


def _left_over(folder: Path, files: Sequence[str]) -> tuple[str, ...]:
    """What an earlier export wrote there, of devices that are called otherwise now, say."""
    found = {path.name for pattern in (f"{TABLE}.csv", "panel_*.zip") for path in folder.glob(pattern)}
    return tuple(sorted(found - set(files)))


def _panel(work: CampaignWork, store: LatencyStore, place: DevicePlace, folder: Path) -> str | None:
    """A card with networks to measure again, by which others see whether these figures hold; None where it cannot be.

    A card needs three networks that can be built again, and figures of one origin. Nothing else that the device
    measured goes into it: users' own networks are not this campaign's to publish.
    """
    name = f"panel_{place.name}.zip"
    cells = {(str(cell), config.digest) for config in work.configs for cell in work.cells.graph_hashes}
    digests = [config.digest for config in work.configs]
    keys = [key for digest in digests for key in choose_panel(store, place.identity, place.epoch, digest)]
    if not keys:
        return None
    try:
        write_card(
            store,
            folder / name,
            identity=place.identity,
            epoch=place.epoch,
            origin=place.identity.origin,
            cells=cells,
            panel=keys,
        )
    except (InvalidInputError, NotFoundError):
        return None
    return name


def _epoch_lines(store: LatencyStore, place: DevicePlace, names: Pseudonyms) -> list[str]:
    """What each of a device's epochs is, by the digest that its column has."""
    lines = []
    for epoch in epochs_of(store, place):
        safe = names.epoch(epoch)
        build = " ".join(filter(None, (safe.system_build, safe.driver, safe.unit)))
        lines.append(f"* `{place.name}_epoch` `{safe.digest[:16]}`: {build}")
    return lines


def _device_story(place: DevicePlace) -> dict[str, Any]:
    identity = place.identity
    return {
        "name": place.name,
        "device": identity.name,
        "kind": identity.kind,
        "hardware": identity.hardware,
        "runtime": identity.runtime,
        "runner": identity.runner,
        "delegate": identity.delegate,
        "options": dict(identity.options),
        "origin": identity.origin,
        "digest": identity.digest,
    }


def _statement(place: DevicePlace, count: DeviceCounts) -> str:
    return (
        f"{place.name}: {_STATEMENTS.get(place.identity.origin, place.identity.origin)}; {count.measured:,} networks, "
        f"{count.unstable:,} unstable, {count.infeasible:,} infeasible, {count.lacking:,} lacking"
    )


def _readme(
    campaign: DatasetCampaign,
    work: CampaignWork,
    places: Sequence[DevicePlace],
    counts: Sequence[DeviceCounts],
    epochs: Sequence[str],
    panels: Sequence[str],
    csv: bool,
    without: Sequence[DeviceEntry],
) -> str:
    statements = [_statement(*pair) for pair in zip(places, counts, strict=True)]
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
        "---",
        f"pretty_name: {_yaml(work.name)}",
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
