"""Blocks of random weights on disk, each shared by every network of its precision.

A model file with its weights outside is a small header, which describes the network, followed by a block, which no
network owns. The block is cut into zones: of random kernels by their size (standard deviation), of batch norms' factors
and of small shifts. A network takes a region of its own for every layer from the beginning of a zone on, so a zone must
be as large as all the regions that one network takes from it, and different networks use the same numbers.

Blocks are kept in the user's cache folder. What a zone holds depends on its name and its place in the zone alone, so
a block that is replaced by a larger one gives the same networks.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from leti_opt.atomic_file import replacing
from leti_opt.cache_folder import cache_folder
from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.network.file_format import FILE_IDENTIFIER
from leti_opt.network.weight_zones import Zone, zone_type, zone_values

HEADER_BYTES = 1 << 16
"""Room for the header in a new block; one that needs more gets the next power of two."""
ALIGNMENT = 64
"""Of every region: a line of the processor's cache."""

_FORMAT = "leti_opt weights block"
_FORMAT_VERSION = 1
_LEAST_ZONE = 1 << 16
_CHUNK = 1 << 20
_NO_COPY_RANGE = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


@dataclass(frozen=True, slots=True)
class BlockNeeds:
    """What a network takes of a block.

    Args:
        precision: of its weights.
        zones: how many bytes of each.
        header_bytes: room for its header.
    """

    precision: str
    zones: Mapping[Zone, int]
    header_bytes: int = 0


@dataclass(frozen=True)
class WeightsBlock:
    """A block on disk.

    Args:
        path: of the file, which no network changes; :func:`private_copy` makes one to put headers on.
        precision: ``float32``, ``float16`` or ``int8``.
        header_bytes: room before the first zone.
        zones: how many bytes each zone has, in the order in which they follow one another.
    """

    path: Path
    precision: str
    header_bytes: int
    zones: Mapping[Zone, int] = field(hash=False)

    @cached_property
    def offsets(self) -> dict[Zone, int]:
        """Where each zone begins, in bytes from the start of the file."""
        ends = np.cumsum([self.header_bytes, *self.zones.values()]).tolist()
        return dict(zip(self.zones, ends, strict=False))

    @property
    def size(self) -> int:
        """Of the whole file in bytes."""
        return self.header_bytes + sum(self.zones.values())

    def holds(self, needs: BlockNeeds) -> bool:
        """Whether a network fits."""
        return (
            self.precision == needs.precision
            and needs.header_bytes <= self.header_bytes
            and all(size <= self.zones.get(zone, 0) for zone, size in needs.zones.items())
        )


def open_block(needs: BlockNeeds, folder: Path | str | None = None) -> WeightsBlock:
    """The block that a network fits into; a larger one takes the place of one that is too small.

    Several processes may ask at once: one of them writes. One that is killed while it writes leaves nothing that
    counts, and a file that is damaged is written anew.

    Args:
        needs: of the network.
        folder: where blocks are kept; by default the user's cache folder, or ``LETI_CACHE_DIR``.

    Raises:
        StoreError: the folder cannot be written, or the disk is full.
    """
    place = Path(folder) if folder is not None else cache_folder() / "weights"
    found = _find(needs, place)
    if found is not None:
        return found
    with _reported(place):
        place.mkdir(parents=True, exist_ok=True)
        with _only_writer(place, needs.precision):
            return _find(needs, place) or _replace(needs, place)


def private_copy(block: WeightsBlock, folder: Path | str) -> Path:
    """Copy a block to put headers on, for one process at a time; on some file systems it costs no space.

    Raises:
        NotFoundError: a larger block took its place; open that one.
        StoreError: the folder cannot be written, or the disk is full.
    """
    target = Path(folder) / f"{block.path.stem}.tflite"
    with _reported(Path(folder)):
        try:
            source = block.path.open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"{block.path} was replaced by a larger block; open_block gives that one") from None
        with source, target.open("wb") as copy:
            if not _copy_range(source.fileno(), copy.fileno(), block.size):
                shutil.copyfileobj(source, copy, _CHUNK)
    return target


def replace_header(path: Path | str, header: bytes) -> None:
    """Turn a private copy into another network's model.

    No interpreter may have the file open: it would go on with the new header, and say nothing.

    Raises:
        InvalidInputError: it is no header, or the file no copy of a block with room for it.
    """
    path = Path(path)
    if header[4:8] != FILE_IDENTIFIER or len(header) % HEADER_BYTES:
        raise InvalidInputError("the header is not one that write_header made; it begins every model of a block")
    if not path.is_file() or path.stat().st_size < len(header):
        raise InvalidInputError(f"{path} is not a copy of a block of weights; make one with private_copy")
    with _reported(path.parent), path.open("r+b") as file:
        file.write(header)


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    """Turn what the system says of a folder into an error that says what to do."""
    try:
        yield
    except (NotFoundError, StoreError):
        raise
    except OSError as error:
        raise StoreError(
            f"cannot keep random weights in {folder}: {error.strerror or error}; "
            "free space there, or name another folder in LETI_CACHE_DIR"
        ) from error


