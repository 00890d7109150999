"""Latency as the sum of a network's pieces, each measured alone: a lookup table as a predictor."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError, did_you_mean
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cells import Cells
from leti_opt.predictor.lut import LatencyTable
from leti_opt.predictor.lut_cells import CellPieces, PieceCounts, in_words
from leti_opt.predictor.lut_file import lut_content, lut_of_content
from leti_opt.predictor.lut_pieces import Piece, cutting_of
from leti_opt.predictor.lut_sum import TableEntry
from leti_opt.predictor.networks import Network
from leti_opt.predictor.plain import PlainPredictor
from leti_opt.predictor.row_predictor import Floats
from leti_opt.predictor.sum_regressor import SumRegressor

ResidualKind = Literal["constants", "none"]
Missing = Literal["refuse", "nan"]

_COUNTED = ("lacking", "pieces", "transfers")
_ROWS_AT_ONCE = 20_000
_OF_95_PERCENT = 1.959963984540054
"""Standard deviations in half the width of a 95 % interval."""


class LutPredictor(PlainPredictor):
    """The sum of what a table says of a network's layers or kernels, for whole tables of cells at once.

    A sum is off for reasons of its own (see docs/lut.md), so ``fit`` learns from cells that were measured whole: a
    constant for each piece and one for each transfer between two, and how wide intervals must be. :meth:`of_table`
    goes without such cells; its intervals then know of the table's own errors only, not of what a sum misses.

    Args:
        network: how cells become the networks that the table is for.
        table: what the pieces take. None only where a file brings it.
        residual: what ``fit`` learns: two ``constants``, or ``none``: what the table says, with the constants that it
            brings if its granularity is ``residual``.
        missing: what a cell gets whose pieces are not all in the table: ``refuse`` it, or ``nan``, which
            :class:`~leti_opt.objective.surrogate.SurrogateObjective` takes for *unpredicted*.

    Raises:
        InvalidInputError: the table is of another precision, its kernels are not known without writing each file, or
            a setting is unknown.

    >>> from leti_opt import Architecture
    >>> from leti_opt.predictor.lut_cells import pieces_of
    >>> network = NetworkConfig(scope="cell", filters=8)
    >>> cells = [Architecture.parse(f"0-1,1-2:{name}") for name in ("maxpool3x3", "conv1x1-bn-relu")]
    >>> entries = [TableEntry(piece.key, piece.operation, "", latency_ms=2.0) for piece in pieces_of(cells, network)]
    >>> LutPredictor.of_table(network, LatencyTable(entries, "kernel")).predict(cells).tolist()
    [4.0, 4.0]
    """

    settings = ("residual", "missing")

    def __init__(
        self,
        network: NetworkConfig,
        table: LatencyTable | None = None,
        residual: ResidualKind = "constants",
        missing: Missing = "refuse",
    ) -> None:
        super().__init__(network)
        for given, known in ((residual, get_args(ResidualKind)), (missing, get_args(Missing))):
            if given not in known:
                raise InvalidInputError(f"unknown setting {given!r}; {did_you_mean(str(given), known)}")
        self.table = table
        self.residual = residual
        self.missing = missing
        if table is not None:
            self._check_table(table)

    @classmethod
    def of_table(cls, network: NetworkConfig, table: LatencyTable, missing: Missing = "refuse") -> Self:
        """A predictor that is ready without any network measured whole: it says what the table says.

        Raises:
            InvalidInputError: as the constructor.
        """
        predictor = cls(network, table, "none", missing)
        predictor.scores_ = np.zeros(0)
        predictor.regressor_ = predictor._restored_regressor({"constants": predictor._table_constants})
        predictor.feature_names_ = predictor._names
        predictor.training_size_ = 0
        predictor.training_digest_ = hashlib.sha256(lut_content(table)).hexdigest()
        predictor.story_ = None
        return predictor

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name; the table is among them."""
        return {**super().get_params(deep), "table": self.table}

    def fresh(self) -> Self:
        """An unfitted one that knows the pieces that this one has cut."""
        found = super().fresh()
        found.__dict__["_pieces"] = self._pieces
        return found

    def features(self, architectures: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """How often each entry of the table occurs; how many pieces have no figure; all pieces; transfers.

        Raises:
            InvalidInputError: with ``missing="refuse"`` pieces without a figure; names the first.
        """
        found = self._pieces.count(architectures)
        return self._features(found), self._names

    def network_features(self, networks: Sequence[Network]) -> NDArray[Any]:
        """The same of networks that no cell describes; of files with a table of kernels only.

        Raises:
            InvalidInputError: with ``missing="refuse"`` pieces without a figure; or it is no such network.
            InvalidModelError: a file cannot be read, or the table is one of layers, which files do not hold.
        """
        return self._features(self._pieces.count_networks(networks))

    def lacking(self, architectures: Cells) -> tuple[Piece, ...]:
        """Pieces of these cells' networks of which the table has no figure, each once."""
        found = self._pieces.count(architectures)
        return tuple(piece for piece in found.pieces if piece.key not in self._columns)

    def _features(self, found: PieceCounts) -> NDArray[np.uint16]:
        lacking = [piece.key not in self._columns for piece in found.pieces]
        if any(lacking) and self.missing == "refuse":
            self._refuse(found, np.array(lacking))
        features = np.zeros((len(found.counts), len(self._names)), dtype=np.uint16)
        for place, piece in enumerate(found.pieces):
            features[:, self._columns.get(piece.key, len(self._columns))] += found.counts[:, place]
        features[:, -2] = found.counts.sum(axis=1)
        features[:, -1] = found.transfers
        return features

    def _refuse(self, found: PieceCounts, lacking: NDArray[np.bool_]) -> None:
        pieces = [piece for piece, lacks in zip(found.pieces, lacking, strict=True) if lacks]
        rows = np.flatnonzero(found.counts[:, lacking].any(axis=1))
        raise InvalidInputError(
            f"the table has no figure of {len(pieces)} of {len(found.pieces)} pieces, which {len(rows)} of "
            f"{len(found.counts)} networks need, row {rows[0]} first: {in_words(pieces)}; measure them with 'leti-opt "
            "lut cells', or use missing='nan'"
        )

    def _fit(
        self, features: NDArray[Any], names: tuple[str, ...], latency_ms: Floats, sample_weight: Floats | None
    ) -> None:
        without = int((features[:, len(self._columns)] > 0).sum())
        if without:
            raise InvalidInputError(
                f"{without} of {len(features)} cells to learn from have pieces that the table has no figure of; "
                "lacking(cells) lists them: measure these, or leave the cells out"
            )
        super()._fit(features, names, latency_ms, sample_weight)

    def _predict(self, features: NDArray[Any]) -> Floats:
        predicted = np.empty(len(features))
        for start in range(0, len(features), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            predicted[part] = super()._predict(features[part])
        predicted[features[:, len(self._columns)] > 0] = np.nan
        return predicted

    def _half_widths(self, features: NDArray[Any], coverage: float) -> Floats:
        if len(self.scores_):
            return super()._half_widths(features, coverage)
        return self._table_half_widths(features, coverage)

    def _table_half_widths(self, features: NDArray[Any], coverage: float) -> Floats:
        """What the errors of the entries add up to; an entry counts fully for each of its pieces, as in ``add_up``."""
        from scipy.stats import norm

        errors = np.array([np.nan if e.mean_error_ms is None else e.mean_error_ms for e in self._entries])
        errors[[entry.state == "no operators" for entry in self._entries]] = 0.0
        variances = np.where(np.isnan(errors), 0.0, errors / _OF_95_PERCENT) ** 2
        half = np.empty(len(features))
        for start in range(0, len(features), _ROWS_AT_ONCE):
            counts = features[start : start + _ROWS_AT_ONCE, : len(errors)].astype(np.float64)
            half[start : start + _ROWS_AT_ONCE] = np.sqrt(counts**2 @ variances)
            half[start : start + _ROWS_AT_ONCE][(counts[:, np.isnan(errors)] > 0).any(axis=1)] = np.inf
        return half * float(norm.ppf((1 + coverage) / 2))

    def _new_regressor(self) -> SumRegressor:
        return self._restored_regressor(None)

    def _regressor_state(self) -> dict[str, NDArray[Any]]:
        content = np.frombuffer(lut_content(self._table), dtype=np.uint8)
        return {
            "constants": self.regressor_.constants_,
            "table": content,
            "pieces": np.array(self._pieces.as_text()),
        }

    def _restored_regressor(self, learned: dict[str, NDArray[Any]] | None) -> SumRegressor:
        """An unfitted one without what was learned."""
        times = tuple(float(entry.latency_ms or 0) for entry in self._entries)
        if learned is None:
            return SumRegressor(times, None if self.residual == "constants" else tuple(self._table_constants.tolist()))
        regressor = SumRegressor(times, tuple(learned["constants"].tolist()))
        regressor.constants_ = learned["constants"]
        regressor.n_features_in_ = len(self._names)
        return regressor

    def _restore(self, learned: dict[str, NDArray[Any]]) -> None:
        self.table = lut_of_content(learned["table"].tobytes(), Path("the table in the predictor's file"))
        self._pieces.remember(str(learned["pieces"]))
        super()._restore(learned)

    @property
    def _table(self) -> LatencyTable:
        if self.table is None:
            raise InvalidInputError(
                "a LutPredictor needs a table; hand in a LatencyTable, which 'leti-opt lut cells' measures"
            )
        return self.table

    @cached_property
    def _pieces(self) -> CellPieces:
        return CellPieces(self.network, cutting_of(self._table.granularity))

    @cached_property
    def _entries(self) -> list[TableEntry]:
        """Those with a figure."""
        return [entry for entry in self._table.entries.values() if entry.latency_ms is not None]

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {entry.key: column for column, entry in enumerate(self._entries)}

    @cached_property
    def _names(self) -> tuple[str, ...]:
        own = [f"{entry.operation} {entry.description} {entry.key[:16]}" for entry in self._entries]
        return (*own, *_COUNTED)

    @property
    def _table_constants(self) -> Floats:
        residual = self._table.residual
        return np.array([0.0, 0.0] if residual is None else [residual.per_kernel_ms, residual.per_transfer_ms])

    def _check_table(self, table: LatencyTable) -> None:
        if not isinstance(table, LatencyTable):
            raise InvalidInputError(
                f"table is a LatencyTable, not a {type(table).__name__}; LatencyTable.load reads one"
            )
        if table.precision != self.network.precision:
            raise InvalidInputError(
                f"the table's pieces are {table.precision}, the network is {self.network.precision}; measure a table "
                "of this precision"
            )
        _ = self._pieces
