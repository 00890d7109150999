"""The study of a space's blocks: every layer or kernel that its cells' networks consist of, measured once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from leti_opt.campaign.lut_service import study_service, table_origin
from leti_opt.campaign.lut_work import LutStep, LutWork
from leti_opt.campaign.piece_study import PieceStudy
from leti_opt.device.device import Device
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.canary import CanarySettings
from leti_opt.predictor.cells import Cells, table_of
from leti_opt.predictor.lut import LatencyTable
from leti_opt.predictor.lut_cells import CellPieces
from leti_opt.predictor.lut_pieces import Cutting, Piece, Pieces
from leti_opt.store.latency_store import LatencyStore


@dataclass(frozen=True)
class BlockPlan:
    """What a study of blocks will do.

    Args:
        cells: how many it is about.
        pieces: how many different layers or kernels their networks consist of.
        stored: how many measurements the store has already.
        to_measure: how many are left; those that turn out to hold no operators need none.
        refused: pieces that cannot stand alone, with the reason.
    """

    cells: int
    pieces: int
    stored: int
    to_measure: int
    refused: tuple[str, ...]


class _SpaceBlocks:
    """The pieces of many networks, as one thing to be measured; none of the networks is measured whole."""

    whole = None

    def __init__(self, cells: Cells, network: NetworkConfig, cutting: Cutting) -> None:
        self.name = "cells"
        self.cells = table_of(cells)
        self._pieces = CellPieces(network, cutting)

    @cached_property
    def all(self) -> tuple[Piece, ...]:
        return self._pieces.count(self.cells).pieces

    def pieces(self, cutting: Cutting) -> Pieces:  # noqa: ARG002
        return Pieces(self.all, 0)


class BlockStudy(PieceStudy):
    """Measures what cells' networks consist of, so that a table predicts every one of them.

    Equal pieces are measured once, and hundreds of thousands of cells share some hundred. Everything is in the store at
    once: killed and started again, the study measures only what the store lacks. Close it, or use it as a context
    manager.

    Args:
        cells: for instance a whole space.
        network: how they become networks.
        device: URI of a device that runs files, or an open one.
        store: path or URL of the store, or an open one.
        granularity: ``kernel`` (operators of the files) or ``layer`` (layers of the Keras models).
        protocol: when a measurement holds. By default the device's number of runs; where it can time several runs as
            one, those of less than a millisecond are timed so.
        canary: how the device is watched.
        seed: of the order in which is measured.

    Raises:
        InvalidInputError: no cells, an unknown granularity, kernels that are not known without writing each file, or a
            device that runs no files.

    >>> from leti_opt import Architecture
    >>> cells, network = [Architecture.parse("0-1,1-2:maxpool3x3")], NetworkConfig(scope="cell", filters=8)
    >>> with BlockStudy(cells, network, "host-cpu", ":memory:", protocol=MeasurementProtocol(min_runs=2)) as study:
    ...     table = study.run()
    >>> sorted(entry.operation for entry in table.entries.values())
    ['CONV_2D', 'MAX_POOL_2D']
    """

    def __init__(
        self,
        cells: Cells,
        network: NetworkConfig,
        device: str | Device = "host-cpu",
        store: str | Path | LatencyStore = "latency.db",
        granularity: Literal["layer", "kernel"] = "kernel",
        protocol: MeasurementProtocol | None = None,
        *,
        canary: CanarySettings | None = None,
        seed: int = 0,
    ) -> None:
        if granularity not in get_args(Cutting):
            raise InvalidInputError(
                f"a table of blocks is of granularity layer or kernel, not {granularity!r}; "
                f"{did_you_mean(granularity, get_args(Cutting))}"
            )
        self.granularity: Cutting = granularity
        self.network = network
        self._blocks = _SpaceBlocks(cells, network, granularity)
        service = study_service(device, store, protocol, canary)
        super().__init__(service, LutWork([self._blocks], [granularity], service), seed)

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """Every piece, once.

        Raises:
            InvalidConfigError: the config does not fit a cell.
            UnknownOperationError: an operation that the config does not know.
        """
        return self._blocks.all

    def plan(self) -> BlockPlan:
        """Find the pieces, and look what the store holds of them. Nothing is measured.

        Raises:
            as :attr:`pieces`.
            StoreError: the store cannot be read.
        """
        stored, left = self._counts()
        refused = tuple(
            f"{piece.operation} {piece.description}: {piece.refusal}" for piece in self.pieces if piece.refusal
        )
        return BlockPlan(len(self._blocks.cells), len(self.pieces), stored, left, refused)

    def run(self, on_step: Callable[[LutStep], None] | None = None, retry_unstable: bool = False) -> LatencyTable:
        """Measure what the store lacks, in a shuffled order, and give the table.

        Args:
            on_step: told of each measurement.
            retry_unstable: measure once more what the store holds as unstable.

        Raises:
            DeviceError: the device is gone; everything measured so far is kept.
            StoreError: the store cannot be written.
        """
        self._work.measure_all(self._seed, on_step, retry_unstable)
        return self.table()

    def table(self) -> LatencyTable:
        """The measured pieces, from the store alone.

        Raises:
            NotFoundError: one is not measured yet.
        """
        entries = list(self._work.entries().values())
        return LatencyTable(entries, self.granularity, self.network.precision, table_origin(self.service))
