"""Predictors of vectors on published latencies of FBNet and once-for-all: learned from 900 networks, judged by others.

    python -m benchmarks.predictors.vector_spaces [--data DIR] [--spaces NAME ...] [--devices NAME ...] [--splits 3]

Beside ours run XGBoost and a linear model with a ridge penalty, on the same vectors and the same splits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray

from benchmarks.predictors.options import add_splits, add_workers, parser_of
from benchmarks.result_table import write_result
from leti_opt.predictor.evaluation import MeanInterval, Split, evaluate, split_by_class
from leti_opt.predictor.fbnet import fbnet_vectors
from leti_opt.predictor.metrics import PredictionMetrics, prediction_metrics
from leti_opt.predictor.once_for_all import once_for_all_vectors
from leti_opt.predictor.vector_predictors import BoostedTreesVectorPredictor, KernelVectorPredictor, VectorPredictor
from leti_opt.predictor.vectors import Vectors

Encoder = Callable[[Sequence[str]], Vectors]

SPACES: dict[str, Encoder] = {"fbnet": fbnet_vectors, "once_for_all": once_for_all_vectors}
"""What makes vectors of the architectures in each folder."""

CHOSEN_ON = {"fbnet": ("pixel3", "1080ti_32"), "once_for_all": ("2080ti_32",)}
"""Devices on which features and defaults were chosen, on networks that the splits here test too."""

MAKERS: dict[str, Callable[[], VectorPredictor]] = {
    "KernelVectorPredictor": KernelVectorPredictor,
    "BoostedTreesVectorPredictor": BoostedTreesVectorPredictor,
}
LINEAR = "ridge"
PENALTIES = np.logspace(-3, 4, 15)
NO_NOISE_PERCENT = 0.1
"""Mean error of a weighted sum that no measured latency would allow."""


@dataclass(frozen=True)
class Space:
    """Networks and what they took on each device.

    Args:
        name: of the folder.
        networks: their text, which tells equal ones.
        vectors: of these.
        devices: names of the columns.
        latency_ms: ``(networks, devices)``, NaN where not measured.
    """

    name: str
    networks: NDArray[np.str_]
    vectors: Vectors
    devices: tuple[str, ...]
    latency_ms: NDArray[np.float64]


@dataclass(frozen=True)
class Found:
    """What one predictor showed on one device."""

    space: str
    device: str
    predictor: str
    metrics: list[PredictionMetrics]
    coverages: list[float]

    @property
    def judged(self) -> bool:
        """Whether nothing was chosen on this device."""
        return self.device not in CHOSEN_ON.get(self.space, ())

    def figures(self) -> list[float]:
        """Share within 5 and 10 per cent, mean error, all in per cent; rank correlation; share in intervals, or NaN."""
        return [
            *(
                100 * float(np.mean([metrics.within[tolerance] for metrics in self.metrics]))
                for tolerance in (0.05, 0.1)
            ),
            float(np.mean([metrics.mean_absolute_percentage_error for metrics in self.metrics])),
            float(np.mean([metrics.spearman for metrics in self.metrics])),
            100 * float(np.mean(self.coverages)) if self.coverages else np.nan,
        ]


def main() -> None:
    """Judge every predictor on every device and write the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--spaces", nargs="+", choices=list(SPACES), default=list(SPACES))
    parser.add_argument("--devices", nargs="+", help="all if absent")
    add_splits(parser, 3)
    parser.add_argument("--size", type=int, default=900, help="training networks")
    add_workers(parser)
    arguments = parser.parse_args()
    found: list[Found] = []
    for name in arguments.spaces:
        space = load_space(arguments.data, name)
        wanted = [device for device in space.devices if arguments.devices is None or device in arguments.devices]
        tasks = (joblib.delayed(judge)(space, device, arguments.size, arguments.splits) for device in wanted)
        found += [one for part in joblib.Parallel(n_jobs=arguments.workers)(tasks) for one in part]
    if not found:
        raise SystemExit(f"no space has a device named {', '.join(arguments.devices)}")
    headings = ["space", "device", "predictor", "±5 %", "±10 %", "MAPE, %", "Spearman", "in 90 % interval, %"]
    write_result(
        "vector_spaces",
        "Predictors of vectors on published latencies of FBNet and once-for-all",
        headings,
        [*means(found), *(row(one) for one in found)],
        [*notes(arguments.size, arguments.splits), *sums(found)],
    )


