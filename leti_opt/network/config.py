"""The "config dict": how architectures become networks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError, model_validator

from leti_opt.errors import InvalidConfigError, did_you_mean
from leti_opt.network.operations import Operation, operation_table

_LAYOUT_VERSION = 1
"""Counts changes in how a config is laid out, so that old digests do not answer for new networks."""

PRESETS = ("nasbench101", "nasbench201", "small")
"""Names that :meth:`NetworkConfig.preset` takes."""

Shape = tuple[PositiveInt, PositiveInt, PositiveInt]


class NetworkConfig(BaseModel):
    """Skeleton, wiring, sizes and precision of the networks that cells are put into.

    The default is the network of NAS-Bench-101 (Ying et al., 2019): 32x32x3 images, a stem of 128 filters, three
    stacks of three cells, half the image and twice the channels from stack to stack.

    Args:
        scope: ``"stacked"``, the whole network, or ``"cell"``, one cell alone.
        input_shape: height, width, channels of one image; None for 32x32x3, or for a cell alone 32x32 with
            ``filters`` channels.
        batch_size: images per run.
        classes: outputs of the final dense layer.
        filters: channels of the stem and of the first stack.
        stacks, cells_per_stack: how many.
        stem: operation before the first stack.
        head: operation before the global pooling, or None.
        cell_output: whether a cell's output concatenates the vertices that feed it (their channels share its own)
            or sums them (every vertex has all of them).
        projection: operation that edges from a cell's input pass, or None.
        reduction: between stacks, ``"max_pool"`` (2x2; the next cells' projections double the channels) or
            ``"residual"`` (NAS-Bench-201's block, which does it itself).
        chained_adds: sums of more than two as chains of two (phones' GPUs refuse more at once).
        precision: of the TFLite file: ``float32``, ``float16`` (weights), ``dynamic`` (int8 weights) or ``int8``.
        operations: operations of the user's own, beside the built-in ones.

    Raises:
        InvalidConfigError: the message names each field at fault.

    >>> NetworkConfig.nasbench101(filters=16).filters
    16
    >>> NetworkConfig(scope="cell").input_shape
    (32, 32, 128)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scope: Literal["cell", "stacked"] = "stacked"
    input_shape: Shape = (0, 0, 0)
    batch_size: PositiveInt = 1
    classes: PositiveInt = 10
    filters: PositiveInt = 128
    stacks: PositiveInt = 3
    cells_per_stack: PositiveInt = 3
    stem: str = "conv3x3-bn-relu"
    head: str | None = None
    cell_output: Literal["concatenate", "sum"] = "concatenate"
    projection: str | None = "conv1x1-bn-relu"
    reduction: Literal["max_pool", "residual"] = "max_pool"
    chained_adds: bool = True
    precision: Literal["float32", "float16", "dynamic", "int8"] = "float32"
    operations: tuple[Operation, ...] = ()

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise InvalidConfigError(_explain(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _default_input_shape(cls, settings: Any) -> Any:
        if not isinstance(settings, dict) or settings.get("input_shape") is not None:
            return settings
        alone = settings.get("scope") == "cell"
        channels = settings.get("filters", cls.model_fields["filters"].default) if alone else 3
        return {**settings, "input_shape": (32, 32, channels)}

    @model_validator(mode="after")
    def _fits_together(self) -> NetworkConfig:
        table = operation_table(self.operations)
        for role in ("stem", "head", "projection"):
            label = getattr(self, role)
            if label is not None and label not in table:
                raise InvalidConfigError(f"{role} is the unknown operation {label!r}; {did_you_mean(label, table)}")
        if self.projection is None and self.cell_output == "concatenate":
            raise InvalidConfigError("cell_output='concatenate' needs a projection, not None")
        if self.projection is None and self.scope == "cell" and self.input_shape[2] != self.filters:
            raise InvalidConfigError(
                f"without a projection the input's {self.input_shape[2]} channels must equal filters={self.filters}"
            )
        if self.projection is None and self.reduction == "max_pool" and self.stacks > 1:
            raise InvalidConfigError(
                "reduction='max_pool' needs a projection to double the channels; use reduction='residual'"
            )
        return self

    @classmethod
    def nasbench101(cls, **changes: Any) -> NetworkConfig:
        """The network of NAS-Bench-101, with changes as keyword arguments."""
        return cls(**changes)

    @classmethod
    def nasbench201(cls, **changes: Any) -> NetworkConfig:
        """The network of NAS-Bench-201 (Dong and Yang, 2020): three stacks of five cells, 16 to 64 channels."""
        settings: dict[str, Any] = {
            "filters": 16,
            "cells_per_stack": 5,
            "stem": "conv3x3-bn",
            "head": "bn-relu",
            "cell_output": "sum",
            "projection": None,
            "reduction": "residual",
        }
        return cls(**{**settings, **changes})

    @classmethod
    def small(cls, **changes: Any) -> NetworkConfig:
        """NAS-Bench-101's network made small, for demonstrations and tests: two stacks of one cell, 32 filters."""
        return cls(**{"filters": 32, "stacks": 2, "cells_per_stack": 1, **changes})

    @classmethod
    def preset(cls, name: str, **changes: Any) -> NetworkConfig:
        """A preset by its name, with changes as keyword arguments.

        Raises:
            InvalidConfigError: there is no such preset.

        >>> NetworkConfig.preset("small", filters=8).filters
        8
        """
        if name not in PRESETS:
            raise InvalidConfigError(f"unknown network {name!r}; {did_you_mean(name, PRESETS)}")
        make: Callable[..., NetworkConfig] = getattr(cls, name)
        return make(**changes)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Every field as JSON has it; ``NetworkConfig(**settings)`` makes an equal config."""
        return self.model_dump(mode="json")

    @cached_property
    def digest(self) -> str:
        """Hexadecimal SHA-256 of every field."""
        data = {"layout": _LAYOUT_VERSION, **self.settings}
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    @cached_property
    def operation_table(self) -> dict[str, Operation]:
        """Every operation that a cell may use, by label."""
        return operation_table(self.operations)

    def changed(self, **changes: Any) -> NetworkConfig:
        """A copy with some fields changed, validated anew. An input shape that was the default follows the change."""
        current = {name: getattr(self, name) for name in type(self).model_fields}
        if self.input_shape == (32, 32, self.filters if self.scope == "cell" else 3):
            del current["input_shape"]
        return type(self)(**{**current, **changes})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> NetworkConfig:  # noqa: ARG002
        """Pydantic's way to a changed copy: the same as :meth:`changed`, since digests are kept."""
        return self.changed(**(update or {}))


def _explain(error: ValidationError) -> str:
    lines = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"unknown setting {name!r}; {did_you_mean(name, NetworkConfig.model_fields)}")
        elif fault["type"] == "value_error":
            lines.append(str(fault["ctx"]["error"]))
        else:
            lines.append(f"{name}: {fault['msg']} (given: {fault['input']!r})")
    return "network config: " + "; ".join(lines)
