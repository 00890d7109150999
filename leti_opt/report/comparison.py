"""Two columns of latencies of the same networks, compared: how much slower one is, and whether both rank alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.report.comparison_verdict import AGREEMENT_RATIO, AGREEMENT_SPEARMAN, FEWEST_FOR_VERDICT, sentence
from leti_opt.report.latency_column import FEWEST_NETWORKS, LatencyColumn, matched, too_few, usable

__all__ = ["ComparedNetwork", "Comparison", "LatencyColumn", "RankMove", "compare", "median_interval"]

TOLERANCES = (0.02, 0.05, 0.10)
RESAMPLES = 2000
CONFIDENCE = 0.95

_ROUNDING = 1 + 1e-9
_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ComparedNetwork:
    """One network on both sides.

    Args:
        label, key: what people call it, and what it is matched by.
        first_ms, second_ms: its latencies.
        first_error_ms, second_error_ms: half the widths of their 95 % intervals, None where not known.
        ratio: second over first.
        first_rank, second_rank: 1 is the fastest; equal latencies share the mean of their ranks.
    """

    label: str
    key: str
    first_ms: float
    second_ms: float
    first_error_ms: float | None
    second_error_ms: float | None
    ratio: float
    first_rank: float
    second_rank: float


@dataclass(frozen=True)
class RankMove:
    """A network that has another rank on the second side.

    Args:
        label, key: what people call it, and what it is matched by.
        first_rank, second_rank: 1 is the fastest.
        first_ms, second_ms: its latencies.
        intervals_overlap: whether its two 95 % intervals overlap once the overall ratio is taken out; then the new
            rank may be nothing but uncertainty, and is no movement. None where an interval is not known.
    """

    label: str
    key: str
    first_rank: float
    second_rank: float
    first_ms: float
    second_ms: float
    intervals_overlap: bool | None


@dataclass(frozen=True)
class Comparison:
    """What two columns of latencies say of each other. What is undefined is None.

    Args:
        first, second: names of the sides.
        first_origin, second_origin: where their figures come from.
        networks: how many networks both sides have a figure for.
        only_in_first, only_in_second: how many only one side has.
        ratio: median over the networks of second / first.
        ratio_low, ratio_high: its 95 % interval, by a percentile bootstrap over the networks.
        spearman, kendall: rank correlations; None where all figures of a side are equal.
        within: share of networks whose second figure is within so much of the first, as they are.
        within_scaled: the same after the second figures were divided by ``ratio``: whether a constant factor explains
            the difference.
        moved: networks with another rank: first those whose intervals do not overlap, each group worst first.
        rows: every network of both sides.
        matched_by: ``model_key``, or ``cell and network`` where no key was common.
        notes: what was left out or chosen, a sentence each.
    """

    first: str
    second: str
    first_origin: str
    second_origin: str
    networks: int
    only_in_first: int
    only_in_second: int
    ratio: float
    ratio_low: float
    ratio_high: float
    spearman: float | None
    kendall: float | None
    within: Mapping[float, float]
    within_scaled: Mapping[float, float]
    moved: tuple[RankMove, ...]
    rows: tuple[ComparedNetwork, ...]
    matched_by: str = "model_key"
    notes: tuple[str, ...] = ()

    @property
    def same_speed(self) -> bool:
        """Whether both bounds of the ratio are within 2 % of 1."""
        return self.ratio_low >= 1 - AGREEMENT_RATIO and self.ratio_high <= 1 + AGREEMENT_RATIO

    @property
    def agrees(self) -> bool | None:
        """Whether the sides are as fast and rank alike; None where the figures cannot tell."""
        if self.networks < FEWEST_FOR_VERDICT or self.spearman is None:
            return None
        if self.spearman < AGREEMENT_SPEARMAN:
            return False
        if self.same_speed:
            return True
        near = self.ratio_high >= 1 - AGREEMENT_RATIO and self.ratio_low <= 1 + AGREEMENT_RATIO
        return None if near else False

    def verdict(self, first: str = "", second: str = "") -> str:
        """One plain sentence.

        Args:
            first, second: what to call the sides, where their names are too long for a sentence.
        """
        return sentence(self, first or self.first, second or self.second)


def compare(first: LatencyColumn, second: LatencyColumn, seed: int = 0) -> Comparison:
    """Compare the networks that both sides have a figure for.

    Args:
        first, second: the sides. Figures that are no positive finite numbers are left out and counted in the notes.
        seed: of the bootstrap.

    Raises:
        InvalidInputError: fewer than three networks are shared.

    >>> latency_ms = {f"net-{place}": 1.0 + place for place in range(20)}
    >>> phone = LatencyColumn("phone", "measured", latency_ms, {}, {})
    >>> slower = LatencyColumn("slower", "measured", {key: 2 * ms for key, ms in latency_ms.items()}, {}, {})
    >>> compare(phone, slower).verdict()
    'slower is 2.00 times slower than phone (2.00 to 2.00) and ranks the networks the same, 1.000'
    """
    notes = [*(f"A: {note}" for note in first.notes), *(f"B: {note}" for note in second.notes)]
    sides = {"A": usable(first), "B": usable(second)}
    for letter, column in (("A", first), ("B", second)):
        unusable = len(column.latency_ms) - len(sides[letter].latency_ms)
        if unusable:
            notes.append(f"{letter}: {unusable} figures that are no positive finite numbers are left out")
    left, right, matched_by = matched(sides["A"], sides["B"])
    keys = [key for key in left.latency_ms if key in right.latency_ms]
    if len(keys) < FEWEST_NETWORKS:
        raise InvalidInputError(too_few(left, right, len(keys)))
    if matched_by != "model_key":
        notes.append("no model_key is common, so networks are matched by cell and network (another renderer?)")
    first_ms = np.array([left.latency_ms[key] for key in keys], dtype=np.float64)
    second_ms = np.array([right.latency_ms[key] for key in keys], dtype=np.float64)
    ratios = second_ms / first_ms
    ratio = float(np.median(ratios))
    low, high = median_interval(ratios, np.random.default_rng(seed))
    spearman, kendall = _correlations(first_ms, second_ms)
    rows = _rows(keys, left, right, ratios)
    return Comparison(
        first=first.name,
        second=second.name,
        first_origin=first.origin,
        second_origin=second.origin,
        networks=len(keys),
        only_in_first=len(left.latency_ms) - len(keys),
        only_in_second=len(right.latency_ms) - len(keys),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        spearman=spearman,
        kendall=kendall,
        within=_shares(ratios),
        within_scaled=_shares(ratios / ratio),
        moved=_moved(rows, ratio),
        rows=rows,
        matched_by=matched_by,
        notes=tuple(notes),
    )


def median_interval(values: _Floats, random: np.random.Generator) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a median, from 2,000 resamples.

    Nothing is resampled one by one: a resample's middle values are the sorted values at the middle order statistics
    of as many uniform numbers, and these are drawn directly, from beta distributions. So it costs the same for
    20 networks and for 400,000.
    """
    ordered = np.sort(values)
    count = ordered.size
    middle = (count + 1) // 2
    lower = random.beta(middle, count - middle + 1, RESAMPLES)
    medians = _at(ordered, lower)
    if count % 2 == 0:
        upper = lower + (1 - lower) * random.beta(1, count - middle, RESAMPLES)
        medians = (medians + _at(ordered, upper)) / 2
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(low), float(high)


