"""What a graph convolution has to compute only once: vertices that hear the same.

After one convolution a vertex knows its own kind and those of the vertices that it hears, after two also what these
hear, and so on. In a batch of cells many vertices know the same, for all cells share an output, and most a pool before
it. So each layer works on the distinct neighbourhoods (colours, as in the test of Weisfeiler and Leman, 1968), and a
matrix says how often each hears which of the layer before. The sums are those of the plain convolution, in
a third of the work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leti_opt.predictor.gcn_graph import EMPTY, CellGraphs

Integers = NDArray[np.int64]
Matrices = list[NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Neighbourhoods:
    """Distinct neighbourhoods in some cells, layer by layer.

    Args:
        heard: for each layer but the last, what each of its neighbourhoods hears of the layer before;
            ``(neighbourhoods, places)``, :data:`~leti_opt.predictor.gcn_graph.EMPTY` where it hears less.
        heard_last: the same for each cell's global vertex in the last layer; ``(cells, places)``.
        kind_count: how many kinds of vertices there are, which is what the first layer hears.
    """

    heard: tuple[Integers, ...]
    heard_last: Integers
    kind_count: int

    @classmethod
    def of(cls, graphs: CellGraphs, layers: int) -> Neighbourhoods:
        """Those of some cells.

        Args:
            graphs: the cells.
            layers: how many convolutions follow each other.
        """
        own, heard = graphs.kinds, []
        for _ in range(layers - 1):
            sources = np.where(graphs.adjacency, own[:, np.newaxis], EMPTY)
            sources.sort(axis=2)
            distinct, member = np.unique(sources.reshape(-1, sources.shape[2]), axis=0, return_inverse=True)
            heard.append(distinct)
            own = member.reshape(own.shape)
        return cls(tuple(heard), np.where(graphs.adjacency[:, 0], own, EMPTY), graphs.kind_count)

    def matrices(self, rows: Integers) -> Matrices:
        """What each layer sums for some of the cells: ``(neighbourhoods, neighbourhoods of the layer before)``.

        The first has a column for each kind, the last a row for each cell.
        """
        wanted, found = self.heard_last[rows], []
        for heard in reversed(self.heard):
            used = np.unique(wanted[wanted != EMPTY])
            found.append(_counts(np.where(wanted == EMPTY, EMPTY, np.searchsorted(used, wanted)), len(used)))
            wanted = heard[used]
        found.append(_counts(wanted, self.kind_count))
        return found[::-1]


def _counts(heard: Integers, columns: int) -> NDArray[np.float32]:
    """How often each row hears each column."""
    counts = np.zeros((len(heard), columns), dtype=np.float32)
    rows, places = np.nonzero(heard != EMPTY)
    np.add.at(counts, (rows, heard[rows, places]), 1)
    return counts
