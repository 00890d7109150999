"""How far a campaign is: of every network, on one device, whether the store has an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.campaign.work import CampaignWork
from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.network.rendering import renderer_version
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.standings import Standings, State

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
        renderer = renderer_version(config.precision, work.renderer)
        found = store.standings(
            identity, epoch, config.digest, renderer, work.protocol, min_runs, cells=not lookup.by_hash
        )
        places, known = lookup.find(found)
        states[places[known] * len(work.configs) + number] = found.states[known]
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

    Args:
        work: the campaign's networks.

    Attributes:
        by_hash: whether hashes do.
    """

    def __init__(self, work: CampaignWork) -> None:
        # Half of a hash is a number that is sorted and found many times faster than a text.
        self._sort(np.ascontiguousarray(work.cells.graph_digests).view(">u8")[:, 0].astype(np.uint64))
        # Those of ten vertices and more may share one.
        self.by_hash = not (self._sorted[1:] == self._sorted[:-1]).any()
        if not self.by_hash:
            self._sort(np.array([str(cell).encode() for cell in work.cells], dtype=np.bytes_))

    def _sort(self, keys: NDArray[Any]) -> None:
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def find(self, standings: Standings) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Place of each cell of some standings among the campaign's, and whether it is there at all."""
        if not len(self._sorted) or not len(standings):
            return np.zeros(len(standings), dtype=np.int64), np.zeros(len(standings), dtype=bool)
        keys = _halves(standings.graph_hashes) if self.by_hash else standings.cells
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
