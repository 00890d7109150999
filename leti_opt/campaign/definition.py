"""What a campaign is about: which cells, in which networks, on which devices, by which protocol, into which store."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from leti_opt.campaign.faults import explained
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import InvalidInputError, LetiError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.network.limits import Limits, quantity
from leti_opt.objective.canary import CanarySettings

_EXAMPLES = {"devices": "host-cpu", "networks": "small"}
Made = TypeVar("Made", MeasurementProtocol, CanarySettings)


def _quantity(value: Any) -> Any:
    return quantity(value) if isinstance(value, str) else value


def _name(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}", value):
        raise InvalidInputError(
            f"{value!r} cannot be a campaign's name; it has 1 to 64 letters, digits, spaces, dots, dashes and "
            "underscores, and begins with a letter or digit"
        )
    return value


Quantity = Annotated[NonNegativeFloat, Field(allow_inf_nan=False), BeforeValidator(_quantity)]
Count = Annotated[int, Field(strict=True, gt=0)]
"""A whole number of 1 or more; neither a text nor a yes is taken for one."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Filter(_Section):
    """What cells must keep to. Quantities are numbers or texts such as ``"500M"`` and ``"2MiB"``.

    Args:
        vertices: of the cell, exactly.
        min_flops, max_flops: operations of one run of its network.
        max_parameters: trainable ones.
        max_memory: bytes at which its activations peak.
        gpu: rules that forecast it to fit a phone's GPU whole: ``paper-2020``, ``tflite-current``.
        min_accuracy: mean test accuracy, 0 to 1; needs ``accuracy``.
        accuracy: the file that ``leti-opt accuracy import`` made.
        epochs: of the trainings that count.
    """

    vertices: Count | None = None
    min_flops: Quantity | None = None
    max_flops: Quantity | None = None
    max_parameters: Quantity | None = None
    max_memory: Quantity | None = None
    gpu: str | None = None
    min_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy: Path | None = None
    epochs: Count = 108

    @property
    def limits(self) -> Limits:
        """What concerns the networks' layers."""
        names = ("vertices", "min_flops", "max_flops", "max_parameters")
        numbers = {name: getattr(self, name) for name in names}
        return Limits(**numbers, max_memory_bytes=self.max_memory, gpu=self.gpu)

    @model_validator(mode="after")
    def _has_accuracies(self) -> Filter:
        if self.min_accuracy is not None and self.accuracy is None:
            raise InvalidInputError("min_accuracy needs accuracy = FILE, made by 'leti-opt accuracy import'")
        if self.min_accuracy is None and self.accuracy is not None:
            raise InvalidInputError("accuracy needs min_accuracy = NUMBER, for instance 0.93")
        return self


class Cells(_Section):
    """Which cells.

    Args:
        space: ``nasbench101`` or ``nasbench201``; all of its cells.
        max_vertices, max_edges, operations: make the space smaller, larger or another one.
        table: in place of a space a file of cells, ``.npz`` or ``.parquet`` (``leti-opt space list --save``). Equal
            cells count once.
        filter: what they must keep to, by the first of the networks.
        sample: how many of them; all if absent.
        method: ``random``, or ``stratified``: equal shares of every range of FLOPs and of memory.
    """

    space: str = "nasbench101"
    max_vertices: Count | None = None
    max_edges: Count | None = None
    operations: tuple[str, ...] | None = None
    table: Path | None = None
    filter: Filter = Filter()
    sample: Count | None = None
    method: Literal["random", "stratified"] = "random"

    @model_validator(mode="after")
    def _is_one_source(self) -> Cells:
        changed = self.max_vertices or self.max_edges or self.operations or self.space != "nasbench101"
        if self.table is not None and changed:
            raise InvalidInputError("give table or a space, not both")
        return self


class DeviceEntry(_Section):
    """A device of the campaign.

    Args:
        uri: as for :func:`~leti_opt.device.open_device.open_device`; ``android:*/cpu`` stands for every phone.
        name: what its columns are called in the result; made from the device's own name if absent.
        resource: the worker resource of a Dask cluster that stands for it, for instance ``pixel-7``: the device hangs
            on those workers that were started with it.
    """

    uri: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,39}$")] | None = None
    resource: Annotated[str, Field(min_length=1)] | None = None


class Execution(_Section):
    """How the work is done.

    Args:
        backend: joblib's backend that builds networks: ``loky``, ``threading``, ``multiprocessing``, ``sequential``.
        builders: processes that build; 0 for as many as there are cores that nobody measures on.
        ahead: networks that are built ahead for each device.
        patience_h: hours that a device may be away before it is left out.
    """

    backend: Literal["loky", "threading", "multiprocessing", "sequential"] = "loky"
    builders: NonNegativeInt = 0
    ahead: Count = 8
    patience_h: PositiveFloat = 24.0


class CampaignDefinition(_Section):
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
    on_event: str | None = None
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
        found = []
        for entry in self.networks:
            settings = dict(entry)
            found.append(NetworkConfig.preset(str(settings.pop("preset", "nasbench101")), **settings))
        return tuple(found)

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
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
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


def _made(kind: type[Made], settings: Mapping[str, Any], section: str) -> Made:
    known = [field.name for field in fields(kind)]
    for name in settings:
        if name not in known:
            raise InvalidInputError(f"unknown setting {section}.{name}; {did_you_mean(name, known)}")
    try:
        return TypeAdapter(kind).validate_python(dict(settings))
    except ValidationError as error:
        faults = [f"{section}.{'.'.join(map(str, fault['loc']))}: {_fault_text(fault)}" for fault in error.errors()]
        raise InvalidInputError("; ".join(faults).replace(f"{section}.: ", f"{section}: ")) from None
    except LetiError as error:
        raise InvalidInputError(f"{section}: {error}") from None


def _fault_text(fault: Any) -> str:
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return f"{fault['msg']} (given: {fault['input']!r})"
