"""A campaign's data set as a folder: the table, the card that says what it is, and networks to check it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leti_opt.campaign.dataset import DatasetCampaign
from leti_opt.campaign.export import DeviceCounts, has_figures, write_table
from leti_opt.campaign.places import DevicePlace, device_places, epochs_of, without_figures
from leti_opt.campaign.standing import Lookup
from leti_opt.campaign.work import CampaignWork
from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.objective.panel import choose_panel
from leti_opt.report.card_export import write_card
from leti_opt.report.dataset_readme import FIRST_LINES, TABLE, readme_text, statement
from leti_opt.store import exchange
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.pseudonyms import Pseudonyms

README = "README.md"


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
        InvalidInputError: the folder's README is something else than a data set's card.
        NotFoundError: the store has no figures of the campaign's devices.
        StoreError: the store cannot be read, or the folder not be written.
    """
    _refuse_others_readme(folder / README)
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
        text = readme_text(campaign, work, told, counts, epochs, panels, csv, without)
        with exchange.replacing(folder / README) as temporary:
            temporary.write_text(text, encoding="utf-8")
    told_of_each = "; ".join(statement(place, count) for place, count in zip(told, counts, strict=True))
    return WrittenDataset(
        str(folder),
        len(work),
        tuple(files),
        tuple(counts),
        told_of_each,
        tuple(entry.name or entry.uri for entry in without),
        _left_over(folder, files),
    )


def _refuse_others_readme(path: Path) -> None:
    if path.is_file() and not path.read_bytes().startswith(FIRST_LINES.encode()):
        raise InvalidInputError(f"{path} is no data set's card, and would be replaced by one; name another folder")


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