def _at(ordered: _Floats, share: _Floats) -> _Floats:
    return ordered[np.minimum((share * ordered.size).astype(np.int64), ordered.size - 1)]


def _correlations(first_ms: _Floats, second_ms: _Floats) -> tuple[float | None, float | None]:
    if np.ptp(first_ms) == 0 or np.ptp(second_ms) == 0:
        return None, None
    from scipy.stats import kendalltau, spearmanr

    return float(spearmanr(first_ms, second_ms).statistic), float(kendalltau(first_ms, second_ms).statistic)


def _shares(ratios: _Floats) -> dict[float, float]:
    off = np.abs(ratios - 1)
    return {tolerance: float(np.mean(off <= tolerance * _ROUNDING)) for tolerance in TOLERANCES}


def _rows(
    keys: Sequence[str], first: LatencyColumn, second: LatencyColumn, ratios: _Floats
) -> tuple[ComparedNetwork, ...]:
    from scipy.stats import rankdata

    ranks = [rankdata([column.latency_ms[key] for key in keys]) for column in (first, second)]
    return tuple(
        ComparedNetwork(
            label=first.labels.get(key) or second.labels.get(key) or key,
            key=key,
            first_ms=float(first.latency_ms[key]),
            second_ms=float(second.latency_ms[key]),
            first_error_ms=_error(first, key),
            second_error_ms=_error(second, key),
            ratio=float(ratios[place]),
            first_rank=float(ranks[0][place]),
            second_rank=float(ranks[1][place]),
        )
        for place, key in enumerate(keys)
    )


def _error(column: LatencyColumn, key: str) -> float | None:
    error = column.error_ms.get(key)
    return None if error is None or not np.isfinite(error) else float(error)


def _moved(rows: Sequence[ComparedNetwork], ratio: float) -> tuple[RankMove, ...]:
    moves = [
        RankMove(
            row.label,
            row.key,
            row.first_rank,
            row.second_rank,
            row.first_ms,
            row.second_ms,
            _intervals_overlap(row, ratio),
        )
        for row in rows
        if row.first_rank != row.second_rank
    ]

    def worst_first(move: RankMove) -> tuple[bool, float, float, str]:
        off = abs(np.log(move.second_ms / move.first_ms / ratio))
        return bool(move.intervals_overlap), -abs(move.second_rank - move.first_rank), -float(off), move.key

    return tuple(sorted(moves, key=worst_first))


def _intervals_overlap(row: ComparedNetwork, ratio: float) -> bool | None:
    if row.first_error_ms is None or row.second_error_ms is None:
        return None
    return abs(row.second_ms - row.first_ms * ratio) <= row.second_error_ms + row.first_error_ms * ratio
