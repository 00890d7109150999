"""TFRecord files, read in one pass without TensorFlow.

A record is its length (8 bytes, little-endian), the length's masked CRC-32C (4), the data, and the data's masked
CRC-32C (4). Both checksums of every record are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

import numpy as np

from leti_opt.accuracy.crc32c import masked_crc, masked_crcs
from leti_opt.errors import AccuracyFileError

_CHUNK = 1 << 20
_HEADER = 12
_FOOTER = 4
LONGEST_RECORD = 1 << 16
"""A longer record is none of the tables that this package reads; memory stays small whatever a file says."""


class Record(NamedTuple):
    """The data of one record, and the byte of the file at which its header begins."""

    offset: int
    data: bytes


def read_records(stream: BinaryIO, name: str, seen: Callable[[bytes], object] | None = None) -> Iterator[Record]:
    """Every record of a file, in order; the checksums of each are right.

    Args:
        stream: the file, at its beginning.
        name: what messages call it.
        seen: is given the file's bytes as they are read, piece by piece.

    Raises:
        AccuracyFileError: a record is damaged, cut, empty or longer than :data:`LONGEST_RECORD`; the message names the
            byte at which it begins. A file that was cut between two records has no fault that one could see.
    """
    lengths: dict[bytes, int] = {}
    offset, number, rest = 0, 0, b""
    while chunk := stream.read(_CHUNK):
        if seen:
            seen(chunk)
        block = rest + chunk
        frames = _walk(block, lengths)
        wrong = _wrong_data(block, frames)
        sound = len(frames.starts) if wrong is None else wrong
        for start, end in zip(frames.starts[:sound], frames.ends[:sound], strict=True):
            yield Record(offset + start - _HEADER, block[start:end])
        number += sound
        if wrong is not None:
            place = offset + frames.starts[wrong] - _HEADER
            raise _fault(name, number, place, "is damaged: its checksum differs")
        offset += frames.length
        if frames.fault:
            raise _fault(name, number, offset, frames.fault)
        rest = block[frames.length :]
    if rest:
        raise _fault(name, number, offset, f"is cut: the file ends at byte {offset + len(rest)}")


@dataclass(frozen=True)
class _Frames:
    """The whole records of a block.

    Args:
        starts: where the data of each begins.
        ends: where it ends.
        length: where the next record begins.
        fault: what is wrong with the next record's header; empty if nothing is known to be.
    """

    starts: list[int]
    ends: list[int]
    length: int
    fault: str


def _walk(block: bytes, lengths: dict[bytes, int]) -> _Frames:
    """Find the records; ``lengths`` remembers the headers that were checked, which are few."""
    starts: list[int] = []
    ends: list[int] = []
    place, size, fault = 0, len(block), ""
    while place + _HEADER <= size:
        header = block[place : place + _HEADER]
        length = lengths.get(header)
        if length is None:
            length = int.from_bytes(header[:8], "little")
            fault = _header_fault(header, length)
            if fault:
                break
            lengths[header] = length
        end = place + _HEADER + length
        if end + _FOOTER > size:
            break
        starts.append(place + _HEADER)
        ends.append(end)
        place = end + _FOOTER
    return _Frames(starts, ends, place, fault)


def _header_fault(header: bytes, length: int) -> str:
    if masked_crc(header[:8]) != int.from_bytes(header[8:], "little"):
        return "is damaged: the checksum of its length differs"
    if not 1 <= length <= LONGEST_RECORD:
        return f"has {length} bytes, where 1 to {LONGEST_RECORD} are expected: it is another kind of file"
    return ""


def _wrong_data(block: bytes, frames: _Frames) -> int | None:
    """The first of the records whose data does not have its checksum."""
    if not frames.starts:
        return None
    content = np.frombuffer(block, dtype=np.uint8)
    ends = np.array(frames.ends)
    stored = content[ends[:, None] + np.arange(_FOOTER)].view("<u4")[:, 0]
    differs = masked_crcs(content, np.array(frames.starts), ends) != stored
    return int(differs.argmax()) if differs.any() else None


def _fault(name: str, number: int, offset: int, what: str) -> AccuracyFileError:
    return AccuracyFileError(
        f"{name}: record {number + 1}, at byte {offset}, {what}; fetch the file again and compare its SHA-256"
    )
