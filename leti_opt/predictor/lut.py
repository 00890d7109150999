"""A lookup table of measured pieces: the latency of a network that nobody measured, as the sum of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leti_opt.errors import InvalidInputError
from leti_opt.network.tflite_converter import check_precision
from leti_opt.predictor.lut_pieces import Cuttable, Granularity, Piece, cutting_of
from leti_opt.predictor.lut_residual import Residual
from leti_opt.predictor.lut_sum import PieceTimes, TableEntry, add_up
from leti_opt.version import source_commit, version


@dataclass(frozen=True)
class TableOrigin:
    """Where a table's figures come from.

    Args:
        device: what measured them, in words.
        device_digest: digest of its identity.
        identity: every part of that identity by name, as text.
        epoch: its system build, driver and unit.
        protocol: when a measurement held, by the protocol's names.
        converter: what made files of layers, with versions.
        measured: ``measured``, or what the device does in place of it.
        tool: version of leti_opt that wrote it.
        commit: its commit, where it ran from a checkout.
        created_at: when, in UTC.
    """

    device: str = ""
    device_digest: str = ""
    identity: Mapping[str, str] = field(default_factory=dict)
    epoch: Mapping[str, str] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    converter: str = ""
    measured: str = "measured"
    tool: str = field(default_factory=version)
    commit: str | None = field(default_factory=source_commit)
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True)
class TablePrediction:
    """What a table says of a network; times in milliseconds.

    Args:
        name: of the network.
        granularity: of the table.
        latency_ms: the sum of its pieces; None where an entry is missing.
        partial_ms: the sum of those that are there, without the residual.
        std_ms: spread of one run, if the pieces vary independently; None where an entry has none. The uncertainty of a
            residual's constants is not in it.
        mean_error_ms: half the width of the sum's 95 % interval, from the entries' own intervals.
        pieces: how many the network falls into.
        missing: those that the table has no figure of, equal ones together, with the reason.
        unstable: those whose figure is provisional; they are in the sum.
        free: those that convert to no operators.
        times: all, in the order of execution, equal ones together.
    """

    name: str
    granularity: Granularity
    latency_ms: float | None
    partial_ms: float
    std_ms: float | None
    mean_error_ms: float | None
    pieces: int
    missing: tuple[PieceTimes, ...]
    unstable: tuple[PieceTimes, ...]
    free: tuple[PieceTimes, ...]
    times: tuple[PieceTimes, ...]


class LatencyTable:
    """Measured pieces of networks on one device, that add up to networks which it has never seen.

    Args:
        entries: one for each piece.
        granularity: ``layer``, ``kernel``, or ``residual``: kernels with two constants more.
        precision: of the pieces.
        origin: where the figures come from.
        residual: the constants; with ``residual`` only.

    Raises:
        InvalidInputError: unknown granularity or precision, a key twice, or a residual where none belongs.

    >>> from leti_opt import Architecture, NetworkConfig, build_layer_graph
    >>> graph = build_layer_graph(Architecture.parse("0-1,1-2:maxpool3x3"), NetworkConfig(scope="cell", filters=8))
    >>> pieces = Cuttable(graph).kernels.all
    >>> table = LatencyTable([TableEntry(pieces[0].key, "CONV_2D", "", latency_ms=2.0, std_ms=0.1)], "kernel")
    >>> found = table.predict(graph)
    >>> found.latency_ms, found.partial_ms, [times.operation for times in found.missing]
    (None, 2.0, ['MAX_POOL_2D'])
    """

    def __init__(
        self,
        entries: Sequence[TableEntry],
        granularity: Granularity,
        precision: str = "float32",
        origin: TableOrigin | None = None,
        residual: Residual | None = None,
    ) -> None:
        cutting_of(granularity)
        check_precision(precision)
        if (residual is not None) != (granularity == "residual"):
            raise InvalidInputError("a table of granularity residual has a residual, and no other table has one")
        self.entries: Mapping[str, TableEntry] = {entry.key: entry for entry in entries}
        if len(self.entries) < len(entries):
            raise InvalidInputError(
                f"{len(entries) - len(self.entries)} entries of a table have the key of another one"
            )
        self.granularity: Granularity = granularity
        self.precision = precision
        self.origin = origin or TableOrigin()
        self.residual = residual

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LatencyTable) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<LatencyTable: {len(self)} {self.granularity} entries of {self.origin.device or 'no device'}>"

    def predict(self, model: Any, name: str = "network") -> TablePrediction:
        """The latency of a network; nothing is measured.

        Args:
            model: a Keras model or a :class:`~leti_opt.network.layer_graph.LayerGraph`; for a table of kernels also the
                path of a ``.tflite`` file or its content.
            name: what people call it.

        Raises:
            InvalidModelError: it cannot be cut into what the table holds.
        """
        network = model if isinstance(model, Cuttable) else Cuttable(model, name, self.precision)
        pieces = network.pieces(cutting_of(self.granularity))
        found = add_up(pieces.all, self.entries)
        latency_ms = found.latency_ms
        if latency_ms is not None and self.residual is not None:
            latency_ms = self.residual.corrected(latency_ms, len(pieces.all), pieces.transfers)
        return TablePrediction(
            network.name,
            self.granularity,
            latency_ms,
            found.partial_ms,
            found.spread_ms,
            found.mean_error_ms,
            found.pieces,
            found.missing,
            found.unstable,
            found.free,
            found.times,
        )

    def lacking(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Pieces without an entry, each once, in their order."""
        return list({piece.key: piece for piece in pieces if piece.key not in self.entries}.values())

    def save(self, path: Path | str) -> Path:
        """Write the table as Parquet, with all that it says of itself in the file's metadata.

        Raises:
            InvalidInputError: the name does not end with ``.parquet``.
            TableFileError: it cannot be written.
        """
        from leti_opt.predictor.lut_file import write_lut

        return write_lut(self, Path(path))

    @classmethod
    def load(cls, path: Path | str) -> LatencyTable:
        """Read a table that :meth:`save` wrote.

        Raises:
            TableFileError: there is no such file, it is no such table, damaged, or of a newer version.
        """
        from leti_opt.predictor.lut_file import read_lut

        return read_lut(Path(path))
