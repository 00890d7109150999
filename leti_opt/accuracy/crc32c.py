"""CRC-32C (Castagnoli), as TFRecord files carry it: of one piece of bytes, or of many that lie in one block.

A CRC is linear: each byte changes the result by an amount that depends on its value and on how far it is from the end,
and the amounts are XORed. With a table of these amounts all records of a block are taken at once.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_POLYNOMIAL = 0x82F63B78
_ONES = 0xFFFFFFFF
_SHORTEST_TABLE = 1024


def crc32c(data: bytes) -> int:
    """The checksum, byte by byte.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    register = _ONES
    table = _byte_table()
    for byte in data:
        register = register >> 8 ^ table[(register ^ byte) & 0xFF]
    return register ^ _ONES


def masked_crc(data: bytes) -> int:
    """The checksum as TFRecord stores it: rotated, and a constant added."""
    masked: int = _masked(crc32c(data))
    return masked


def masked_crcs(block: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The stored checksum of each of the pieces ``block[start:end]``.

    Args:
        block: the bytes.
        starts: where the pieces begin, ascending; there is one at least.
        ends: where they end, each behind its start and before the next one.
    """
    lengths = ends - starts
    amounts, empty = _tables(_table_length(int(lengths.max())))
    bytes_to_next = np.diff(starts, append=ends[-1])
    # Bytes between two pieces get a negative distance, and are left out below.
    distance = np.repeat(ends - 1, bytes_to_next) - np.arange(starts[0], ends[-1])
    terms = amounts.take(distance * 256 + block[starts[0] : ends[-1]], mode="clip")
    bounds = np.stack([starts, ends], axis=1).reshape(-1)[:-1] - starts[0]
    registers = np.bitwise_xor.reduceat(terms, bounds)[::2] ^ empty[lengths]
    masked: NDArray[np.uint32] = _masked(~registers)
    return masked


def _masked(crc: Any) -> Any:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ONES


def _table_length(longest: int) -> int:
    """Few lengths, so that few tables are made."""
    return 1 << max(_SHORTEST_TABLE, longest).bit_length()


@cache
def _byte_table() -> tuple[int, ...]:
    """What each byte turns an empty register into."""

    def entry(register: int) -> int:
        for _ in range(8):
            register = register >> 1 ^ (_POLYNOMIAL if register & 1 else 0)
        return register

    return tuple(map(entry, range(256)))


@cache
def _tables(length: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """What a byte changes so far from the end, at ``256 * distance + byte``; the register after so many zeros."""
    one_byte = np.array(_byte_table(), dtype=np.uint32)
    amounts = np.empty((length, 256), dtype=np.uint32)
    empty = np.empty(length, dtype=np.uint32)
    amounts[0], empty[0] = one_byte, _ONES
    for distance in range(1, length):
        before = amounts[distance - 1]
        amounts[distance] = before >> 8 ^ one_byte[before & 0xFF]
        empty[distance] = empty[distance - 1] >> 8 ^ one_byte[empty[distance - 1] & 0xFF]
    return amounts.reshape(-1), empty
