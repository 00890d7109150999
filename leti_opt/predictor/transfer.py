"""Predicts a new device from a few of its latencies and from what other devices took."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.predictor.cells import Cells, rows_of, some_rows
from leti_opt.predictor.kernel_features import kernel_features
from leti_opt.predictor.kernel_model import KernelPredictor
from leti_opt.predictor.predictor import Floats, LatencyPredictor
from leti_opt.predictor.transfer_basis import SOURCE, SOURCE_PRUNED, Parts, pruned_rows
from leti_opt.predictor.transfer_process import FewLatencies, hypotheses
from leti_opt.predictor.transfer_sources import SourceKnowledge

Sources = Mapping[str, tuple[Cells, ArrayLike]]
"""Cells and their latencies in milliseconds, by the name of the device."""

_FEWEST_SOURCES, _FEWEST_CELLS = 2, 10
_SOURCE_POINTS = 400
_PART = 2048


class TransferPredictor(LatencyPredictor):
    """Latency on a new device, from ten cells or a hundred measured there and many measured on other devices.

    Each source gets a :class:`~leti_opt.predictor.kernel_model.KernelPredictor`. A Gaussian process then says how a
    device may differ from the sources, and how much it does is learned from the sources, each explained from the
    others; see :mod:`leti_opt.predictor.transfer_process`. Whether the new device executes what leads nowhere is
    learned too, so hand in cells as they were measured, and some with dead ends among the few.

    The sources are learned from at the first use and kept: fitting again to another device costs little.

    Args:
        network: how cells become the networks that were measured, on the sources as on the new device.
        sources: what other devices took; two devices at least. None only where a file brings what was learned.
        max_points: so many of the new device's latencies are used at most, drawn at random.
        seed: of all draws.

    Raises:
        InvalidInputError: too few sources, a source with fewer than ten cells or with an unusable latency, or a
            setting is out of range.

    >>> from leti_opt import NAS_BENCH_101, enumerate_architectures, network_cost
    >>> network, cells = NetworkConfig.small(), enumerate_architectures(NAS_BENCH_101)[:60]
    >>> flops = network_cost(cells, network).flops
    >>> sources = {"one": (cells, 1 + flops / 2e7), "other": (cells, 3 + flops / 1e7)}
    >>> latency_ms = 2 + flops / 1.5e7
    >>> predictor = TransferPredictor(network, sources).fit(cells[::6], latency_ms[::6])
    >>> bool(np.abs(predictor.predict(cells) / latency_ms - 1).mean() < 0.05)
    True
    """

    settings = ("max_points", "seed")

    def __init__(
        self, network: NetworkConfig, sources: Sources | None = None, max_points: int = 300, seed: int = 0
    ) -> None:
        super().__init__(network)
        if max_points < 1:
            raise InvalidInputError(f"max_points must be 1 or more, not {max_points!r}")
        if sources is not None:
            self._check_sources(sources)
        self.sources = sources
        self.max_points = max_points
        self.seed = seed

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name; the sources are among them, though no file keeps them as they were."""
        return {**super().get_params(deep), "sources": self.sources}

    def fresh(self) -> Self:
        """An unfitted one that has learned from the same sources, which takes most of the time."""
        found = type(self)(**self.get_params())
        found.__dict__["_source_predictors"] = self._source_predictors
        found.__dict__["_knowledge"] = self._knowledge
        return found

    def features(self, architectures: Cells) -> tuple[NDArray[Any], tuple[str, ...]]:
        """What the runtime executes, and what each source would take for the cell as it is and pruned."""
        rows = rows_of(architectures)
        found, pruned = kernel_features(rows, self.network), pruned_rows(rows)
        bare = found.values if pruned is rows else kernel_features(pruned, self.network).values
        predictors = self._source_predictors
        self._check_space(found.names)
        columns = [each._predict(values) for values in (found.values, bare) for each in predictors.values()]
        names = [f"{group}/{name}" for group in (SOURCE, SOURCE_PRUNED) for name in predictors]
        return np.column_stack([found.values, *columns]).astype(np.float32), (*found.names, *names)

    def _fit(
        self,
        features: NDArray[Any],
        names: tuple[str, ...],  # noqa: ARG002
        latency_ms: Floats,
        sample_weight: Floats | None,
    ) -> None:
        weights = np.ones(len(latency_ms)) if sample_weight is None else sample_weight
        used = np.flatnonzero(weights > 0)
        if len(used) > self.max_points:
            used = np.sort(np.random.default_rng(self.seed).choice(used, self.max_points, replace=False))
        self.few_features_, self.few_latency_ms_ = features[used], latency_ms[used]
        self.few_weights_ = weights[used] / weights[used].mean()
        self._explain()

    def _explain(self) -> None:
        guesses = hypotheses(self._knowledge.scales)
        self.few_ = FewLatencies(self._origins(self.few_features_), self.few_latency_ms_, self.few_weights_, guesses)

    def _origins(self, features: NDArray[Any]) -> list[Parts]:
        return self._knowledge.basis.origins(features.astype(np.float64))

    def _mean_and_deviation(self, features: NDArray[Any]) -> tuple[Floats, Floats]:
        found = [
            self.few_.predict(self._origins(features[start : start + _PART]))
            for start in range(0, len(features), _PART)
        ]
        mean, deviation = (np.concatenate(part) for part in zip(*found, strict=True))
        return mean, deviation

    def _predict(self, features: NDArray[Any]) -> Floats:
        return self._mean_and_deviation(features)[0]

    def _half_widths(self, features: NDArray[Any], coverage: float) -> Floats:
        from scipy.stats import norm

        return np.asarray(norm.ppf((1 + coverage) / 2) * self._mean_and_deviation(features)[1])

    @cached_property
    def _source_predictors(self) -> dict[str, KernelPredictor]:
        if self.sources is None:
            raise InvalidInputError(_NO_SOURCES)
        return {
            name: KernelPredictor(self.network, seed=self.seed).fit(cells, latency_ms)
            for name, (cells, latency_ms) in self.sources.items()
        }

    @cached_property
    def _knowledge(self) -> SourceKnowledge:
        """What the sources teach; some cells of each are enough."""
        if self.sources is None:
            raise InvalidInputError(_NO_SOURCES)
        samples = []
        names: tuple[str, ...] = ()
        for cells, latency_ms in self.sources.values():
            rows = rows_of(cells)
            count = min(len(rows), _SOURCE_POINTS)
            chosen = np.sort(np.random.default_rng(self.seed).choice(len(rows), count, replace=False))
            values, names = self.features(some_rows(rows, chosen))
            samples.append((values, np.asarray(latency_ms, dtype=np.float64)[chosen]))
        return SourceKnowledge.of(samples, names)

    def _learned(self) -> dict[str, NDArray[Any]]:
        arrays = {
            "source_names": np.array(list(self._source_predictors)),
            "few_features": self.few_features_,
            "few_latency_ms": self.few_latency_ms_,
            "few_weights": self.few_weights_,
            **self._knowledge.arrays(),
        }
        for place, predictor in enumerate(self._source_predictors.values()):
            arrays.update({f"source_{place}_{name}": array for name, array in predictor._learned().items()})
        return arrays

    def _restore(self, learned: dict[str, NDArray[Any]]) -> None:
        knowledge, predictors = SourceKnowledge.restored(learned), {}
        for place, name in enumerate(learned["source_names"].tolist()):
            start = f"source_{place}_"
            predictors[name] = KernelPredictor(self.network, seed=self.seed)
            predictors[name]._restore(
                {key.removeprefix(start): array for key, array in learned.items() if key.startswith(start)}
            )
            predictors[name].feature_names_ = knowledge.own_names
        self.__dict__["_source_predictors"] = predictors
        self.__dict__["_knowledge"] = knowledge
        self.few_features_, self.few_latency_ms_ = learned["few_features"], learned["few_latency_ms"]
        self.few_weights_ = learned["few_weights"]
        self._explain()

    def _check_space(self, names: tuple[str, ...]) -> None:
        """Refuse cells that the sources' predictors see other features of."""
        for source, predictor in self._source_predictors.items():
            if predictor.feature_names_ != names:
                raise InvalidInputError(
                    f"source {source!r} measured cells of another space, with {len(predictor.feature_names_)} features "
                    f"and not these {len(names)}; leave it out, or hand in cells of its space"
                )

    @classmethod
    def _check_sources(cls, sources: Sources) -> None:
        if not isinstance(sources, Mapping) or len(sources) < _FEWEST_SOURCES:
            raise InvalidInputError(
                f"sources are {_FEWEST_SOURCES} devices or more, as {{name: (cells, latency_ms)}}, not "
                f"{len(sources) if isinstance(sources, Mapping) else repr(sources)}; without them fit a KernelPredictor"
            )
        for name, source in sources.items():
            if not isinstance(source, tuple) or len(source) != 2:
                raise InvalidInputError(f"source {name!r} is {type(source).__name__}; give a pair (cells, latency_ms)")
            count = len(rows_of(source[0]))
            if count < _FEWEST_CELLS:
                raise InvalidInputError(f"source {name!r} has {count} cells; give {_FEWEST_CELLS} or more, or leave it")
            if cls._checked(source[1], count, f"latency_ms of source {name!r}").min() <= 0:
                raise InvalidInputError(f"source {name!r} has a latency of 0 or less; leave out what was not measured")


_NO_SOURCES = "a TransferPredictor needs sources; hand in {name: (cells, latency_ms)} of other devices"
