"""Makes a data card of what a store holds of one device."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.objective.panel import choose_panel, panel_model
from leti_opt.report.card import TABLE, CardNetwork, pack
from leti_opt.report.latency_column import FEWEST_NETWORKS
from leti_opt.store import exchange
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.links import checks_of, served_epochs
from leti_opt.store.pseudonyms import Pseudonyms
from leti_opt.temporary_folder import temporary_folder
from leti_opt.version import source_commit, version

if TYPE_CHECKING:
    import pandas as pd

MAX_FILE_MB = 100.0

_STATEMENTS = {
    "measured": "The figures of this card were measured on {device}.",
    "replayed": "REPLAYED: the figures of this card come from a recording. Nothing was measured for it.",
    "simulated": "SIMULATED: the figures of this card come from a formula. Nothing was measured for it.",
}


@dataclass(frozen=True)
class CardSummary:
    """What went into a card.

    Args:
        path: the card.
        statement: in words, what its figures are.
        networks: how many networks its table has.
        panel: how many of them it brings along to be measured again.
        measurements: rows of its table.
    """

    path: str
    statement: str
    networks: int
    panel: int
    measurements: int


def write_card(
    store: LatencyStore,
    path: Path | str,
    *,
    identity: DeviceIdentity | None = None,
    epoch: DeviceEpoch | None = None,
    origin: str = "measured",
    max_file_mb: float = MAX_FILE_MB,
    cells: Collection[tuple[str, str]] | None = None,
    panel: Sequence[str] | None = None,
) -> CardSummary:
    """Write a card of one device, of one of its epochs and those linked to it. Equal content makes equal bytes.

    Args:
        store: what was measured.
        path: ends with ``.zip``; it appears complete or not at all.
        identity: the device; may be left out if the store has figures of one.
        epoch: which of its epochs; the last one if absent.
        origin: ``measured``, or ``replayed`` or ``simulated``: then the card says so in words.
        max_file_mb: a user's file larger than this is refused.
        cells: only of these, each by its graph hash and the digest of its network; None for all, users' files included.
        panel: keys of the models to be measured again, of which alone the card tells; None to choose them, and to tell
            of all networks.

    Raises:
        InvalidInputError: no figures of this origin, several devices, or a file that is too large.
        NotFoundError: fewer than three networks can be built again elsewhere.
        StoreError: the card cannot be written.
    """
    if origin not in _STATEMENTS:
        raise InvalidInputError(f"a card's origin is one of {', '.join(_STATEMENTS)}, not {origin!r}")
    target = exchange.checked_target(Path(path), None, suffixes=(".zip",))
    identity, epoch, rows = _rows_of_device(store, identity, epoch, origin, panel)
    if cells is not None:
        wanted = set(cells)
        named = zip(rows["graph_hash"], rows["network_digest"], strict=True)
        rows = rows[[name in wanted for name in named]].reset_index(drop=True)
        if rows.empty:
            raise NotFoundError("the device has no figures of these cells; measure them first")
    names = store.pseudonyms()
    keys = _panel_keys(store, identity, epoch, rows, panel)
    networks = [_network(store, key, names, max_file_mb, number) for number, key in enumerate(keys)]
    members = {TABLE: _parquet(names.table(rows))}
    entries = []
    for number, (network, content) in enumerate(networks):
        entries.append(f"panel/{number:03}.json")
        members[entries[-1]] = json.dumps(asdict(network), sort_keys=True, indent=1).encode()
        if network.file is not None:
            members[network.file] = content
    device = names.identity(identity)
    statement = _STATEMENTS[origin].format(device=device.name)
    header = {
        "origin": origin,
        "statement": statement,
        "device": asdict(device),
        "device_digest": device.digest,
        "epochs": [asdict(names.epoch(place)) for place in _epochs(rows)],
        "statistic": "mean",
        "unit": "ms",
        "protocol": _protocol(rows[rows["model_key"].isin(keys)]),
        "measured_with": sorted({f"leti_opt {tool}" for tool in rows["tool"].dropna()}),
        "measured_at_commits": sorted(set(rows["commit"].dropna())),
        "first_measured": rows["started_at"].min().isoformat(),
        "last_measured": rows["started_at"].max().isoformat(),
        "made_with": f"leti_opt {version()}",
        "made_at_commit": source_commit(),
        "networks": int(rows["model_key"].nunique()),
        "measurements": len(rows),
        "panel": entries,
        "panel_model_keys": keys,
    }
    with exchange.replacing(target) as temporary:
        pack(header, members, temporary)
    return CardSummary(str(path), statement, header["networks"], len(keys), len(rows))


def _rows_of_device(
    store: LatencyStore,
    identity: DeviceIdentity | None,
    epoch: DeviceEpoch | None,
    origin: str,
    keys: Sequence[str] | None,
) -> tuple[DeviceIdentity, DeviceEpoch, pd.DataFrame]:
    """The device, its epoch (the last, if none is named), and its stable rows of that and those linked, in time."""
    rows = store.to_frame(origin=origin, identity=identity, epoch="any", model_keys=keys)  # type: ignore[arg-type]
    if rows.empty:
        held = sorted(set(store.to_frame(origin="any", identity=identity, epoch="any")["origin"]))
        there = f"it holds {' and '.join(held)} ones: --origin {held[0]}" if held else "measure some networks first"
        raise InvalidInputError(f"the store has no {origin} figures to make a card of; {there}")
    places = {exchange.place_of(row) for row in rows.drop_duplicates("epoch_digest").to_dict("records")}
    devices = sorted({device.name for device, _ in places})
    if len({device for device, _ in places}) > 1:
        raise InvalidInputError(f"a card is of one device, and the store has several; choose one: {', '.join(devices)}")
    device, last = exchange.place_of(rows.loc[rows["started_at"].idxmax()].to_dict())
    epoch = epoch or last
    served = served_epochs(checks_of(store.links(device), device), (device, epoch))
    kept = {place[1].digest for place in served if place[0] == device}
    rows = rows[rows["epoch_digest"].isin(kept)].sort_values(["started_at", "model_key", "mean_ms"], kind="stable")
    return device, epoch, rows.reset_index(drop=True)


def _panel_keys(
    store: LatencyStore,
    identity: DeviceIdentity,
    epoch: DeviceEpoch,
    rows: pd.DataFrame,
    panel: Sequence[str] | None,
) -> list[str]:
    """Of the panel what the rows have; by default that of each network config of the device, and of users' files."""
    digests = sorted(set(rows["network_digest"].fillna("")))
    found = panel or [key for digest in digests for key in choose_panel(store, identity, epoch, digest)]
    keys = list(dict.fromkeys(key for key in found if (rows["model_key"] == key).any()))
    if len(keys) < FEWEST_NETWORKS and not (rows["status"] == "stable").any():
        raise NotFoundError(
            "these figures were published without the number or the spread of their runs, so there is no protocol by "
            "which anybody could measure them again, and no card; export a table"
        )
    if len(keys) < FEWEST_NETWORKS:
        others = [key for key in dict.fromkeys(rows["model_key"]) if key not in keys]
        raise NotFoundError(
            f"{len(keys)} of the {rows['model_key'].nunique()} networks can be built again elsewhere, and a card needs "
            f"{FEWEST_NETWORKS}: {_why_not(store, others)}"
        )
    return keys


