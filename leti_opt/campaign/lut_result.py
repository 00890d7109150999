"""What a study of lookup tables found: for each network the direct measurement, and the sums beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from leti_opt.objective.answers import Answer
from leti_opt.predictor.lut_pieces import Granularity, Piece, Pieces
from leti_opt.predictor.lut_residual import MIN_MODELS, ResidualCase, fit_residual
from leti_opt.predictor.lut_sum import PieceSum, PieceTimes, TableEntry

NO_OPERATORS = "it converts to no operators"


@dataclass(frozen=True)
class DirectFigure:
    """A network measured whole; times in milliseconds.

    Args:
        latency_ms: mean of a run; of an unstable network the median over its attempts; None where it has none.
        std_ms: standard deviation of a run.
        mean_error_ms: half the width of the mean's 95 % interval.
        runs: timed runs of the attempt that it stands on.
        stable: whether the measurement keeps the protocol's rule.
        reason: why there is no figure.
    """

    latency_ms: float | None = None
    std_ms: float | None = None
    mean_error_ms: float | None = None
    runs: int | None = None
    stable: bool = True
    reason: str = ""


@dataclass(frozen=True)
class LutFigure:
    """A network as a sum of its pieces, beside the direct measurement; times in milliseconds.

    Args:
        granularity: what the pieces are.
        latency_ms: the sum; None where a piece has no figure.
        spread_ms: standard deviation of one run, if the pieces vary independently.
        mean_error_ms: half the width of the sum's 95 % interval.
        error_ms: the sum less the direct figure; None without one of the two.
        pieces: how many the network falls into.
        distinct: how many of these were measured, equal ones once.
        unstable, free, missing: pieces with a provisional figure, without operators, and without a figure.
        fitted_on: with a residual, the networks that its constants were fitted on; never this one.
        reason: why there is no sum; empty where there is one.
    """

    granularity: Granularity
    latency_ms: float | None = None
    spread_ms: float | None = None
    mean_error_ms: float | None = None
    error_ms: float | None = None
    pieces: int = 0
    distinct: int = 0
    unstable: tuple[PieceTimes, ...] = ()
    free: tuple[PieceTimes, ...] = ()
    missing: tuple[PieceTimes, ...] = ()
    fitted_on: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class ModelResult:
    """One network of a study.

    Args:
        name: what people call it.
        direct: measured whole.
        sums: one for each granularity that was asked for, in that order.
        times: what its pieces take, by what it was cut into.
    """

    name: str
    direct: DirectFigure
    sums: tuple[LutFigure, ...]
    times: Mapping[str, tuple[PieceTimes, ...]]

    def error_share(self, figure: LutFigure) -> float | None:
        """A sum's error as a share of the direct figure; above 0 where the sum is too long."""
        direct = self.direct.latency_ms
        return None if figure.error_ms is None or not direct else figure.error_ms / direct


@dataclass(frozen=True)
class LutResult:
    """All networks of a study on one device.

    Args:
        device: in words.
        uri: of the device.
        origin: ``measured``, or what the device does in place of it.
        precision: of the networks that were converted.
        models: in the order in which they were given.
    """

    device: str
    uri: str
    origin: str
    precision: str
    models: tuple[ModelResult, ...]


def direct_of(answer: Answer) -> DirectFigure:
    """The figure of a whole network."""
    measurement = answer.measurement
    if measurement is None:
        return DirectFigure(reason=answer.failure or "no reason was given")
    batch, stable = measurement.batch, not answer.provisional
    error = batch.mean_error_ms if stable else None
    return DirectFigure(measurement.latency_ms(), batch.std_ms, error, batch.count, stable)


def entry_of(piece: Piece, answer: Answer) -> TableEntry:
    """A table's entry for a piece."""
    measurement = answer.measurement
    entry = TableEntry(piece.key, piece.operation, piece.description)
    if measurement is None and answer.failure == NO_OPERATORS:
        return replace(entry, state="no operators", latency_ms=0.0)
    if measurement is None:
        return replace(entry, state="failed", reason=answer.failure or "no reason was given")
    batch, stable = measurement.batch, not answer.provisional
    return replace(
        entry,
        latency_ms=measurement.latency_ms(),
        std_ms=batch.std_ms,
        mean_error_ms=batch.mean_error_ms,
        runs=batch.count,
        runs_per_sample=batch.runs_per_sample,
        stable=stable,
    )


def figure_of(granularity: Granularity, found: PieceSum, direct: DirectFigure) -> LutFigure:
    """A sum beside the direct figure."""
    reasons = sorted({times.reason for times in found.missing})
    return LutFigure(
        granularity,
        found.latency_ms,
        found.spread_ms,
        found.mean_error_ms,
        _difference(found.latency_ms, direct.latency_ms),
        found.pieces,
        len(found.times),
        found.unstable,
        found.free,
        found.missing,
        reason=f"{len(found.missing)} pieces have no figure: {'; '.join(reasons)}" if reasons else "",
    )


def residual_case(name: str, direct: DirectFigure, found: PieceSum, pieces: Pieces) -> ResidualCase | None:
    """What a network tells of the residual; None where a figure is missing."""
    if direct.latency_ms is None or found.latency_ms is None:
        return None
    return ResidualCase(name, direct.latency_ms, found.latency_ms, len(pieces.all), pieces.transfers)


def residual_figure(kernels: LutFigure, own: ResidualCase | None, cases: Sequence[ResidualCase]) -> LutFigure:
    """A sum of kernels with the residual that the *other* networks tell, so that no network judges itself."""
    figure = replace(kernels, granularity="residual")
    if own is None:
        return replace(figure, error_ms=None, reason=kernels.reason or "the network could not be measured whole")
    others = [case for case in cases if case.name != own.name]
    if len(others) < MIN_MODELS:
        reason = f"the residual takes {MIN_MODELS} other networks that were measured whole; there are {len(others)}"
        return replace(figure, latency_ms=None, spread_ms=None, mean_error_ms=None, error_ms=None, reason=reason)
    residual = fit_residual(others)
    latency_ms = residual.corrected(own.sum_ms, own.kernels, own.transfers)
    return replace(
        figure, latency_ms=latency_ms, error_ms=latency_ms - own.direct_ms, fitted_on=residual.fitted_on, reason=""
    )


def _difference(latency_ms: float | None, direct_ms: float | None) -> float | None:
    return None if latency_ms is None or direct_ms is None else latency_ms - direct_ms
