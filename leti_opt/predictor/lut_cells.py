"""The pieces of cells' networks: which a table of pieces must hold, and how often each network has each."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.network.layer_graph import LayerKind
from leti_opt.network.table_blocks import BlockCounts, Counts, NetworkBlock, count_layers, count_operators
from leti_opt.network.table_layers import StepKind
from leti_opt.network.tflite_writer import WRITABLE_PRECISIONS
from leti_opt.predictor.cells import Cells, table_of
from leti_opt.predictor.lut_pieces import Cuttable, Cutting, Piece, cutting_of
from leti_opt.predictor.networks import Network, graphs_of


@dataclass(frozen=True, eq=False)
class PieceCounts:
    """What cells' networks consist of.

    Args:
        pieces: every one that occurs, once.
        counts: how often each cell's network has each, ``(cells, pieces)``.
        transfers: how often a piece of each network reads what another one wrote.
    """

    pieces: tuple[Piece, ...]
    counts: Counts
    transfers: NDArray[np.int64]


class CellPieces:
    """Cuts the networks of many cells without building them; what is cut once is remembered.

    Equal to :class:`~leti_opt.predictor.lut_pieces.Cuttable` over each cell's network, and thousands of times faster:
    every different block of the networks is built and cut alone, once.

    Args:
        network: how cells become networks.
        cutting: layers or kernels.

    Raises:
        InvalidInputError: kernels of a file that TensorFlow's converter writes: only the direct writer's are known
            without writing it.

    >>> from leti_opt import Architecture
    >>> cells = [Architecture.parse(f"0-1,1-2:{name}") for name in ("maxpool3x3", "conv1x1-bn-relu")]
    >>> found = CellPieces(NetworkConfig(scope="cell", filters=8), "kernel").count(cells)
    >>> [piece.operation for piece in found.pieces], found.counts.tolist(), found.transfers.tolist()
    (['CONV_2D', 'MAX_POOL_2D'], [[1, 1], [2, 0]], [1, 1])
    """

    def __init__(self, network: NetworkConfig, cutting: Cutting) -> None:
        self.network = network
        self.cutting = cutting_of(cutting)
        self._known: dict[NetworkBlock, tuple[Piece, ...]] = {}
        if self.cutting == "layer":
            return
        if network.precision not in WRITABLE_PRECISIONS:
            raise InvalidInputError(
                f"kernels of {network.precision} files are TensorFlow's converter's, and known only once each file is "
                f"written; use a precision of {', '.join(WRITABLE_PRECISIONS)}, or the granularity layer"
            )
        if network.precision == "int8" and not network.chained_adds:
            raise InvalidInputError(
                "int8 files convert what sums of more than two read, and share these conversions, so their kernels are "
                "known only once each file is written; use chained_adds=True, or the granularity layer"
            )

    def count(self, cells: Cells) -> PieceCounts:
        """How often each cell's network has each piece.

        Raises:
            InvalidConfigError: the config does not fit a cell.
            UnknownOperationError: an operation that the config does not know.
        """
        found = self._counted(table_of(cells))
        pieces: dict[str, Piece] = {}
        for block in found.blocks:
            pieces.update({piece.key: pieces.get(piece.key, piece) for piece in self.of(block)})
        columns = {key: column for column, key in enumerate(pieces)}
        counts = np.zeros((len(found.counts), len(pieces)), dtype=np.uint16)
        for block, numbers in zip(found.blocks, found.counts.T, strict=True):
            for piece in self.of(block):
                counts[:, columns[piece.key]] += numbers
        return PieceCounts(tuple(pieces.values()), counts, self._transfers(found))

    def count_networks(self, networks: Sequence[Network]) -> PieceCounts:
        """The same of networks that no cell describes; each is cut by itself.

        Raises:
            InvalidInputError: there is none, it is no network, of another precision, or a graph that was read from a
                file (hand in the file).
            InvalidModelError: a file cannot be read, or holds no layers.
        """
        graphs_of(networks, self.network.precision)
        cut = [Cuttable(network, "network", self.network.precision).pieces(self.cutting) for network in networks]
        pieces = {piece.key: piece for found in cut for piece in found.all}
        counted = [Counter(piece.key for piece in found.all) for found in cut]
        counts = np.array([[each[key] for key in pieces] for each in counted], dtype=np.uint16)
        return PieceCounts(tuple(pieces.values()), counts, np.array([found.transfers for found in cut]))

    def of(self, block: NetworkBlock) -> tuple[Piece, ...]:
        """The pieces that a block is: one, or two for a batch norm that no convolution takes in."""
        if block not in self._known:
            alone = Cuttable(block.alone(self.network), "block", self.network.precision)
            before = 0 if len(block.reads) == 1 else block.sources
            self._known[block] = alone.pieces(self.cutting).all[before:]
        return self._known[block]

    def _counted(self, table: ArchitectureTable) -> BlockCounts:
        count = count_layers if self.cutting == "layer" else count_operators
        return count(table, self.network)

    def _transfers(self, found: BlockCounts) -> NDArray[np.int64]:
        read = np.array([block.sources + len(self.of(block)) - 1 for block in found.blocks], dtype=np.int64)
        total: NDArray[np.int64] = found.counts @ read
        # Of layers the first reading is taken for the network's input, of kernels each that reads it.
        return total - (1 if self.cutting == "layer" else found.input_reads)

    def as_text(self) -> str:
        """What is remembered, as JSON; :meth:`remember` takes it over, so that nothing needs to be cut again."""
        rows = [[asdict(block), [_plain(piece) for piece in pieces]] for block, pieces in self._known.items()]
        return json.dumps(rows)

    def remember(self, text: str) -> None:
        """Take over what :meth:`as_text` gave; these pieces know their keys and names, and have no models."""
        for block, pieces in json.loads(text):
            step = StepKind(**block["step"] | {"kind": LayerKind(block["step"]["kind"])})
            shapes = {name: tuple(block[name]) for name in ("image", "reads", "same")}
            self._known[NetworkBlock(**block | shapes | {"step": step})] = tuple(Piece(*piece) for piece in pieces)


def pieces_of(cells: Cells, network: NetworkConfig, granularity: str = "kernel") -> tuple[Piece, ...]:
    """Every piece that the cells' networks consist of, once: what to measure for a table that predicts all of them.

    Args:
        cells: for instance a whole space.
        network: how they become networks.
        granularity: ``layer`` or ``kernel``.

    Raises:
        InvalidInputError: unknown granularity, or kernels that are not known without writing each file.
    """
    return CellPieces(network, cutting_of(granularity)).count(cells).pieces


def in_words(pieces: Iterable[Piece], most: int = 3) -> str:
    """The first few pieces for people.

    >>> in_words([Piece("a", "x", "ADD", "8x8x4"), Piece("b", "y", "RELU", "8x8x4")], 1)
    'ADD 8x8x4 and 1 more'
    """
    told = [f"{piece.operation} {piece.description}".strip() for piece in pieces]
    rest = f" and {len(told) - most} more" if len(told) > most else ""
    return ", ".join(told[:most]) + rest


def _plain(piece: Piece) -> list[str]:
    return [piece.key, piece.name, piece.operation, piece.description, piece.refusal]