def _why_not(store: LatencyStore, keys: list[str]) -> str:
    for key in keys:
        try:
            panel_model(store, key)
        except NotFoundError as error:
            return str(error)
    return "measure more networks"


def _network(
    store: LatencyStore, key: str, names: Pseudonyms, max_file_mb: float, number: int
) -> tuple[CardNetwork, bytes]:
    model = panel_model(store, key)
    if model.path is not None:
        content = model.path.read_bytes()
        if len(content) > max_file_mb * 1e6:
            raise InvalidInputError(
                f"{model.path} has {len(content) / 1e6:.0f} MB, and a card takes files up to {max_file_mb:g} MB; allow "
                "more with --max-file-mb"
            )
        name = names.text(model.name)
        return CardNetwork(key, name, model.renderer, model.precision, file=f"panel/{number:03}.tflite"), content
    alias = next(alias for alias in store.aliases(model_key=key) if store.network(alias.network_digest) is not None)
    settings: Mapping[str, Any] | None = store.network(alias.network_digest)
    graph = None if model.layer_graph is None else model.layer_graph.digest
    return CardNetwork(
        key,
        alias.cell,
        model.renderer,
        model.precision,
        cell=alias.cell,
        graph_hash=alias.graph_hash,
        network_digest=alias.network_digest,
        network=settings,
        layer_graph_digest=graph,
    ), b""


def _protocol(rows: pd.DataFrame) -> dict[str, Any]:
    """How most of the panel was measured; of two ways equally often used the one with more runs."""
    columns = ["relative_error", "min_runs", "max_relative_std", "warmup_runs", "runs_per_sample"]
    counted = Counter(
        (None if error != error else float(error), int(runs), float(std), int(warm), samples > 1)
        for error, runs, std, warm, samples in rows[columns].itertuples(index=False)
    )
    (error, runs, std, warm, many), _ = max(counted.items(), key=lambda item: (item[1], item[0][1], str(item[0])))
    limits = {"max_relative_std": std, "warmup_runs": warm}
    if error is not None:
        return {**limits, "relative_error": error, "runs_per_sample": None if many else 1}
    return {**limits, "min_runs": max(1, runs)}


def _epochs(rows: pd.DataFrame) -> list[DeviceEpoch]:
    found = [exchange.place_of(row)[1] for row in rows.drop_duplicates("epoch_digest").to_dict("records")]
    return sorted(found, key=lambda epoch: epoch.digest)


def _parquet(rows: pd.DataFrame) -> bytes:
    with temporary_folder("card") as folder:
        path = folder / TABLE
        exchange.write_parquet(rows, path)
        return path.read_bytes()
