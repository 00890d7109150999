"""A comparison for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from leti_opt.report.comparison import Comparison, RankMove


def comparison_lines(compared: Comparison) -> list[str]:
    """The sides, how many networks they share, ratio, ranks, shares within some per cent, and what was left out."""
    return [
        f"A  {compared.first}, {compared.first_origin}",
        f"B  {compared.second}, {compared.second_origin}",
        f"networks            {compared.networks} in both, {compared.only_in_first} only in A, "
        f"{compared.only_in_second} only in B",
        f"median of B / A     {compared.ratio:.4f} ({compared.ratio_low:.4f} to {compared.ratio_high:.4f})",
        f"rank correlation    Spearman {_number(compared.spearman)}, Kendall {_number(compared.kendall)}",
        f"near A as it is     {_shares(compared.within)} of the networks",
        f"near A once scaled  {_shares(compared.within_scaled)} with B divided by {compared.ratio:.4f}",
        *(f"note: {note}" for note in compared.notes),
    ]


def moved_lines(compared: Comparison, count: int) -> list[str]:
    """The networks whose rank moved most, each with its ranks and latencies."""
    shown = compared.moved[:count]
    if not compared.moved:
        return ["no network has another rank"]
    beyond = sum(move.intervals_overlap is False for move in compared.moved)
    unknown = sum(move.intervals_overlap is None for move in compared.moved)
    heading = f"{len(compared.moved)} networks have another rank, {beyond} of them by more than their intervals allow"
    if unknown:
        heading += f", {unknown} of them without known intervals"
    return [heading + (":" if shown else ""), *(_move(number, move) for number, move in enumerate(shown, start=1))]


def _move(number: int, move: RankMove) -> str:
    verdict = {
        True: "within its intervals, no movement",
        False: "beyond its intervals",
        None: "intervals not known",
    }[move.intervals_overlap]
    ranks, figures = f"{move.first_rank:g} to {move.second_rank:g}", f"{move.first_ms:.4g} to {move.second_ms:.4g} ms"
    return f"  {number}  rank {ranks}, {figures}, {verdict}  {move.label}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _shares(within: Mapping[float, float]) -> str:
    return ", ".join(f"{100 * share:.0f} % (within {100 * tolerance:.0f} %)" for tolerance, share in within.items())
