"""Whether a device is what it was: the same networks, measured before and now. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

LEAST_NETWORKS = 10
MAX_RATIO = 1.03
MIN_SPEARMAN = 0.99
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class PanelRow:
    """One network of a panel; latencies in milliseconds.

    Args:
        model_key: key of its model.
        before_ms, now_ms: its mean latency in the earlier epoch and in this one.
    """

    model_key: str
    before_ms: float
    now_ms: float

    @property
    def ratio(self) -> float:
        """Now over before."""
        return self.now_ms / self.before_ms


@dataclass(frozen=True)
class PanelCheck:
    """What a panel showed of two epochs.

    Args:
        rows: the networks that were measured in both, the fastest first.
        median_ratio: of now over before.
        low, high: its 95 % interval.
        spearman: rank correlation; None where all latencies of one epoch are equal.
    """

    rows: tuple[PanelRow, ...]
    median_ratio: float
    low: float
    high: float
    spearman: float | None

    @property
    def objections(self) -> list[str]:
        """Why results of one epoch do not go for the other; empty if they agree."""
        found = []
        if max(self.median_ratio, 1 / self.median_ratio) > MAX_RATIO:
            found.append(f"the median ratio is more than {100 * (MAX_RATIO - 1):.0f} % from 1")
        if self.spearman is None:
            found.append("all latencies of one epoch are equal, so ranks say nothing")
        elif self.spearman < MIN_SPEARMAN:
            found.append(f"Spearman is below {MIN_SPEARMAN}")
        return found

    @property
    def agrees(self) -> bool:
        """Whether results of one epoch may be served in the other."""
        return not self.objections

    def verdict(self) -> str:
        """One plain sentence."""
        spearman = "not defined" if self.spearman is None else f"{self.spearman:.3f}"
        figures = (
            f"now is {self.median_ratio:.3f} times before ({self.low:.3f} to {self.high:.3f}), "
            f"Spearman {spearman}, {len(self.rows)} networks"
        )
        if self.agrees:
            return f"{figures}: they agree, and earlier figures are used again"
        return f"{figures}: they disagree, because {' and '.join(self.objections)}; earlier figures are not used"


def check_panel(before_ms: Mapping[str, float], now_ms: Mapping[str, float]) -> PanelCheck:
    """Compare the networks that were measured in both epochs, by model key.

    >>> before = {f"net-{place}": 1.0 + place for place in range(10)}
    >>> check_panel(before, {key: 1.1 * ms for key, ms in before.items()}).verdict()
    'now is 1.100 times before (1.100 to 1.100), Spearman 1.000, 10 networks: they disagree, because the median ratio \
is more than 3 % from 1; earlier figures are not used'
    """
    shared = sorted(before_ms.keys() & now_ms.keys(), key=lambda key: (before_ms[key], key))
    rows = tuple(PanelRow(key, before_ms[key], now_ms[key]) for key in shared)
    ratios = [row.ratio for row in rows]
    low, high = median_bounds(ratios)
    return PanelCheck(rows, median(ratios), low, high, _spearman(rows))


def median_bounds(values: Sequence[float]) -> tuple[float, float]:
    """A 95 % interval of the median, from the order of the values alone (the sign test); all of them if too few.

    >>> median_bounds(range(1, 21))
    (6, 15)
    """
    ordered = sorted(values)
    count = len(ordered)
    beyond, cut = 0.0, 0
    while cut < count // 2:
        beyond += 2 * math.comb(count, cut) / 2**count
        if beyond > 1 - _CONFIDENCE:
            break
        cut += 1
    place = max(cut - 1, 0)
    return ordered[place], ordered[count - 1 - place]


def _spearman(rows: Sequence[PanelRow]) -> float | None:
    from scipy.stats import spearmanr

    before, now = [row.before_ms for row in rows], [row.now_ms for row in rows]
    if len(set(before)) < 2 or len(set(now)) < 2:
        return None
    return float(spearmanr(before, now).statistic)
