"""CRC-32C bit by bit, and TFRecord's mask: slow and obvious."""

from __future__ import annotations


def reference_crc32c(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        for position in range(8):
            lowest = (register ^ (byte >> position)) & 1
            register >>= 1
            if lowest:
                register ^= 0x82F63B78
    return register ^ 0xFFFFFFFF


def reference_masked_crc(data: bytes) -> int:
    crc = reference_crc32c(data)
    rotated = (crc >> 15) | (crc << 17) & 0xFFFFFFFF
    return (rotated + 0xA282EAD8) % 2**32
