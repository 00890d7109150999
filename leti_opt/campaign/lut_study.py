"""The study of lookup tables: networks measured whole, and as sums of their layers and kernels measured alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leti_opt.campaign.lut_result import (
    DirectFigure,
    LutFigure,
    LutResult,
    ModelResult,
    direct_of,
    figure_of,
    residual_case,
    residual_figure,
)
from leti_opt.campaign.lut_service import study_service, table_origin
from leti_opt.campaign.lut_work import LutStep as LutStep
from leti_opt.campaign.lut_work import LutWork
from leti_opt.campaign.piece_study import PieceStudy
from leti_opt.device.device import Device
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import InvalidInputError
from leti_opt.objective.canary import CanarySettings
from leti_opt.predictor.lut import LatencyTable
from leti_opt.predictor.lut_pieces import GRANULARITIES, Cuttable, Cutting, Granularity, cutting_of
from leti_opt.predictor.lut_residual import Residual, ResidualCase, fit_residual
from leti_opt.predictor.lut_sum import PieceSum, TableEntry, add_up
from leti_opt.store.latency_store import LatencyStore


@dataclass(frozen=True)
class LutPlan:
    """What a study will do.

    Args:
        pieces: how many the networks fall into, by what they are cut into.
        distinct: how many of these differ.
        networks: how many are measured whole.
        stored: how many measurements the store has already.
        to_measure: how many are left; those that turn out to hold no operators need none.
        refused: networks that cannot be cut so, with the reason.
    """

    pieces: Mapping[str, int]
    distinct: Mapping[str, int]
    networks: int
    stored: int
    to_measure: int
    refused: Mapping[str, str]


class LutStudy(PieceStudy):
    """Measures networks whole and in pieces, and says how far the sum of the pieces is from the whole (LETI paper).

    Equal pieces are measured once, whatever network they are in. Everything is in the store at once: killed and
    started again, the study measures only what the store lacks. Close it, or use it as a context manager.

    Args:
        models: networks by name: Keras models, :class:`~leti_opt.network.layer_graph.LayerGraph`, paths of ``.tflite``
            files or their content.
        device: URI of a device that runs files, or an open one.
        store: path or URL of the store, or an open one.
        granularity: any of ``layer`` (each layer of the Keras model is a file of its own), ``kernel`` (each operator of
            the converted file) and ``residual`` (kernels, and a constant for each kernel and each transfer, fitted on
            the *other* networks of the study).
        protocol: when a measurement holds. By default the device's number of runs; where it can time several runs as
            one, those of less than a millisecond are timed so.
        precision: that Keras models are converted to.
        canary: how the device is watched.
        seed: of the order in which is measured.

    Raises:
        InvalidInputError: no networks, an unknown granularity, or a device that runs no files.

    >>> from leti_opt import Architecture, NetworkConfig, build_layer_graph
    >>> graph = build_layer_graph(Architecture.parse("0-1,1-2:maxpool3x3"), NetworkConfig(scope="cell", filters=8))
    >>> with LutStudy({"pool": graph}, "host-cpu", ":memory:", ["kernel"], MeasurementProtocol(min_runs=2)) as study:
    ...     found = study.run()
    >>> found.models[0].sums[0].pieces, found.models[0].direct.latency_ms > 0
    (2, True)
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        device: str | Device = "host-cpu",
        store: str | Path | LatencyStore = "latency.db",
        granularity: Sequence[str] = GRANULARITIES,
        protocol: MeasurementProtocol | None = None,
        *,
        precision: str = "float32",
        canary: CanarySettings | None = None,
        seed: int = 0,
    ) -> None:
        if not models:
            raise InvalidInputError("a study needs a network; give at least one")
        if not granularity:
            raise InvalidInputError(f"a study needs a granularity; choose from {', '.join(GRANULARITIES)}")
        wanted: dict[Any, Cutting] = {each: cutting_of(each) for each in granularity}
        self.granularity: tuple[Granularity, ...] = tuple(wanted)
        self.precision = precision
        self.networks = [Cuttable(model, name, precision) for name, model in models.items()]
        self._cuttings: tuple[Cutting, ...] = tuple(dict.fromkeys(wanted.values()))
        service = study_service(device, store, protocol, canary)
        super().__init__(service, LutWork(self.networks, self._cuttings, service), seed)

    def plan(self) -> LutPlan:
        """Cut the networks, which converts them, and look what the store holds of the pieces. Nothing is measured.

        Raises:
            InvalidModelError: a network cannot be converted.
            StoreError: the store cannot be read.
        """
        stored, left = self._counts()
        pieces = {cutting: self._work.pieces(cutting) for cutting in self._cuttings}
        return LutPlan(
            {cutting: len(found) for cutting, found in pieces.items()},
            {cutting: len({piece.key for piece in found}) for cutting, found in pieces.items()},
            len(self.networks),
            stored,
            left,
            {f"{name}, {cutting}": reason for (name, cutting), reason in self._work.refused.items()},
        )

    def run(self, on_step: Callable[[LutStep], None] | None = None, retry_unstable: bool = False) -> LutResult:
        """Measure what the store lacks, in a shuffled order, and say what came of it.

        Args:
            on_step: told of each measurement.
            retry_unstable: measure once more what the store holds as unstable.

        Raises:
            DeviceError: the device is gone; everything measured so far is kept.
            StoreError: the store cannot be written.
            InvalidModelError: a network cannot be converted.
        """
        self._work.measure_all(self._seed, on_step, retry_unstable)
        return self.result()

    def result(self) -> LutResult:
        """What is known by now, from the store alone.

        Raises:
            NotFoundError: something is not measured yet.
        """
        entries = self._work.entries()
        directs = {network.name: direct_of(self._work.answer(network.whole)) for network in self.networks}
        sums = {
            (network.name, cutting): add_up(network.pieces(cutting).all, entries)
            for network in self.networks
            for cutting in self._cuttings
            if (network.name, cutting) not in self._work.refused
        }
        cases = self._cases(directs, sums)
        identity = self.service.identity
        models = tuple(
            ModelResult(
                network.name,
                directs[network.name],
                tuple(self._figure(network.name, each, directs, sums, cases) for each in self.granularity),
                {
                    cutting: sums[network.name, cutting].times
                    for cutting in self._cuttings
                    if (network.name, cutting) in sums
                },
            )
            for network in self.networks
        )
        return LutResult(identity.name, self.service.device.uri, identity.origin, self.precision, models)

    def table(self, granularity: str) -> LatencyTable:
        """The measured pieces as a table that predicts other networks; with ``residual``, fitted on all networks.

        Raises:
            InvalidInputError: the study was not asked for this granularity, or has too few networks for a residual.
            NotFoundError: something is not measured yet.
        """
        cutting = cutting_of(granularity)
        if cutting not in self._cuttings:
            raise InvalidInputError(f"the study has no {cutting}s; ask for the granularity {granularity} in it")
        every = self._work.entries()
        keys = dict.fromkeys(piece.key for piece in self._work.pieces(cutting) if not piece.refusal)
        residual = self._residual(every) if granularity == "residual" else None
        chosen: Granularity = next(each for each in GRANULARITIES if each == granularity)
        return LatencyTable([every[key] for key in keys], chosen, self.precision, table_origin(self.service), residual)

    def _residual(self, entries: Mapping[str, TableEntry]) -> Residual:
        directs = {network.name: direct_of(self._work.answer(network.whole)) for network in self.networks}
        sums = {
            (network.name, "kernel"): add_up(network.kernels.all, entries)
            for network in self.networks
            if (network.name, "kernel") not in self._work.refused
        }
        return fit_residual(list(self._cases(directs, sums).values()))

    def _cases(
        self, directs: Mapping[str, DirectFigure], sums: Mapping[tuple[str, Any], PieceSum]
    ) -> dict[str, ResidualCase]:
        found = {
            network.name: residual_case(
                network.name, directs[network.name], sums[network.name, "kernel"], network.kernels
            )
            for network in self.networks
            if (network.name, "kernel") in sums
        }
        return {name: case for name, case in found.items() if case is not None}

    def _figure(
        self,
        name: str,
        granularity: Granularity,
        directs: Mapping[str, DirectFigure],
        sums: Mapping[tuple[str, Any], PieceSum],
        cases: Mapping[str, ResidualCase],
    ) -> LutFigure:
        cutting = cutting_of(granularity)
        if (name, cutting) in self._work.refused:
            return LutFigure(granularity, reason=self._work.refused[name, cutting])
        figure = figure_of(granularity, sums[name, cutting], directs[name])
        if granularity != "residual":
            return figure
        return residual_figure(figure, cases.get(name), list(cases.values()))
