"""The sentence that says what a comparison of latencies has shown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leti_opt.report.comparison import Comparison

FEWEST_FOR_VERDICT = 10
"""With fewer networks the figures are given, and no verdict."""
AGREEMENT_RATIO = 0.02
"""Columns agree where both bounds of the median ratio lie this close to 1 …"""
AGREEMENT_SPEARMAN = 0.99
"""… and their ranks correlate at least so; this alone is called *the same* ranking."""
NEARLY_SPEARMAN = 0.95
"""Ranks that correlate at least so are called *nearly the same*."""


def sentence(found: Comparison, first: str, second: str) -> str:
    """See :meth:`leti_opt.report.comparison.Comparison.verdict`."""
    if first == second:
        first, second = f"{first} (A)", f"{second} (B)"
    one = _figures_of(first, found.first_origin)
    other, plural = _figures_of(second, found.second_origin), found.second_origin != "measured"
    interval = f"({_bounds(found.ratio_low, found.ratio_high)})"
    numbers = f"median ratio {found.ratio:.3f} {interval}, Spearman {_correlation(found.spearman)}"
    numbers += f", on {found.networks} networks"
    if found.networks < FEWEST_FOR_VERDICT:
        return (
            f"whether {one} and {other} agree cannot be told: only {found.networks} networks are in both, "
            f"and {FEWEST_FOR_VERDICT} are needed; median ratio {found.ratio:.3f} {interval}"
        )
    if found.agrees:
        return f"{one} and {other} agree: {numbers}"
    return f"{other} {_speed(found, one, plural)} and {_ranking(found, plural)}"


def _figures_of(name: str, origin: str) -> str:
    return name if origin == "measured" else f"the {origin} figures of {name}"


def _speed(found: Comparison, first: str, plural: bool) -> str:
    verb = "are" if plural else "is"
    low, high = found.ratio_low, found.ratio_high
    if found.same_speed:
        return f"{verb} as fast as {first}, median ratio {found.ratio:.3f} ({_bounds(low, high)}),"
    if low > 1:
        return f"{verb} {found.ratio:{_form(low, high)}} times slower than {first} ({_bounds(low, high)})"
    if high < 1:
        low, high = 1 / high, 1 / low
        return f"{verb} {1 / found.ratio:{_form(low, high)}} times faster than {first} ({_bounds(low, high)})"
    return (
        f"may be faster or slower than {first}, which {found.networks} networks cannot tell "
        f"(median ratio {found.ratio:.3f}, {_bounds(low, high)}),"
    )


def _ranking(found: Comparison, plural: bool) -> str:
    verb, correlation = "rank" if plural else "ranks", found.spearman
    if correlation is None:
        return "whether both rank the networks the same cannot be told: all figures of a side are equal"
    if correlation >= AGREEMENT_SPEARMAN:
        return f"{verb} the networks the same, {_correlation(correlation)}"
    how = "nearly the same" if correlation >= NEARLY_SPEARMAN else "differently"
    explained = found.moved and all(move.intervals_overlap for move in found.moved)
    doubt = ", though no network moved by more than its intervals allow" if explained else ""
    return f"{verb} the networks {how}, {_correlation(correlation)}{doubt}"


def _correlation(value: float | None) -> str:
    """Cut, never rounded up, so that 0.9899 is not shown as the 0.990 that it misses."""
    return "undefined" if value is None else f"{math.floor(value * 1000 + 1e-9) / 1000:.3f}"


def _form(low: float, high: float) -> str:
    """Two decimals, or three where both bounds are close to 1."""
    return ".3f" if max(abs(low - 1), abs(high - 1)) < 0.1 else ".2f"


def _bounds(low: float, high: float) -> str:
    form = _form(low, high)
    return f"{low:{form}} to {high:{form}}"
