"""Whether latencies of the cells that we measured fall into clusters, and what the paper's Better FLOPs makes of them.

    OMP_NUM_THREADS=1 python -m benchmarks.predictors.host_clusters [--data DIR]

On the paper's phones a jump in latency parts networks below and above a peak memory. Here the latency's error of a line
over FLOPs is looked at: mixtures of one to six normal distributions compete by Schwarz's criterion (BIC), and every cut
by a figure of the cells is judged by how much of the variance it explains.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import DOCS, put_into_page
from benchmarks.predictors.host_cells import HOST_CELLS, PAGE, host_cells
from benchmarks.result_table import write_result
from leti_opt import network_cost
from leti_opt.predictor.better_flops import BetterFlopsPredictor
from leti_opt.predictor.flops import FlopsPredictor
from leti_opt.predictor.training_data import TrainingData

Floats = NDArray[np.float64]

PICTURE = DOCS / "images" / "host_clusters.png"
MOST_CLUSTERS = 6


def main() -> None:
    """Look for clusters, write what was found and draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HOST_CELLS)
    arguments = parser.parse_args()
    data = host_cells(arguments.data)
    line_errors = data.latency_ms - FlopsPredictor(data.network).fit(data.cells, data.latency_ms).predict(data.cells)
    better = BetterFlopsPredictor(data.network).fit(data.cells, data.latency_ms)
    facts = cell_facts(data)
    rows = [cut_row(name, values, line_errors) for name, values in facts.items()]
    rows.sort(key=lambda row: -float(row[3]))
    headings = ["cut by", "best cut", "cells below and above", "explained of the errors of a line over FLOPs, %"]
    path = write_result(
        "host_clusters",
        "Clusters among the cells that we measured",
        headings,
        rows,
        notes(data, line_errors, better, facts["peak memory, MiB"]),
    )
    put_into_page(PAGE, "clusters", path.read_text().splitlines()[2:], "benchmarks.predictors.host_clusters")
    draw(data, better)


def cell_facts(data: TrainingData) -> Mapping[str, Floats]:
    """What cells may be parted by."""
    cost = network_cost(data.cells, data.network)
    counts = {
        label: np.array([cell.operations.count(label) for cell in data.cells], dtype=np.float64)
        for label in data.cells.labels
    }
    return {
        "FLOPs, millions": cost.flops / 1e6,
        "peak memory, MiB": cost.peak_memory_bytes / 2**20,
        "edges": np.array([cell.adjacency.sum() for cell in data.cells], dtype=np.float64),
        "vertices": np.array([len(cell) for cell in data.cells], dtype=np.float64),
        **{f"{label} in a cell": values for label, values in counts.items()},
    }


def cut_row(name: str, values: Floats, targets: Floats) -> list[str]:
    """The cut between two values that explains most of the variance."""
    places = np.unique(values)
    best = max(((places[:-1] + places[1:]) / 2).tolist(), key=lambda cut: explained(values <= cut, targets))
    low = values <= best
    return [name, f"{best:.4g}", f"{low.sum():,} and {(~low).sum():,}", f"{100 * explained(low, targets):.1f}"]


def explained(low: NDArray[np.bool_], targets: Floats) -> float:
    """Share of the variance that two means explain."""
    within = sum(part.var() * len(part) for part in (targets[low], targets[~low]))
    return float(1 - within / (targets.var() * len(targets)))


def mixtures(values: Floats) -> dict[int, float]:
    """Schwarz's criterion of each number of normal distributions; the smaller the better."""
    from sklearn.mixture import GaussianMixture

    column = values[:, np.newaxis]
    return {
        count: float(GaussianMixture(count, n_init=5, random_state=0).fit(column).bic(column))
        for count in range(1, MOST_CLUSTERS + 1)
    }


def valleys(values: Floats) -> int:
    """Modes of a smoothed histogram, less one: how often a density falls and rises again."""
    from scipy.stats import gaussian_kde

    density = gaussian_kde(values)(np.linspace(values.min(), values.max(), 400))
    inner = density[1:-1]
    return int(((inner < density[:-2]) & (inner < density[2:])).sum())


def gaps(values: Floats, share: float = 0.05) -> list[tuple[float, float]]:
    """Ends of each stretch without any value that is longer than a share of the range."""
    places = np.unique(values)
    wide = np.flatnonzero(np.diff(places) > share * np.ptp(places))
    return [(float(places[row]), float(places[row + 1])) for row in wide]


def notes(data: TrainingData, line_errors: Floats, better: BetterFlopsPredictor, memory_mib: Floats) -> list[str]:
    """What was seen."""
    cut_mib = better.threshold_bytes_ / 2**20
    low = memory_mib <= cut_mib
    criteria = mixtures(line_errors)
    best = min(criteria, key=lambda count: criteria[count])
    told = ", ".join(f"{count}: {value:,.0f}" for count, value in criteria.items())
    empty = ", ".join(
        f"{low:.0f} to {high:.0f}" for low, high in gaps(network_cost(data.cells, data.network).flops / 1e6)
    )
    return [
        f"{data.story.statement()}. A line over FLOPs explains "
        f"{100 * (1 - line_errors.var() / data.latency_ms.var()):.1f} % of the latencies' variance.",
        f"Clusters along the line are clusters of FLOPs themselves: no cell has, in millions, {empty}.",
        f"Its errors as a mixture of normal distributions, Schwarz's criterion by their number: {told}; the smallest "
        f"is {best}. Their density has {valleys(line_errors)} valleys: clusters that lie apart would leave one between "
        "them.",
        f"Better FLOPs cuts at {cut_mib:.3f} MiB: {low.sum():,} cells below, {(~low).sum():,} above; mean latency "
        f"{data.latency_ms[low].mean():.3f} and {data.latency_ms[~low].mean():.3f} ms. The cut explains "
        f"{100 * explained(low, data.latency_ms):.1f} % of the latencies' variance, and "
        f"{100 * explained(low, line_errors):.1f} % of the line's errors.",
    ]


def draw(data: TrainingData, better: BetterFlopsPredictor) -> None:
    """Latency over FLOPs, coloured by peak memory."""
    from matplotlib.figure import Figure

    cost = network_cost(data.cells, data.network)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    points = axes.scatter(
        cost.flops / 1e6, data.latency_ms, c=cost.peak_memory_bytes / 2**20, s=7, cmap="viridis", linewidths=0
    )
    bar = figure.colorbar(points, label="peak memory, MiB")
    bar.ax.axhline(better.threshold_bytes_ / 2**20, color="tab:red")
    axes.set(xlabel="FLOPs, millions", ylabel="mean latency, ms", title=data.story.statement())
    figure.savefig(PICTURE, dpi=110)


if __name__ == "__main__":
    main()
