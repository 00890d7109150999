"""MD5 of many messages of one length at once (RFC 1321), as operations on whole arrays.

A message of two blocks takes a fraction of a microsecond, where hashlib takes about one. Arrays of some ten thousand
messages are best: smaller ones spend their time on starting operations, larger ones leave the processor's caches.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_SINES = [np.uint32(int(abs(math.sin(step)) * 2**32)) for step in range(1, 65)]
_SHIFTS = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_WORD_STEPS = ((1, 0), (5, 1), (3, 5), (7, 0))

Words = NDArray[np.uint32]


def md5_digests(messages: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """MD5 of each row: 16 bytes a message.

    >>> md5_digests(np.frombuffer(b"abc", dtype=np.uint8)[None]).tobytes().hex()
    '900150983cd24fb0d6963f7d28e17f72'
    """
    count, length = messages.shape
    whole = np.zeros((count, -(-length // 4) * 4), dtype=np.uint8)
    whole[:, :length] = messages
    words = padded_words(count, length)
    words[: whole.shape[1] // 4] |= whole.view("<u4").T
    return digest_bytes(md5_of_words(words))


def padded_words(count: int, length: int) -> Words:
    """Room for messages of ``length`` bytes: MD5's padding is there, all else is 0.

    Message bytes are filled in four to a word, the first one lowest; each row holds one word of every message.
    """
    words = np.zeros(((length + 8) // 64 * 16 + 16, count), dtype=np.uint32)
    words[length // 4] = 0x80 << length % 4 * 8
    words[-2] = length * 8 & 0xFFFFFFFF
    words[-1] = length * 8 >> 32
    return words


def md5_of_words(words: Words) -> Words:
    """MD5 of padded messages: four words for each, the first byte lowest in the first; ``(4, messages)``."""
    state = [np.full(words.shape[1], start, dtype=np.uint32) for start in _START]
    for first in range(0, len(words), 16):
        for total, mixed in zip(state, _mixed(words[first : first + 16], state), strict=True):
            total += mixed
    return np.stack(state)


def digest_bytes(digests: Words) -> NDArray[np.uint8]:
    """The 16 bytes of each message's digest, ``(messages, 16)``."""
    return np.ascontiguousarray(digests.T).astype("<u4", copy=False).view(np.uint8)


def _mixed(block: Words, state: list[Words]) -> tuple[Words, Words, Words, Words]:
    """The 64 steps on one block of each message, ``(16, messages)``."""
    a, b, c, d = (part.copy() for part in state)
    new, shifted = np.empty_like(a), np.empty_like(a)
    for step, sine in enumerate(_SINES):
        kind = step // 16
        factor, offset = _WORD_STEPS[kind]
        shift = _SHIFTS[kind][step % 4]
        _combine(kind, b, c, d, new)
        np.add(new, a, new)
        np.add(new, block[(factor * step + offset) % 16], new)
        np.add(new, sine, new)
        np.left_shift(new, np.uint32(shift), shifted)
        np.right_shift(new, np.uint32(32 - shift), new)
        np.bitwise_or(new, shifted, new)
        np.add(new, b, new)
        a, b, c, d, new = d, new, b, c, a
    return a, b, c, d


def _combine(kind: int, b: Words, c: Words, d: Words, out: Words) -> None:
    if kind == 0:  # c where b is set, else d
        np.bitwise_xor(c, d, out)
        np.bitwise_and(out, b, out)
        np.bitwise_xor(out, d, out)
    elif kind == 1:  # b where d is set, else c
        np.bitwise_xor(b, c, out)
        np.bitwise_and(out, d, out)
        np.bitwise_xor(out, c, out)
    elif kind == 2:
        np.bitwise_xor(b, c, out)
        np.bitwise_xor(out, d, out)
    else:
        np.bitwise_not(d, out)
        np.bitwise_or(out, b, out)
        np.bitwise_xor(out, c, out)