def load_space(folder: Path, name: str) -> Space:
    """Read a space's file; any file of the same form will do."""
    path = folder / name / "latency.npz"
    if not path.is_file():
        raise SystemExit(
            f"there is no {path}: the public latencies do not come with the repository; name the folder that holds "
            f"{name}/latency.npz with --data"
        )
    with np.load(path, allow_pickle=False) as file:
        networks = file["architecture"]
        return Space(
            name,
            networks,
            SPACES[name]([str(network) for network in networks]),
            tuple(str(device) for device in file["device"]),
            file["latency_ms"].astype(np.float64),
        )


def judge(space: Space, device: str, size: int, splits: int) -> list[Found]:
    """All predictors on one device."""
    column = space.latency_ms[:, space.devices.index(device)]
    known = np.flatnonzero(np.isfinite(column))
    vectors, latency_ms = space.vectors.take(known), column[known]
    parts = [split_by_class(space.networks[known], size, seed) for seed in range(splits)]
    found = []
    for name, make in MAKERS.items():
        results = [evaluate(make(), vectors, latency_ms, split) for split in parts]
        metrics, coverages = [result.metrics for result in results], [result.coverage for result in results]
        found.append(Found(space.name, device, name, metrics, coverages))
    metrics = [ridge_metrics(vectors, latency_ms, split) for split in parts]
    found.append(Found(space.name, device, LINEAR, metrics, []))
    for one in found:
        print(" | ".join(row(one)), flush=True)
    return found


def ridge_metrics(vectors: Vectors, latency_ms: NDArray[np.float64], split: Split) -> PredictionMetrics:
    """A weighted sum of the features, with a penalty that is chosen by leaving out training networks."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES))
    model.fit(vectors.values[split.train], latency_ms[split.train])
    return prediction_metrics(model.predict(vectors.values[split.test]), latency_ms[split.test])


def row(found: Found) -> list[str]:
    """For the table."""
    mark = "" if found.judged else " (chosen on)"
    return [found.space, found.device + mark, found.predictor, *_shown([(value, "") for value in found.figures()])]


def means(found: Sequence[Found]) -> list[list[str]]:
    """Over the devices on which nothing was chosen, with half of the 95 % interval of this mean."""
    rows = []
    for space in dict.fromkeys(one.space for one in found):
        for predictor in dict.fromkeys(one.predictor for one in found):
            judged = [
                one.figures() for one in found if (one.space, one.predictor, one.judged) == (space, predictor, True)
            ]
            if judged:
                columns = [MeanInterval.of(column) for column in zip(*judged, strict=True)]
                shown = _shown([(each.mean, _half(each.half_width, place)) for place, each in enumerate(columns)])
                rows.append([space, f"mean of {len(judged)} others", predictor, *shown])
    return rows


def _shown(figures: Sequence[tuple[float, str]]) -> list[str]:
    return [
        "" if np.isnan(value) else f"{value:.{_digits(place)}f}{more}" for place, (value, more) in enumerate(figures)
    ]


def _half(width: float, place: int) -> str:
    return f" ± {width:.{_digits(place)}f}" if np.isfinite(width) else ""


def _digits(place: int) -> int:
    return (1, 1, 2, 3, 1)[place]


def notes(size: int, splits: int) -> list[str]:
    """How to read the table."""
    chosen = "; ".join(f"{space}: {', '.join(devices)}" for space, devices in CHOSEN_ON.items())
    return [
        f"{size} training networks, drawn at random; judged by all others; mean of {splits} splits with the seeds 0 to "
        f"{splits - 1}. Equal networks are on one side.",
        f"Features and defaults were chosen on {chosen}. The means are over the other devices, ± half of their 95 % "
        "interval.",
        "All predictors see the same vectors. XGBoost: 300 trees of depth 5, rate 0.05, on the logarithm. Ridge: a "
        "weighted sum, its penalty chosen by leaving out training networks.",
    ]


def sums(found: Sequence[Found]) -> list[str]:
    """Which columns a weighted sum explains so well that nobody can have measured them."""
    exact = [
        f"{one.space} {one.device}" for one in found if one.predictor == LINEAR and one.figures()[2] < NO_NOISE_PERCENT
    ]
    return [f"No noise: the figures of {', '.join(exact)} are a sum over blocks, likely of a table."] if exact else []


if __name__ == "__main__":
    main()
