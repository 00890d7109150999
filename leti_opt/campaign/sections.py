"""The sections of a campaign's definition: which cells, which devices, how the work is done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeFloat, PositiveFloat, model_validator

from leti_opt.errors import InvalidInputError
from leti_opt.network.limits import Limits, quantity


def _quantity(value: Any) -> Any:
    return quantity(value) if isinstance(value, str) else value


Quantity = Annotated[NonNegativeFloat, Field(allow_inf_nan=False), BeforeValidator(_quantity)]
Count = Annotated[int, Field(strict=True, gt=0)]
"""A whole number of 1 or more; neither a text nor a yes is taken for one."""


class Section(BaseModel):
    """Settings that belong together; one that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Filter(Section):
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


class Cells(Section):
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


class DeviceEntry(Section):
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


class Execution(Section):
    """How the work is done.

    Args:
        backend: joblib's backend that builds networks: ``loky``, ``threading``, ``multiprocessing``, ``sequential``.
        builders: processes that build; 0 for as many as there are cores that nobody measures on.
        ahead: networks that are built ahead for each device.
        patience_h: hours that a device may be away before it is left out.
    """

    backend: Literal["loky", "threading", "multiprocessing", "sequential"] = "loky"
    builders: Annotated[int, Field(strict=True, ge=0)] = 0
    ahead: Count = 8
    patience_h: PositiveFloat = 24.0
