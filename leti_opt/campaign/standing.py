"""How far a campaign is: of every network, on one device, whether the store has an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.network.config import NetworkConfig
from leti_opt.network.rendering import renderer_version
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.standings import KnownCells, Standings, State

LACKING = -1
"""The state of a network that the store has no answer for."""


def item_states(
    work: CampaignWork,
    store: LatencyStore,
    identity: DeviceIdentity,
    epoch: DeviceEpoch,
    min_runs: int,
    lookup: Lookup | None = None,
) -> NDArray[np.int8]:
    """State of every item: a :class:`~leti_opt.store.standings.State`, or :data:`LACKING`.

    Args:
        work: the campaign's networks.
        store: what was measured.
        identity, epoch: the device, and what it is now.
        min_runs: runs that the protocol needs on it.
        lookup: of these networks, where several devices are asked about.
    """
    states = np.full(len(work), LACKING, dtype=np.int8)
    lookup = lookup or Lookup(work)
    for number, config in enumerate(work.configs):
        found, places, is_ours = lookup.standings(store, identity, epoch, config, min_runs)
        states[places[is_ours] * len(work.configs) + number] = found.states[is_ours]
    return states


def lacking(work: CampaignWork, states: NDArray[np.int8], also: Sequence[State] = ()) -> NDArray[np.int64]:
    """Items without an answer, in the order of measurement.

    Args:
        work: the campaign's networks.
        states: of :func:`item_states`.
        also: further states that are to be asked for again.
    """
    ordered = states[work.order]
    wanted = ordered == LACKING
    for state in also:
        wanted |= ordered == state
    items: NDArray[np.int64] = work.order[wanted]
    return items


class Lookup:
    """Finds the cells of a campaign that a store speaks of: by hash, or by text where hashes do not tell them apart.

    What the store knows of cells, whatever the device, is looked up once: a lookup serves for one look at a campaign.

    Args:
        work: the campaign's networks.

    Attributes:
        by_hash: whether hashes do.
    """

    def __init__(self, work: CampaignWork) -> None:
        self._work = work
        self._known: dict[str, tuple[KnownCells, NDArray[np.int64], NDArray[np.bool_]]] = {}
        # Half of a hash is a number that is sorted and found many times faster than a text.
        self._sort(np.ascontiguousarray(work.cells.graph_digests).view(">u8")[:, 0].astype(np.uint64))
        # Those of ten vertices and more may share one.
        self.by_hash = not (self._sorted[1:] == self._sorted[:-1]).any()
        if not self.by_hash:
            self._sort(np.array([str(cell).encode() for cell in work.cells], dtype=np.bytes_))

    def standings(
        self,
        store: LatencyStore,
        identity: DeviceIdentity,
        epoch: DeviceEpoch,
        config: NetworkConfig,
        min_runs: int,
        figures: bool = False,
    ) -> tuple[Standings, NDArray[np.int64], NDArray[np.bool_]]:
        """What the store answers for the cells of one config on a device.

        Returns:
            The standings; the place of each of their cells among the campaign's; and whether it is there at all.
        """
        renderer = renderer_version(config.precision, self._work.renderer)
        if config.digest not in self._known:
            known = store.known_cells(config.digest, renderer, cells=not self.by_hash)
            self._known[config.digest] = (known, *self._find(known.graph_hashes, known.cells))
        known, places, is_ours = self._known[config.digest]
        found = store.standings(
            identity, epoch, config.digest, renderer, self._work.protocol, min_runs, figures=figures, known=known
        )
        built = len(found.known_rows)
        more = self._find(found.graph_hashes[built:], None if found.cells is None else found.cells[built:])
        return (
            found,
            np.concatenate([places[found.known_rows], more[0]]),
            np.concatenate([is_ours[found.known_rows], more[1]]),
        )

    def _sort(self, keys: NDArray[Any]) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def _find(
        self, graph_hashes: NDArray[np.bytes_], cells: NDArray[np.bytes_] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if not len(self._sorted) or not len(graph_hashes):
            return np.zeros(len(graph_hashes), dtype=np.int64), np.zeros(len(graph_hashes), dtype=bool)
        keys = _halves(graph_hashes) if self.by_hash else cells
        assert keys is not None
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        places: NDArray[np.int64] = self._order[at]
        return places, self._sorted[at] == keys


def _halves(hashes: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """The first half of hashes of 32 hexadecimal digits, as numbers.

    >>> _halves(np.array([b"00000000000000ff" + 16 * b"0"])).tolist()
    [255]
    """
    digits = _VALUE_OF_DIGIT[np.ascontiguousarray(hashes, dtype="S32").view(np.uint8).reshape(-1, 32)[:, :16]]
    found: NDArray[np.uint64] = (digits[:, ::2] * 16 + digits[:, 1::2]).view(">u8")[:, 0].astype(np.uint64)
    return found


_VALUE_OF_DIGIT = np.zeros(256, dtype=np.uint8)
_VALUE_OF_DIGIT[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)
