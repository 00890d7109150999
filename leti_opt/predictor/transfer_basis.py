"""What a transfer sees of a cell: predictions of devices that are known, and what a runtime executes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.predictor.additive_fit import Floats, Standardized, with_ones
from leti_opt.predictor.cells import CellRows
from leti_opt.predictor.kernel_features import UNPRUNED_GROUPS, columns_of

SOURCE, SOURCE_PRUNED = "source", "source_pruned"
"""Groups of the sources' predictions: of the cells as they were handed in, and of what pruning leaves."""
AS_GIVEN, PRUNED = VIEWS = (0, 1)
"""Whether a device executes what leads nowhere."""

_ABSENT = "none"
LINEAR_GROUPS = (("counts", "work"), ("sums", "paths", "activations"), ("pairs", "depths"), UNPRUNED_GROUPS)
"""Features whose costs are taken to be equally uncertain, group by group; the last is of unpruned cells."""
_METRIC_GROUPS = (("counts", "work"), ("sums", "paths", "activations"), ("pairs", "depths"))
_USUAL_SIZE = 0.1
"""Standard deviation of each part, relative to the latency, before its scale is chosen."""
_LEAST_SIZE = 1e-9


def pruned_rows(rows: CellRows | ArchitectureTable) -> CellRows | ArchitectureTable:
    """The cells without what leads nowhere; where a space has an operation for "no edge", it takes the place.

    Sources measured such cells: one with fewer operations than any of theirs would tell a source's predictor nothing.
    """
    if isinstance(rows, ArchitectureTable) or rows.live.all():
        return rows
    if _ABSENT not in rows.labels:
        return rows.table()
    absent = np.uint8(rows.labels.index(_ABSENT))
    operations = np.where(rows.live[:, 1:-1], rows.operations, absent)
    return CellRows(rows.pruned_adjacency, operations, rows.labels)


@dataclass(frozen=True)
class Parts:
    """What the process is made of at some cells, in one view.

    Args:
        center: mean of the sources, each in units of its typical latency.
        linear: columns of each linear part, in the same unit.
        metric: columns of each group by which the smooth part tells cells apart.
    """

    center: Floats
    linear: list[Floats]
    metric: list[Floats]


@dataclass(frozen=True)
class Basis:
    """How features become columns of comparable size.

    Args:
        groups: of the linear parts, after the sources'; the last is of unpruned cells.
        metric: of the smooth part.
        columns: where the sources' predictions are, ``(views, sources)``.
        units: typical latency of each source.
        sizes: what each linear part is divided by, ``(views, parts)``.
    """

    groups: list[Standardized]
    metric: list[Standardized]
    columns: NDArray[np.int64]
    units: Floats
    sizes: Floats

    @classmethod
    def of(
        cls, features: Floats, names: tuple[str, ...], linear_groups: Sequence[Sequence[str]] = LINEAR_GROUPS
    ) -> Basis:
        """From features of cells such as the sources measured."""
        groups, metric = (
            [Standardized.of(features, columns_of(names, *chosen)) for chosen in kinds]
            for kinds in (linear_groups, _METRIC_GROUPS)
        )
        columns = np.array([columns_of(names, SOURCE), columns_of(names, SOURCE_PRUNED)])
        units = np.exp(np.log(features[:, columns[AS_GIVEN]]).mean(axis=0))
        plain = cls(groups, metric, columns, units, np.ones((len(VIEWS), 1 + len(groups))))
        sizes = plain.sizes.copy()
        for view in VIEWS:
            parts = plain.parts(features, view)
            for place, part in enumerate(parts.linear):
                relative = part / parts.center[:, np.newaxis]
                sizes[view, place] = np.sqrt(np.mean((relative * relative).sum(axis=1)))
        return replace(plain, sizes=np.maximum(sizes, _LEAST_SIZE) / _USUAL_SIZE)

    def parts(self, features: Floats, view: int, sources: Sequence[int] | None = None) -> Parts:
        """Of some cells.

        Args:
            features: of each cell.
            view: one of the two.
            sources: positions of the sources to go by; None for all.
        """
        chosen = np.arange(len(self.units)) if sources is None else np.array(sources, dtype=np.int64)
        own = features[:, self.columns[view][chosen]] / self.units[chosen]
        center = np.exp(np.log(own).mean(axis=1))
        first, *others = self.groups if view == AS_GIVEN else self.groups[:-1]
        linear = [
            np.hstack([own - center[:, np.newaxis], center[:, np.newaxis]]),
            with_ones(first(features)),
            *(group(features) for group in others),
        ]
        sized = [part / size for part, size in zip(linear, self.sizes[view], strict=False)]
        metric = [group(features) / np.sqrt(max(len(group.columns), 1)) for group in self.metric]
        return Parts(center, sized, metric)

    def origins(self, features: Floats, sources: Sequence[int] | None = None) -> list[Parts]:
        """What a device may differ from: the sources' mean in each view, then each source in each view."""
        chosen = range(len(self.units)) if sources is None else sources
        means = [self.parts(features, view, sources) for view in VIEWS]
        single = [
            replace(means[view], center=features[:, self.columns[view][place]] / self.units[place])
            for view in VIEWS
            for place in chosen
        ]
        return means + single
