"""What a search found, as numbers and rows: the table, the counts and the comparison with FLOPs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from leti_opt.architecture import Architecture
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.objective.accuracy_latency import AccuracyLatency
from leti_opt.objective.answers import Answer, Source
from leti_opt.objective.limit_decisions import LimitRow
from leti_opt.search.architecture_search import SearchResult


@dataclass(frozen=True)
class FrontRow:
    """One cell of a front.

    Args:
        cell: its text.
        graph_hash: its hash.
        latency_ms: as the objective says.
        std_ms: standard deviation of the runs; None where the device does not reveal it.
        runs: how many runs stand behind it.
        accuracy: 0 to 1; None in a search for latency alone.
        flops, parameters: of the whole network.
        origin: ``measured``, ``simulated`` or ``replayed``.
        statistic: which figure ``latency_ms`` is.
        limit: what a limit on the latency says of the cell; None where there is none.
    """

    cell: str
    graph_hash: str
    latency_ms: float
    std_ms: float | None
    runs: int | None
    accuracy: float | None
    flops: int
    parameters: int
    origin: str
    statistic: str = "mean"
    limit: LimitRow | None = None


@dataclass(frozen=True)
class SearchCounts:
    """Where the answers of a search came from.

    Args:
        evaluations: asks of the optimizer.
        distinct: different cells among them.
        anew: cells with figures that were made just now.
        stored: cells with figures that were known before.
        provisional: cells of both kinds that broke the stability rule in every attempt.
        infeasible: cells that could not be built or run.
        skipped: cells that a forecast ruled out.
    """

    evaluations: int
    distinct: int
    anew: int
    stored: int
    provisional: int
    infeasible: int
    skipped: int


def front_rows(
    front: Sequence[AccuracyLatency],
    network: NetworkConfig,
    statistic: str = "mean",
    limits: Sequence[LimitRow] = (),
) -> list[FrontRow]:
    """A row for each cell of a front, in its order.

    Args:
        front: the cells.
        network: their network config.
        statistic: what the objective answered.
        limits: what a limit says of the cells, found by their names.
    """
    limit_of_cell = {limit.name: limit for limit in limits}
    rows = []
    for evaluation in front:
        measurement = evaluation.answer.measurement
        if measurement is None:
            continue
        cost = network_cost(evaluation.architecture, network)
        rows.append(
            FrontRow(
                cell=str(evaluation.architecture.canonical()),
                graph_hash=evaluation.architecture.graph_hash,
                latency_ms=evaluation.latency_ms,
                std_ms=measurement.batch.std_ms,
                runs=measurement.batch.count,
                accuracy=evaluation.accuracy,
                flops=cost.flops,
                parameters=cost.parameters,
                origin=measurement.device.origin,
                statistic=statistic,
                limit=limit_of_cell.get(str(evaluation.architecture.canonical())),
            )
        )
    return rows


def search_counts(result: SearchResult) -> SearchCounts:
    """Count the answers of a search; a cell that was asked for twice counts once."""
    first: dict[Architecture, Answer] = {}
    for step in result.steps:
        first.setdefault(step.evaluation.architecture, step.evaluation.answer)
    figures = [answer for answer in first.values() if answer.measurement is not None]
    anew = sum(answer.source is Source.DEVICE for answer in figures)
    states = Counter(answer.status for answer in first.values())
    return SearchCounts(
        evaluations=len(result.steps),
        distinct=len(first),
        anew=anew,
        stored=len(figures) - anew,
        provisional=states["provisional"],
        infeasible=states["infeasible"],
        skipped=states["skipped"],
    )


def flops_rank_correlation(measured: Sequence[AccuracyLatency], network: NetworkConfig) -> float | None:
    """Spearman's rank correlation of FLOPs and measured latency; None for fewer than three cells or no spread."""
    if len(measured) < 3:
        return None
    flops = [network_cost(evaluation.architecture, network).flops for evaluation in measured]
    latencies = [evaluation.latency_ms for evaluation in measured]
    if len(set(flops)) < 2 or len(set(latencies)) < 2:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(flops, latencies).statistic)


def failure_reasons(result: SearchResult) -> list[tuple[str, int]]:
    """Why cells are infeasible, and how many for each reason, the most frequent first."""
    failures = {step.evaluation.architecture: step.evaluation.answer.failure for step in result.steps}
    return Counter(reason for reason in failures.values() if reason is not None).most_common()


def counts_text(result: SearchResult, origin: str) -> str:
    """One sentence: what was measured anew, came from the store, is provisional, infeasible or skipped."""
    counts = search_counts(result)
    anew = f"{counts.anew} {origin} anew" if counts.anew else f"nothing {origin} anew"
    parts = [f"{anew}, {counts.stored} from the store"]
    if counts.provisional:
        parts.append(f"{counts.provisional} of these provisional (spread above the rule in every attempt)")
    if counts.infeasible:
        parts.append(f"{counts.infeasible} infeasible")
    if counts.skipped:
        parts.append(f"{counts.skipped} skipped on a forecast")
    return f"{counts.evaluations} evaluations, {counts.distinct} different cells: {'; '.join(parts)}"


def flops_text(measured: Sequence[AccuracyLatency], network: NetworkConfig) -> str:
    """One sentence: how well FLOPs rank these cells' latency."""
    correlation = flops_rank_correlation(measured, network)
    if correlation is None:
        return f"FLOPs against latency: too few different cells to compare ({len(measured)})"
    return f"FLOPs rank the latency of these {len(measured)} cells with a Spearman correlation of {correlation:.3f}"
