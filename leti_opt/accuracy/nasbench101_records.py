"""What a record of NAS-Bench-101's accuracy files says: one training of one cell.

A record is UTF-8 JSON, ``[module_hash, epochs, adjacency, operations, metrics]``: the adjacency matrix row by row as a
text of 0 and 1, the operations joined by commas, and the metrics as a protocol buffer in base64.
"""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leti_opt.accuracy.metrics_message import Evaluation, decode_metrics
from leti_opt.architecture import INPUT, NAS_BENCH_101_LABELS, OUTPUT, Architecture
from leti_opt.bulk_hash import bulk_graph_digests

EPOCHS = (4, 12, 36, 108)
"""How long NAS-Bench-101 trained."""

_EVALUATIONS = 3
_HASH_BYTES = 16


class CellText(NamedTuple):
    """A cell as a record writes it."""

    adjacency: str
    operations: str


class TrainingRecord(NamedTuple):
    """One training of one cell.

    Args:
        digest: the 16 bytes of the cell's hash, as the file says it.
        epochs: one of :data:`EPOCHS`.
        cell: the cell itself.
        final: what was seen at the end; NaN where the file does not say.
        parameters: trainable ones of the network; None where the file does not say.
    """

    digest: bytes
    epochs: int
    cell: CellText
    final: Evaluation
    parameters: int | None


def parse_record(data: bytes) -> TrainingRecord:
    """Read one record.

    Raises:
        ValueError: it is not one of NAS-Bench-101's, or a figure cannot be; the message ends a sentence that begins
            with the record's name.
    """
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise ValueError("is no JSON") from error
    if not isinstance(content, list) or [type(part) for part in content] != [str, int, str, str, str]:
        raise ValueError("is not [hash, epochs, adjacency, operations, metrics]")
    module_hash, epochs, adjacency, operations, encoded = content
    if epochs not in EPOCHS:
        raise ValueError(f"has {epochs} epochs; NAS-Bench-101 has {', '.join(map(str, EPOCHS))}")
    final, parameters = _metrics(encoded, epochs)
    return TrainingRecord(_digest(module_hash), epochs, CellText(adjacency, operations), final, parameters)


def _digest(module_hash: str) -> bytes:
    try:
        digest = bytes.fromhex(module_hash)
    except ValueError:
        digest = b""
    if len(digest) != _HASH_BYTES or len(module_hash) != 2 * _HASH_BYTES:
        raise ValueError(f"has the hash {module_hash!r}, which is not 32 hexadecimal digits")
    return digest


def _metrics(encoded: str, epochs: int) -> tuple[Evaluation, int | None]:
    try:
        # Some encoders of base64 break lines.
        metrics = decode_metrics(binascii.a2b_base64(encoded.replace("\n", ""), strict_mode=True))
    except ValueError as error:
        raise ValueError(f"has metrics that cannot be decoded ({error})") from error
    if len(metrics.evaluations) != _EVALUATIONS:
        raise ValueError(
            f"has {len(metrics.evaluations)} evaluations, not {_EVALUATIONS} (at the start, half way, at the end)"
        )
    final = metrics.evaluations[-1]
    for evaluation in metrics.evaluations[:-1]:
        if evaluation.current_epoch > final.current_epoch:
            raise ValueError(f"has a last evaluation that is not the last of its {epochs} epochs")
    for accuracy in final[2:]:
        if accuracy < 0 or accuracy > 1:
            raise ValueError(f"has an accuracy of {accuracy}, not between 0 and 1")
    if final.training_time_s < 0 or final.training_time_s == float("inf"):
        raise ValueError(f"has a training time of {final.training_time_s} s")
    if metrics.trainable_parameters is not None and metrics.trainable_parameters < 1:
        raise ValueError(f"has {metrics.trainable_parameters} trainable parameters")
    return final, metrics.trainable_parameters


@dataclass(frozen=True)
class ClaimedHash:
    """A cell, and the hash that a record says it has.

    Args:
        offset: the byte of the file at which the record begins.
        digest: the hash's 16 bytes.
        cell: the cell.
    """

    offset: int
    digest: bytes
    cell: CellText


@dataclass(frozen=True)
class HashFault:
    """A claim that does not hold, and why: the end of a sentence that begins with the record's name."""

    offset: int
    reason: str


def first_wrong_hash(claims: list[ClaimedHash]) -> HashFault | None:
    """Compare each claim with :attr:`leti_opt.architecture.Architecture.graph_hash`, most of them in bulk.

    Returns:
        The first claim in the list that is wrong, None if all hold.
    """
    faults: list[HashFault] = []
    by_vertices: dict[int, list[tuple[ClaimedHash, NDArray[np.int8], NDArray[np.uint8]]]] = {}
    for claim in claims:
        try:
            adjacency, positions = _pruned_matrix(claim.cell.adjacency), _positions(claim.cell.operations)
        except ValueError as error:
            faults.append(HashFault(claim.offset, f"has no cell: {error}"))
            break
        if adjacency is not None and len(adjacency) == len(positions) + 2:
            by_vertices.setdefault(len(adjacency), []).append((claim, adjacency, positions))
        else:
            faults += _compared_alone(claim)
    for group in by_vertices.values():
        adjacencies = np.stack([adjacency for _, adjacency, _ in group])
        operations = np.stack([positions for _, _, positions in group])
        digests = bulk_graph_digests(adjacencies, operations, workers=1)
        faults += [
            _differs(claim, digest.tobytes().hex())
            for (claim, *_), digest in zip(group, digests, strict=True)
            if claim.digest != digest.tobytes()
        ]
    return min(faults, key=lambda fault: fault.offset, default=None)


def _compared_alone(claim: ClaimedHash) -> list[HashFault]:
    """For a cell that is not pruned, or none at all."""
    try:
        rows = _matrix(claim.cell.adjacency)
        found = Architecture(rows, claim.cell.operations.split(",")).graph_hash
    except ValueError as error:
        return [HashFault(claim.offset, f"has no cell: {error}")]
    return [] if found == claim.digest.hex() else [_differs(claim, found)]


def _differs(claim: ClaimedHash, found: str) -> HashFault:
    return HashFault(
        claim.offset,
        f"has the hash {claim.digest.hex()}, but leti_opt's graph hash of its adjacency and operations is {found}",
    )


@lru_cache(maxsize=1 << 14)
def _pruned_matrix(text: str) -> NDArray[np.int8] | None:
    """The matrix if it is a pruned cell's, with every edge leading upwards; else None."""
    matrix = _matrix(text)
    pruned = matrix[:-1].any(axis=1).all() and matrix[:, 1:].any(axis=0).all()
    return matrix if len(matrix) >= 2 and pruned and not np.tril(matrix).any() else None


def _matrix(text: str) -> NDArray[np.int8]:
    vertices = isqrt(len(text))
    if vertices**2 != len(text) or set(text) - {"0", "1"}:
        raise ValueError(f"{text[:60]!r} is no square matrix of 0 and 1, row by row")
    return np.array([int(digit) for digit in text], dtype=np.int8).reshape(vertices, vertices)


@lru_cache(maxsize=1 << 14)
def _positions(text: str) -> NDArray[np.uint8]:
    names: list[Any] = text.split(",")
    unknown = [name for name in names[1:-1] if name not in NAS_BENCH_101_LABELS]
    if len(names) < 2 or (names[0], names[-1]) != (INPUT, OUTPUT) or unknown:
        raise ValueError(f"{text[:120]!r} are not NAS-Bench-101's operations from 'input' to 'output'")
    return np.array([NAS_BENCH_101_LABELS.index(name) for name in names[1:-1]], dtype=np.uint8)
