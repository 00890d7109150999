"""What a campaign is about: which cells, in which networks, on which devices, by which protocol, into which store."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from leti_opt.campaign.faults import explained, fault_text
from leti_opt.campaign.sections import Cells, DeviceEntry, Execution, Section
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import InvalidInputError, LetiError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.canary import CanarySettings

_EXAMPLES = {"devices": "host-cpu", "networks": "small"}
Made = TypeVar("Made", MeasurementProtocol, CanarySettings)


def _name(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", value):
        raise InvalidInputError(
            f"{value!r} cannot be a campaign's name; it has 1 to 64 letters, digits, spaces, dots, dashes and "
            "underscores, and begins with a letter or digit"
        )
    return value


def _command(value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        raise InvalidInputError(f"{value!r} cannot be a command line; it holds a NUL character")
    return value


class CampaignDefinition(Section):
    """A campaign as its TOML file has it; see ``docs/campaigns.md``.

    Args:
        name: what people call it.
        store: path or URL of the store. A path counts from the folder of the TOML file.
        seed: of the sample and of the order.
        cells: which cells.
        networks: how cells become networks; each a preset's name, or a table of ``preset`` and further settings.
        devices: what measures.
        protocol: fields of :class:`~leti_opt.device.protocol.MeasurementProtocol`.
        canary: fields of :class:`~leti_opt.objective.canary.CanarySettings`.
        execution: how the work is done.
        on_event: a command line that is run when the campaign starts, a device is lost or back, and at the end.
        licence: of the data set, for its card.
        remark: how it was measured, in your own words, for the card: what went on beside, where the phones lay.

    Raises:
        InvalidInputError: the message names each field at fault.

    >>> campaign = CampaignDefinition(name="demo", devices=["replay:formula"], networks=["small"])
    >>> campaign.configs[0].filters, campaign.cells.sample
    (32, None)
    """

    name: Annotated[str, BeforeValidator(_name)]
    store: Annotated[str, Field(min_length=1)] = "latency.db"
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    cells: Cells = Cells()
    networks: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)] = ({"preset": "nasbench101"},)
    devices: Annotated[tuple[DeviceEntry, ...], Field(min_length=1)]
    protocol: dict[str, Any] = Field(default_factory=dict)
    canary: dict[str, Any] = Field(default_factory=dict)
    execution: Execution = Execution()
    on_event: Annotated[str, BeforeValidator(_command)] | None = None
    licence: str | None = None
    remark: str | None = None

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InvalidInputError("campaign: " + explained(error, type(self))) from None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        shown = dict(settings)
        for field, key in (("devices", "uri"), ("networks", "preset")):
            entries = shown.get(field)
            if isinstance(entries, str | dict):
                raise InvalidInputError(f'{field} is a list; write for instance {field} = ["{_EXAMPLES[field]}"]')
            if isinstance(entries, list | tuple):
                shown[field] = [{key: entry} if isinstance(entry, str) else entry for entry in entries]
        return shown

    @model_validator(mode="after")
    def _holds_together(self) -> CampaignDefinition:
        _ = self.configs, self.measurement_protocol, self.canary_settings
        names = [device.name for device in self.devices if device.name is not None]
        for what, found in (("device", [device.uri for device in self.devices]), ("name", names)):
            twice = sorted({each for each in found if found.count(each) > 1})
            if twice:
                raise InvalidInputError(f"the {what} {twice[0]} is given twice; give it once")
        digests = [config.digest for config in self.configs]
        if len(set(digests)) < len(digests):
            raise InvalidInputError("two of the networks are the same; give each once")
        return self

    @cached_property
    def configs(self) -> tuple[NetworkConfig, ...]:
        """How cells become networks."""
        return tuple(_network(number, entry) for number, entry in enumerate(self.networks))

    @cached_property
    def measurement_protocol(self) -> MeasurementProtocol:
        """When a measurement holds."""
        return _made(MeasurementProtocol, self.protocol, "protocol")

    @cached_property
    def canary_settings(self) -> CanarySettings:
        """How devices are watched."""
        return _made(CanarySettings, self.canary, "canary")

    @property
    def content(self) -> dict[str, Any]:
        """What makes the campaign what it is, as JSON has it: another store, device or backend changes none of it."""
        cells = self.cells.model_dump(mode="json")
        # Where a file lies is nobody's business, and changes nothing.
        cells["table"] = self.cells.table and self.cells.table.name
        cells["filter"]["accuracy"] = self.cells.filter.accuracy and self.cells.filter.accuracy.name
        return {
            "seed": self.seed,
            "cells": cells,
            "networks": [config.settings for config in self.configs],
            "protocol": self.protocol,
        }

    @classmethod
    def load(cls, path: str | Path) -> CampaignDefinition:
        """Read a campaign's TOML file. Relative paths in it count from its folder.

        Raises:
            InvalidInputError: it cannot be read, is no TOML, or has an unknown or wrong field.
        """
        path = Path(path)
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise InvalidInputError(f"cannot read {path}: {error.strerror}; name the campaign's TOML file") from error
        except ValueError as error:
            raise InvalidInputError(f"{path} is not TOML: {error}") from error
        try:
            return cls(**settings).placed_in(path.resolve().parent)
        except LetiError as error:
            raise InvalidInputError(f"{path}: {error}") from None

    def placed_in(self, folder: Path) -> CampaignDefinition:
        """The same with every relative path taken from a folder."""
        store = self.store
        if "://" not in store and store != ":memory:":
            store = str(_placed(folder, Path(store)))
        chosen = self.cells.filter
        placed = {
            "filter": chosen.model_copy(update={"accuracy": chosen.accuracy and _placed(folder, chosen.accuracy)}),
            "table": self.cells.table and _placed(folder, self.cells.table),
        }
        return self.model_copy(update={"store": store, "cells": self.cells.model_copy(update=placed)})


def _placed(folder: Path, path: Path) -> Path:
    try:
        return folder / path.expanduser()
    except RuntimeError as error:
        raise InvalidInputError(f"{path}: there is no such user; write the whole path") from error


def _network(number: int, entry: Mapping[str, Any]) -> NetworkConfig:
    known = ("preset", *NetworkConfig.model_fields)
    for name in entry:
        if name not in known:
            raise InvalidInputError(f"unknown setting networks.{number}.{name}; {did_you_mean(name, known)}")
    settings = dict(entry)
    try:
        return NetworkConfig.preset(str(settings.pop("preset", "nasbench101")), **settings)
    except LetiError as error:
        raise InvalidInputError(f"networks.{number}: {error}") from None


def _made(kind: type[Made], settings: Mapping[str, Any], section: str) -> Made:
    known = [field.name for field in fields(kind)]
    for name in settings:
        if name not in known:
            raise InvalidInputError(f"unknown setting {section}.{name}; {did_you_mean(name, known)}")
    try:
        return TypeAdapter(kind).validate_python(dict(settings))
    except ValidationError as error:
        faults = [f"{section}.{'.'.join(map(str, fault['loc']))}: {fault_text(fault)}" for fault in error.errors()]
        raise InvalidInputError("; ".join(faults).replace(f"{section}.: ", f"{section}: ")) from None
    except LetiError as error:
        raise InvalidInputError(f"{section}: {error}") from None
