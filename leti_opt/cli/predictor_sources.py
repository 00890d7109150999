"""What other devices took, as ``leti-opt predictor adapt --source`` names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leti_opt.cli.common import existing_store
from leti_opt.cli.predictor_options import enough
from leti_opt.errors import InvalidInputError

if TYPE_CHECKING:
    from leti_opt.network.config import NetworkConfig
    from leti_opt.predictor.training_data import TrainingData

_STORE_BEGINS = b"SQLite format 3\0"


@dataclass(frozen=True)
class NamedSource:
    """A campaign's file with a device's columns, or a store with a device's URI.

    Args:
        file: the file.
        device: the columns' name, or the URI; None for every device of a campaign's file.
        is_store: whether the file is a store.
    """

    file: Path
    device: str | None
    is_store: bool

    @classmethod
    def parse(cls, text: str) -> NamedSource:
        """``FILE``, ``FILE:COLUMN`` or ``STORE:URI``: what comes before the colon is a file that is there.

        Raises:
            InvalidInputError: a store without a device.
        """
        colons = [place for place, letter in enumerate(text) if letter == ":"]
        splits = [(text, None), *((text[:place], text[place + 1 :]) for place in colons)]
        file, device = next((split for split in splits if Path(split[0]).is_file()), splits[-1])
        is_store = Path(file).is_file() and _is_store(Path(file))
        if is_store and not device:
            raise InvalidInputError(f"--source {text} is a store; name a device of it: --source {text}:URI")
        return cls(Path(file), device or None, is_store)

    def network(self) -> NetworkConfig:
        """That of a campaign's file, where it has one.

        Raises:
            NotFoundError: there is no such file.
            InvalidInputError: it is no campaign's table, or its network cannot be told.
        """
        from leti_opt.predictor.training_data import campaign_network

        if self.is_store:
            raise InvalidInputError(f"the store {self.file} may hold several networks; choose one with --network")
        return campaign_network(self.file)

    def read(self, network: NetworkConfig) -> list[TrainingData]:
        """The figures of each device.

        Raises:
            NotFoundError: there is no such file, or the store does not know the device.
            InvalidInputError: there is no such device, or it has too few latencies in this network.
        """
        from leti_opt.predictor.training_data import campaign_data, campaign_devices, store_data

        if self.is_store:
            assert self.device is not None, "a store without a device was refused"
            with existing_store(str(self.file)) as opened:
                return [enough(store_data(opened, self.device, network))]
        devices = campaign_devices(self.file) if self.device is None else [self.device]
        return [enough(campaign_data(self.file, network, device)) for device in devices]


def named_sources(texts: Sequence[str]) -> list[NamedSource]:
    """What the user named, each once.

    Raises:
        InvalidInputError: one of them is named twice, or alone and with all of its file.
    """
    found = [NamedSource.parse(text) for text in texts]
    for place, source in enumerate(found):
        for other in found[:place]:
            if source.file == other.file and (source.device == other.device or None in (source.device, other.device)):
                raise InvalidInputError(f"--source {texts[place]} is among the others already; name each device once")
    return found


def _is_store(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_STORE_BEGINS)) == _STORE_BEGINS
