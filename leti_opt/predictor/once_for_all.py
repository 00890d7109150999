"""Vectors of once-for-all's subnets (Cai et al., 2020; MobileNetV3), in the form of its code and of HELP's latencies.

A subnet's settings are ``ks`` and ``e``, kernel size and expansion ratio of 20 layers, four for each of five stages;
``d``, how many layers of each stage are there; and ``r``, the resolution of the square input. Layers of a stage beyond
its depth are not built, so what is set for them means nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.predictor.vectors import Vectors, beside

KERNEL_SIZES, EXPANSIONS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
STAGES, LARGEST_DEPTH = 5, 4
_LAYERS = STAGES * LARGEST_DEPTH
_USUAL_RESOLUTION = 224
_KINDS = tuple(f"k{kernel}_e{expansion}" for kernel in KERNEL_SIZES for expansion in EXPANSIONS)

Ints = NDArray[np.int64]


def once_for_all_vectors(settings: Sequence[Mapping[str, Any] | str], resolution: int = _USUAL_RESOLUTION) -> Vectors:
    """What is executed, once as it is and once by how many pixels it works on.

    What a layer costs is a constant where its launch takes longer than its work, and goes with the pixels where the
    work does; so each feature of a layer is there both ways, as ``layer/…`` and ``layer_pixels/…``. Likewise
    ``total…``, how many layers there are of each kind, and ``depth…``, how many of each stage. ``work/…`` sums up what
    a stage's pointwise and depthwise convolutions multiply, but for factors that the stage's widths make.

    Args:
        settings: one mapping a subnet, or the same as JSON.
        resolution: of subnets whose settings have no ``r``.

    Raises:
        InvalidInputError: settings lack a part, or have a value that no subnet has.

    >>> vectors = once_for_all_vectors([{"ks": [3] * 20, "e": [6] * 20, "d": [2, 2, 2, 2, 3], "r": 112}])
    >>> [float(vectors.values[0, vectors.names.index(name)]) for name in ("total/k3_e6", "total_pixels/k3_e6")]
    [11.0, 2.75]
    """
    if not len(settings):
        raise InvalidInputError("no subnet was handed in; hand in one at least")
    parsed = [_parsed(own, row) for row, own in enumerate(settings)]
    depths = _column(parsed, "d", STAGES, DEPTHS)
    kernels, expansions = _column(parsed, "ks", _LAYERS, KERNEL_SIZES), _column(parsed, "e", _LAYERS, EXPANSIONS)
    sides = _resolutions(parsed, resolution)[:, np.newaxis] / _USUAL_RESOLUTION
    there = (np.arange(LARGEST_DEPTH) < depths[:, :, np.newaxis]).reshape(len(parsed), _LAYERS)
    kind = np.searchsorted(KERNEL_SIZES, kernels) * len(EXPANSIONS) + np.searchsorted(EXPANSIONS, expansions)
    present = (kind[:, :, np.newaxis] == np.arange(len(_KINDS))) & there[:, :, np.newaxis]
    layers = [f"{layer}={name}" for layer in range(_LAYERS) for name in _KINDS]
    stages = tuple(f"stage_{stage}" for stage in range(STAGES))
    parts = []
    for suffix, factor in (("", np.ones_like(sides)), ("_pixels", sides**2)):
        parts += [
            Vectors.group(f"layer{suffix}", layers, present.reshape(len(parsed), -1) * factor),
            Vectors.group(f"total{suffix}", _KINDS, present.sum(axis=1) * factor),
            Vectors.group(f"depth{suffix}", stages, depths * factor),
        ]
    pointwise = _by_stage(expansions * there) * sides**2
    depthwise = _by_stage(expansions * kernels**2 * there) * sides**2
    works = [f"{work}_{stage}" for work in ("pointwise", "depthwise") for stage in range(STAGES)]
    return beside(
        *parts,
        Vectors.group("work", works, np.hstack([pointwise, depthwise])),
        Vectors.group("resolution", ("side", "pixels"), np.hstack([sides, sides**2])),
    )


def _by_stage(values: Ints) -> Ints:
    return np.asarray(values.reshape(len(values), STAGES, LARGEST_DEPTH).sum(axis=2))


def _parsed(settings: Mapping[str, Any] | str, row: int) -> Mapping[str, Any]:
    try:
        found = json.loads(settings) if isinstance(settings, str) else settings
    except ValueError as error:
        raise InvalidInputError(f"the settings of subnet {row} are no JSON: {error}") from error
    missing = [name for name in ("ks", "e", "d") if not isinstance(found, Mapping) or name not in found]
    if missing:
        raise InvalidInputError(f"the settings of subnet {row} lack {', '.join(missing)}; give ks, e, d and r")
    return found


def _column(parsed: Sequence[Mapping[str, Any]], name: str, length: int, possible: Sequence[int]) -> Ints:
    for row, own in enumerate(parsed):
        values = own[name]
        if not isinstance(values, Sequence | np.ndarray) or len(values) != length:
            raise InvalidInputError(f"{name} of subnet {row} is {values!r}; give {length} numbers")
        wrong = next((value for value in values if value not in possible), None)
        if wrong is not None:
            raise InvalidInputError(
                f"{name} of subnet {row} has {wrong!r}; it is one of {', '.join(map(str, possible))}"
            )
    return np.array([own[name] for own in parsed], dtype=np.int64)


def _resolutions(parsed: Sequence[Mapping[str, Any]], usual: int) -> NDArray[np.float64]:
    found = [own.get("r", usual) for own in parsed]
    for row, side in enumerate(found):
        if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 1:
            raise InvalidInputError(f"r of subnet {row} is {side!r}; give the input's side in pixels")
    return np.array(found, dtype=np.float64)
