"""BRP-NAS's predictor of latencies (Dudziak et al., 2020): a graph convolutional network over the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cells import Cells
from leti_opt.predictor.features import PAPER_VERTICES
from leti_opt.predictor.gcn_graph import graph_features, graphs_of
from leti_opt.predictor.gcn_neighbourhoods import Neighbourhoods
from leti_opt.predictor.held_out import half_width_share, relative_errors
from leti_opt.predictor.predictor import Floats, LatencyPredictor

if TYPE_CHECKING:
    import keras

_VALIDATION_SHARE = 0.1
_CHUNK = 1024
_WEIGHT = "weight_{:02d}"


class GcnPredictor(LatencyPredictor):
    """Four graph convolutions of 600 units, trained on absolute errors; it sees the pruned cell, and no network.

    A tenth of the cells that it is given is validation, drawn at random: it says when to slow down and when to end, and
    which weights to keep; intervals are as wide, relative to the prediction, as errors were there. They rest on few
    errors, of cells that these weights suit best, and are often too narrow (``benchmarks/results/gcn.md``).

    As published but for the batch, which was one cell. Training takes minutes.

    Args:
        network: how cells become the networks that were measured; says which operations only pass their input on.
        vertices: how many the graph has room for; 8 holds NAS-Bench-201's.
        layers: graph convolutions.
        units: of each.
        dropout: share of units that are left out in a training step.
        epochs: at most.
        batch_size: cells in a training step.
        learning_rate: of AdamW, at first.
        log_target: fit the latency's logarithm instead of the latency, so that relative errors count.
        skips_are_edges: an operation that passes its input on is drawn as an edge, as published; parallel ones are one
            edge then. Otherwise it is a vertex.
        seed: of weights, dropout, validation cells and order.

    Raises:
        InvalidInputError: a setting is out of range.

    >>> from leti_opt.architecture import Architecture
    >>> predictor = GcnPredictor(NetworkConfig.small(), vertices=3)
    >>> values, names = predictor.features(Architecture.parse("0-1,1-2:maxpool3x3"))
    >>> values.shape, names[:4]
    ((1, 18), ('edge_0_1', 'edge_0_2', 'edge_1_2', 'vertex_0/input'))
    """

    settings = (
        "vertices",
        "layers",
        "units",
        "dropout",
        "epochs",
        "batch_size",
        "learning_rate",
        "log_target",
        "skips_are_edges",
        "seed",
    )

    def __init__(
        self,
        network: NetworkConfig,
        vertices: int = PAPER_VERTICES,
        layers: int = 4,
        units: int = 600,
        dropout: float = 0.002,
        epochs: int = 250,
        batch_size: int = 32,
        learning_rate: float = 4e-4,
        log_target: bool = False,
        skips_are_edges: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(network)
        counts = {"layers": layers, "units": units, "epochs": epochs, "batch_size": batch_size}
        for name, count in {**counts, "vertices": vertices - 1, "seed": seed + 1}.items():
            if count < 1:
                raise InvalidInputError(f"{name} is out of range; vertices start at 2, seed at 0, the others at 1")
        if not 0 <= dropout < 1:
            raise InvalidInputError(f"dropout is a share below 1, not {dropout!r}")
        if not learning_rate > 0:
            raise InvalidInputError(f"learning_rate is above 0, not {learning_rate!r}")
        self.vertices = vertices
        self.layers = layers
        self.units = units
        self.dropout = dropout
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.log_target = log_target
        self.skips_are_edges = skips_are_edges
        self.seed = seed

    def features(self, architectures: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """Edges and kinds of vertices of the pruned cell."""
        operations = self.network.operation_table.values()
        passing = {operation.label for operation in operations if not operation.steps} if self.skips_are_edges else ()
        return graph_features(architectures, self.vertices, passing)

    def _fit(
        self,
        features: NDArray[Any],
        names: tuple[str, ...],  # noqa: ARG002
        latency_ms: Floats,
        sample_weight: Floats | None,
    ) -> None:
        from leti_opt.predictor.gcn_training import Schedule, train

        weights = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
        cells = self._neighbourhoods(features)
        targets = np.log(latency_ms) if self.log_target else latency_ms
        self.lowest_, self.range_ = float(targets.min()), float(np.ptp(targets)) or 1.0
        own, shuffled = np.random.SeedSequence(self.seed).spawn(2)
        learned, judged = _with_validation(np.flatnonzero(weights > 0), own)
        self.model_ = self._new_model(cells.kind_count)
        self.epochs_ = train(
            self.model_,
            cells,
            (targets - self.lowest_) / self.range_,
            weights / weights[weights > 0].mean(),
            (learned, judged),
            Schedule(self.epochs, self.batch_size, self.learning_rate, int(shuffled.generate_state(1)[0])),
        )
        self.scores_ = np.sort(relative_errors(latency_ms[judged], self._predict(features[judged])))

    def _predict(self, features: NDArray[Any]) -> Floats:
        from leti_opt.predictor.gcn_model import answers

        found = np.empty(len(features))
        for start in range(0, len(features), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            cells = self._neighbourhoods(features[chunk])
            found[chunk] = answers(self.model_, cells.matrices(np.arange(len(found[chunk]))))
        targets = self.lowest_ + self.range_ * found
        return np.exp(targets) if self.log_target else targets

    def _half_widths(self, features: NDArray[Any], coverage: float) -> Floats:
        return np.abs(self._predict(features)) * half_width_share(self.scores_, coverage)

    def _learned(self) -> dict[str, NDArray[Any]]:
        weights = {_WEIGHT.format(place): weight for place, weight in enumerate(self.model_.get_weights())}
        facts = {"lowest": self.lowest_, "range": self.range_, "epochs": self.epochs_}
        return {"scores": self.scores_, **{name: np.array(fact) for name, fact in facts.items()}, **weights}

    def _restore(self, learned: dict[str, NDArray[Any]]) -> None:
        self.scores_ = learned["scores"]
        self.lowest_, self.range_ = float(learned["lowest"]), float(learned["range"])
        self.epochs_ = int(learned["epochs"])
        self.model_ = self._new_model(len(learned[_WEIGHT.format(0)]))
        self.model_.set_weights([learned[_WEIGHT.format(place)] for place in range(len(self.model_.weights))])

    def _neighbourhoods(self, features: NDArray[Any]) -> Neighbourhoods:
        return Neighbourhoods.of(graphs_of(features, self.vertices), self.layers)

    def _new_model(self, kind_count: int) -> keras.Model:
        from leti_opt.predictor.gcn_model import build_gcn

        return build_gcn(kind_count, self.layers, self.units, self.dropout, self.seed)


def _with_validation(
    rows: NDArray[np.int64], seed: np.random.SeedSequence
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows to learn from and rows for validation; a single one is both."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    count = max(1, round(_VALIDATION_SHARE * len(rows)))
    return np.sort(shuffled[count:] if len(rows) > 1 else rows), np.sort(shuffled[:count])
