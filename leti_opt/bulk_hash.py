"""NAS-Bench-101's graph hash for many cells of one size at once.

:func:`leti_opt.cell_graph.graph_hash` says what it is, for one cell. Here each of its rounds is taken for all vertices
together: those with the same number of edges into and out of them have texts of one length, which
:mod:`leti_opt.bulk_md5` hashes side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from leti_opt.bulk_md5 import Words, digest_bytes, md5_of_words, padded_words
from leti_opt.host_cores import usable_cores

_CHUNK = 1 << 15
_MOST_VERTICES_AT_ONCE = 1 << 18
_FEWEST_FOR_A_WORKER = 1 << 17
_HEX_BYTES = 32

Rows = NDArray[np.int64]


def bulk_graph_digests(
    adjacency: NDArray[np.int8], operations: NDArray[np.uint8], workers: int | None = None
) -> NDArray[np.uint8]:
    """The 16 bytes of each cell's graph hash.

    Args:
        adjacency: pruned cells, ``(cells, vertices, vertices)``.
        operations: positions in the list of labels of the vertices between input and output.
        workers: number of processes at most, None for one on each core that this process may use. The result is the
            same. Few cells are hashed in this process.

    >>> chain = np.array([[[0, 1, 0], [0, 0, 1], [0, 0, 0]]], dtype=np.int8)
    >>> bulk_graph_digests(chain, np.array([[2]], dtype=np.uint8)).tobytes().hex()
    '53cee42601ad14d661bb6878031d6acb'
    """
    cells, vertices, _ = adjacency.shape
    cores = workers or len(usable_cores())
    busy = min(cores, max(1, cells * vertices // _FEWEST_FOR_A_WORKER))
    parts = _parts(cells, max(1, _MOST_VERTICES_AT_ONCE // vertices), busy)
    if busy == 1:
        digests = [_digests(adjacency[part], operations[part]) for part in parts]
    else:
        from joblib import Parallel, delayed

        # Processes: two threads took as long as one (seen on two idle cores), since operations on arrays of this size
        # are so short that threads wait for the interpreter's lock most of the time.
        tasks = (delayed(_digests)(adjacency[part], operations[part]) for part in parts)
        digests = Parallel(n_jobs=busy, prefer="processes")(tasks)
    return np.concatenate([np.empty((0, 16), dtype=np.uint8), *digests])


def _parts(cells: int, most: int, workers: int) -> list[slice]:
    """Equal parts of at most so many cells, equally many for each worker."""
    rounds = -(-cells // (most * workers))
    size = max(1, -(-cells // max(1, rounds * workers)))
    return [slice(start, start + size) for start in range(0, cells, size)]


@dataclass(frozen=True)
class _Hashes:
    """The present hash of every vertex of every cell.

    Args:
        digits: its text, four hexadecimal digits a word, ``(8, vertices)``.
        halves: its bytes as two numbers that sort like the text, ``(2, vertices)``.
    """

    digits: Words
    halves: NDArray[np.uint64]

    @classmethod
    def room_for(cls, count: int) -> _Hashes:
        return cls(np.empty((8, count), dtype=np.uint32), np.empty((2, count), dtype=np.uint64))

    def put(self, rows: Rows, digests: Words) -> None:
        """Set the hashes of some vertices."""
        table = _digit_table()
        for place, word in enumerate(digests):
            self.digits[2 * place][rows] = table.take(word & 0xFFFF)
            self.digits[2 * place + 1][rows] = table.take(word >> 16)
        swapped = digests.byteswap().astype(np.uint64)
        for half in (0, 1):
            self.halves[half][rows] = swapped[2 * half] << 32 | swapped[2 * half + 1]

    def in_order(self, columns: Iterable[Rows]) -> list[Rows]:
        """Vertices in columns, those of each row sorted by their hashes."""
        columns = list(columns)
        # Odd-even transposition: as many passes as columns sort any row.
        for turn in range(len(columns) if len(columns) > 1 else 0):
            for place in range(turn % 2, len(columns) - 1, 2):
                one, other = columns[place], columns[place + 1]
                swap = self._greater(one, other)
                columns[place], columns[place + 1] = np.where(swap, other, one), np.where(swap, one, other)
        return columns

    def _greater(self, one: Rows, other: Rows) -> NDArray[np.bool_]:
        high, low = self.halves
        first, second = high[one], high[other]
        greater: NDArray[np.bool_] = first > second
        tied = first == second
        if tied.any():
            greater |= tied & (low[one] > low[other])
        return greater

    def write(self, words: Words, offset: int, rows: Rows) -> None:
        """Put the text of these vertices' hashes into messages, at this byte of each."""
        first, shift = offset // 4, offset % 4 * 8
        for place, digits in enumerate(self.digits):
            taken = digits.take(rows)
            words[first + place] |= taken << shift
            if shift:
                words[first + place + 1] |= taken >> (32 - shift)


