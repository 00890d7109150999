"""One measuring process's own copy of a block of random weights, whose header becomes one network after another."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import IO, Any

from leti_opt.errors import NotFoundError, StoreError
from leti_opt.network.weights_block import BlockNeeds, WeightsBlock, open_block, private_copy, replace_header
from leti_opt.network.weights_outside import PlacedNetwork, write_header
from leti_opt.temporary_folder import own_folder, remove_folder

_FOLDER = "copies"
_PREFIX = "copy-"
_ATTEMPTS = 3


class WeightsCopy:
    """A private file of header and weights; nothing is copied before the first network.

    It is not thread safe: whoever uses it holds the lock of the device's resources. A forked child makes a copy of its
    own. Copies lie beside the blocks, in a folder that their process keeps locked; what a killed process left behind
    is removed by the next one.
    """

    def __init__(self) -> None:
        self._block: WeightsBlock | None = None
        self._owner = os.getpid()
        self._finalizer: weakref.finalize[Any, Any] | None = None
        self.path: Path | None = None

    def become(self, network: PlacedNetwork, key: str) -> Path:
        """Make the copy a network's model; no interpreter may have it open.

        Raises:
            StoreError: the copy cannot be written.
        """
        if self._owner != os.getpid():
            self._forget()
        if self._block is None or not self._block.holds(network.needs) or not self._is_whole(self._block):
            self._copy(network)
        assert self._block is not None
        assert self.path is not None
        replace_header(self.path, write_header(network, self._block, key))
        return self.path

    def holds(self, needs: BlockNeeds) -> bool:
        """Whether there is a copy that such a network fits into. Any thread may ask."""
        block = self._block
        return self._owner == os.getpid() and block is not None and block.holds(needs)

    def close(self) -> None:
        """Remove the copy. May be called twice."""
        if self._finalizer is not None and self._owner == os.getpid():
            self._finalizer()
        self._forget()

    def _is_whole(self, block: WeightsBlock) -> bool:
        """Whether the copy is still there: somebody may have emptied the cache folder."""
        return self.path is not None and self.path.is_file() and self.path.stat().st_size == block.size

    def _copy(self, network: PlacedNetwork) -> None:
        self.close()
        for _ in range(_ATTEMPTS):
            block = open_block(network.needs)
            folder, lock = _copies_folder(block.path.parent / _FOLDER)
            self._finalizer = weakref.finalize(self, remove_folder, folder, lock, os.getpid())
            try:
                self.path = private_copy(block, folder)
            except NotFoundError:  # another process has just put a larger block in its place
                self.close()
                continue
            except StoreError:  # a disk that is full must not stay so because of half a copy
                self.close()
                raise
            self._block = block
            return
        raise StoreError(f"{block.path} was replaced {_ATTEMPTS} times while it was copied; try again")

    def _forget(self) -> None:
        self._block = self.path = self._finalizer = None
        self._owner = os.getpid()


def _copies_folder(folder: Path) -> tuple[Path, IO[bytes]]:
    try:
        return own_folder(folder, _PREFIX)
    except OSError as error:
        raise StoreError(
            f"cannot keep a copy of random weights in {folder}: {error.strerror}; name another in LETI_CACHE_DIR"
        ) from error
