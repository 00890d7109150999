"""Whether the host that asks is one that the phone's owner has accepted."""

from __future__ import annotations

import base64
import struct

_WORDS = 64
_SHA1_PREFIX = bytes.fromhex("3021300906052b0e03021a05000414")


def parse_public_key(payload: bytes) -> tuple[int, int]:
    """Modulus and exponent of a host's key, as adb writes it: base64 of a little-endian structure, then a name."""
    raw = base64.b64decode(payload.split(b" ")[0].rstrip(b"\0"))
    (words,) = struct.unpack_from("<I", raw)
    if words != _WORDS:
        raise ValueError(f"a key of {words} words is not one of adb's")
    modulus = int.from_bytes(raw[8 : 8 + 4 * words], "little")
    (exponent,) = struct.unpack_from("<I", raw, 8 + 8 * words)
    return modulus, exponent


def signed(token: bytes, signature: bytes, key: tuple[int, int]) -> bool:
    """Whether the signature of the token was made with the key: RSA, PKCS #1 1.5, the token taken for a SHA-1."""
    modulus, exponent = key
    size = (modulus.bit_length() + 7) // 8
    opened = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(size, "big")
    body = _SHA1_PREFIX + token
    return opened == b"\x00\x01" + b"\xff" * (size - len(body) - 3) + b"\x00" + body