@dataclass(frozen=True)
class _Alike:
    """Some vertices of a batch that have the same numbers of edges into and out of them.

    Args:
        place: where they are in the batch.
        sources: their neighbours, in columns: the first of each vertex, then the second, ….
        targets: likewise.
    """

    place: slice
    sources: Rows
    targets: Rows

    def write(self, words: Words, hashes: _Hashes) -> None:
        """The texts of the neighbours' hashes, each with the bar behind it."""
        offset = 0
        for neighbours in (self.sources, self.targets):
            for column in hashes.in_order(neighbours):
                hashes.write(words, offset, column)
                offset += _HEX_BYTES
            words[offset // 4] |= ord("|") << offset % 4 * 8
            offset += 1


@dataclass(frozen=True)
class _Batch:
    """Some vertices that have the same number of edges, and so texts of the same length."""

    rows: Rows
    edges: int
    alike: list[_Alike]

    def advance(self, before: _Hashes, after: _Hashes) -> None:
        """One round: the hash of the neighbours' hashes and one's own."""
        own = _HEX_BYTES * self.edges + 2
        words = padded_words(len(self.rows), own + _HEX_BYTES)
        for alike in self.alike:
            alike.write(words[:, alike.place], before)
        before.write(words, own, self.rows)
        after.put(self.rows, md5_of_words(words))


def _digests(adjacency: NDArray[np.int8], operations: NDArray[np.uint8]) -> NDArray[np.uint8]:
    cells, vertices, _ = adjacency.shape
    batches = list(_batches(adjacency))
    hashes, spare = _Hashes.room_for(cells * vertices), _Hashes.room_for(cells * vertices)
    _put_first(hashes, adjacency, operations)
    for _ in range(vertices):
        for batch in batches:
            batch.advance(before=hashes, after=spare)
        hashes, spare = spare, hashes
    whole = np.arange(cells * vertices).reshape(cells, vertices)
    return np.concatenate([_last(hashes, whole[start : start + _CHUNK]) for start in range(0, cells, _CHUNK)])


def _batches(adjacency: NDArray[np.int8]) -> Iterator[_Batch]:
    """All vertices of all cells by their numbers of edges, in batches that caches can hold."""
    vertices = adjacency.shape[1]
    outgoing = adjacency.reshape(-1, vertices)
    incoming = np.ascontiguousarray(adjacency.transpose(0, 2, 1)).reshape(-1, vertices)
    in_degrees = incoming.sum(axis=1, dtype=np.int64)
    degrees = in_degrees + outgoing.sum(axis=1, dtype=np.int64)
    for edges in np.unique(degrees).tolist():
        alike = np.flatnonzero(degrees == edges)
        alike = alike[np.argsort(in_degrees[alike], kind="stable")]
        for start in range(0, len(alike), _CHUNK):
            rows = alike[start : start + _CHUNK]
            bounds = [0, *(np.flatnonzero(np.diff(in_degrees[rows])) + 1).tolist(), len(rows)]
            places = [slice(*pair) for pair in pairwise(bounds)]
            yield _Batch(
                rows,
                edges,
                [
                    _Alike(place, _neighbours(incoming, rows[place]), _neighbours(outgoing, rows[place]))
                    for place in places
                ],
            )


def _neighbours(edges: NDArray[np.int8], rows: Rows) -> Rows:
    """The other ends of the edges of some vertices, which have equally many, in columns."""
    vertices = edges.shape[1]
    first = rows - rows % vertices
    columns = np.ascontiguousarray(np.nonzero(edges[rows])[1].reshape(len(rows), -1).T)
    neighbours: Rows = columns + first
    return neighbours


def _put_first(hashes: _Hashes, adjacency: NDArray[np.int8], operations: NDArray[np.uint8]) -> None:
    """The hash that each vertex begins with: of its degrees and its label."""
    cells, vertices, _ = adjacency.shape
    labels = np.empty((cells, vertices), dtype=np.int64)
    labels[:, 0], labels[:, 1:-1], labels[:, -1] = -1, operations, -2
    out_degrees, in_degrees = adjacency.sum(axis=2, dtype=np.int64), adjacency.sum(axis=1, dtype=np.int64)
    kinds = int(labels.max()) + 3
    codes = ((out_degrees * vertices + in_degrees) * kinds + labels + 2).reshape(-1)
    occurs = np.zeros(vertices**2 * kinds, dtype=bool)
    occurs[codes] = True
    distinct = np.flatnonzero(occurs).tolist()
    triples = [(code // kinds // vertices, code // kinds % vertices, code % kinds - 2) for code in distinct]
    digests = b"".join(hashlib.md5(str(triple).encode(), usedforsecurity=False).digest() for triple in triples)
    words = np.frombuffer(digests, dtype="<u4").reshape(-1, 4)
    for start in range(0, len(codes), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(codes)))
        hashes.put(rows, words[(np.cumsum(occurs) - 1)[codes[rows]]].T)


def _last(hashes: _Hashes, cells: Rows) -> NDArray[np.uint8]:
    """The hash of each cell: of the text of the sorted list of its vertices' hashes."""
    count, vertices = cells.shape
    frame = str(["-" * _HEX_BYTES] * vertices).encode().replace(b"-", b"\0")
    words = padded_words(count, len(frame))
    fixed = np.frombuffer(frame + bytes(-len(frame) % 4), dtype="<u4")
    words[: len(fixed)] |= fixed[:, None]
    columns = [np.ascontiguousarray(column) for column in cells.T]
    for place, column in enumerate(hashes.in_order(columns)):
        hashes.write(words, len("['") + place * (_HEX_BYTES + len("', '")), column)
    return digest_bytes(md5_of_words(words))


@cache
def _digit_table() -> NDArray[np.uint32]:
    """The four hexadecimal digits of every two bytes."""
    pairs = np.arange(1 << 16, dtype="<u2").view(np.uint8).reshape(-1, 2)
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    return digits[np.stack([pairs >> 4, pairs & 15], axis=2)].reshape(-1, 4).view(np.uint32)[:, 0]