@contextmanager
def _only_writer(folder: Path, precision: str) -> Iterator[None]:
    from filelock import FileLock

    with FileLock(folder / f"{precision}.lock"):
        yield


def _find(needs: BlockNeeds, folder: Path) -> WeightsBlock | None:
    """The smallest whole block there that is large enough."""
    blocks = [block for block in _blocks(folder, needs.precision) if block.holds(needs)]
    return min(blocks, key=lambda block: block.size, default=None)


def _blocks(folder: Path, precision: str) -> list[WeightsBlock]:
    found = (_read(path) for path in sorted(folder.glob(f"{precision}-*.weights")))
    return [block for block in found if block is not None]


def _replace(needs: BlockNeeds, folder: Path) -> WeightsBlock:
    """Write a block that is at least as large as those that are there, in every zone, and remove them."""
    zones: dict[Zone, int] = {}
    header_bytes = max(HEADER_BYTES, needs.header_bytes)
    for block in _blocks(folder, needs.precision):
        header_bytes = max(header_bytes, block.header_bytes)
        for zone, size in block.zones.items():
            zones[zone] = max(size, zones.get(zone, 0))
    for zone, size in needs.zones.items():
        zones[zone] = max(_rounded_up(max(size, _LEAST_ZONE)), zones.get(zone, 0))
    layout = {
        "format": _FORMAT,
        "version": _FORMAT_VERSION,
        "precision": needs.precision,
        "header_bytes": _power_of_two(header_bytes),
        "zones": [[zone.kind, zone.step, size] for zone, size in sorted(zones.items())],
    }
    path = folder / f"{needs.precision}-{_digest(layout)}.weights"
    left = list(folder.glob(f"{needs.precision}-*.weights")) + list(folder.glob(f".{needs.precision}-*.weights"))
    with replacing(path) as temporary:
        _write(temporary, layout)
    for other in left:
        if other != path:
            other.unlink(missing_ok=True)
    written = _read(path)
    if written is None:
        raise StoreError(f"{path} does not read back as it was written; check the disk")
    return written


def _write(path: Path, layout: dict[str, Any]) -> None:
    with path.open("wb") as file:
        file.write(json.dumps(layout).encode().ljust(layout["header_bytes"], b"\n"))
        for kind, step, size in layout["zones"]:
            zone = Zone(kind, step)
            count = size // zone_type(layout["precision"], zone).itemsize
            for values in zone_values(layout["precision"], zone, count):
                file.write(values.data)


def _read(path: Path) -> WeightsBlock | None:
    """None for what is no whole block of this version."""
    try:
        with path.open("rb") as file:
            layout = json.loads(file.read(HEADER_BYTES))
            if (layout["format"], layout["version"]) != (_FORMAT, _FORMAT_VERSION):
                return None
            zones = {Zone(kind, step): size for kind, step, size in layout["zones"]}
            block = WeightsBlock(path, layout["precision"], layout["header_bytes"], zones)
            whole = (
                os.fstat(file.fileno()).st_size == block.size and path.stem == f"{block.precision}-{_digest(layout)}"
            )
            return block if whole and _begins_right(file.fileno(), block) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _begins_right(file: int, block: WeightsBlock) -> bool:
    """Whether every zone begins with its numbers, which it does not where a disk lost what was written."""
    for zone, offset in block.offsets.items():
        first = next(zone_values(block.precision, zone, ALIGNMENT))
        if os.pread(file, first.nbytes, offset) != first.tobytes():
            return False
    return True


def _digest(layout: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(layout, sort_keys=True).encode()).hexdigest()[:16]


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()


def _rounded_up(size: int) -> int:
    """A power of two, or one and a half, so that a block is not replaced often and not much too large."""
    power = _power_of_two(size)
    return power * 3 // 4 if size <= power * 3 // 4 else power


def _copy_range(source: int, target: int, size: int) -> bool:
    """Let the system copy, which shares the blocks on disk where it can; False where there is no such call."""
    copied = 0
    while copied < size:
        try:
            done = os.copy_file_range(source, target, size - copied)
        except (OSError, AttributeError) as error:
            if copied or getattr(error, "errno", errno.ENOSYS) not in _NO_COPY_RANGE:
                raise
            return False
        copied += done
        if not done:
            return True
    return True
