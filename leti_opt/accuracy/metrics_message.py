"""NAS-Bench-101's ``ModelMetrics``, a small protocol buffer (proto2), decoded without Google's library.

``ModelMetrics``: 1 the evaluations, repeated; 2 ``trainable_parameters``, int32; 3 ``total_time``, double.
``EvaluationData``: 1 ``current_epoch``, 2 ``training_time``, 3 ``train_accuracy``, 4 ``validation_accuracy``,
5 ``test_accuracy``, doubles; 6 ``checkpoint_path``, a string. Other fields are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import nan
from typing import NamedTuple

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_FIXED_SIZES = {_FIXED64: 8, _FIXED32: 4}
_DEEPEST_GROUP = 100
_DOUBLE = struct.Struct("<d")
_PLAIN_EVALUATION = struct.Struct("<BdBdBdBdBd")
_PLAIN_TAGS = (0x09, 0x11, 0x19, 0x21, 0x29)


class Evaluation(NamedTuple):
    """What was seen at one point of a training; NaN where the message does not say."""

    current_epoch: float = nan
    training_time_s: float = nan
    train_accuracy: float = nan
    validation_accuracy: float = nan
    test_accuracy: float = nan


@dataclass(frozen=True)
class ModelMetrics:
    """One training.

    Args:
        evaluations: in the message's order.
        trainable_parameters: None where the message does not say.
    """

    evaluations: tuple[Evaluation, ...]
    trainable_parameters: int | None


def decode_metrics(message: bytes) -> ModelMetrics:
    """Decode a serialized ``ModelMetrics``.

    Raises:
        ValueError: the bytes are no protocol buffer.

    >>> decode_metrics(bytes.fromhex("0a09210000000000 00e83f 108ab9a401"))
    ModelMetrics(evaluations=(Evaluation(current_epoch=nan, training_time_s=nan, train_accuracy=nan, \
validation_accuracy=0.75, test_accuracy=nan),), trainable_parameters=2694282)
    """
    evaluations: list[Evaluation] = []
    parameters = None
    for number, kind, value in _fields(message):
        if number == 1 and kind == _BYTES:
            assert isinstance(value, bytes)
            evaluations.append(_evaluation(value))
        elif number == 2 and kind == _VARINT:
            assert isinstance(value, int)
            parameters = (value + (1 << 31)) % (1 << 32) - (1 << 31)  # int32: the low 32 bits, with their sign
    return ModelMetrics(tuple(evaluations), parameters)


def _evaluation(message: bytes) -> Evaluation:
    if len(message) == _PLAIN_EVALUATION.size:
        # As every encoder writes the five doubles, in their order and nothing else: at once.
        one, epoch, two, time_s, three, train, four, validation, five, test = _PLAIN_EVALUATION.unpack(message)
        if (one, two, three, four, five) == _PLAIN_TAGS:
            return Evaluation(epoch, time_s, train, validation, test)
    figures = [nan] * 5
    for number, kind, value in _fields(message):
        if number <= 5 and kind == _FIXED64:
            assert isinstance(value, bytes)
            figures[number - 1] = _DOUBLE.unpack(value)[0]
    return Evaluation(*figures)


def _fields(message: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and value of every field; groups, which nothing here needs, are passed over."""
    place, size = 0, len(message)
    while place < size:
        number, kind, place = _tag(message, place)
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield number, kind, value
        elif kind == _GROUP:
            place = _skip_group(message, place, number, _DEEPEST_GROUP)
        else:
            start, place = _extent(message, place, kind)
            yield number, kind, message[start:place]


def _tag(message: bytes, place: int) -> tuple[int, int, int]:
    tag, place = _varint(message, place)
    if not 8 <= tag < 1 << 32:
        raise ValueError(f"no field has the tag {tag}")
    return tag >> 3, tag & 7, place


def _extent(message: bytes, place: int, kind: int) -> tuple[int, int]:
    """Where the value begins and ends."""
    if kind == _BYTES:
        length, place = _varint(message, place)
    elif kind in _FIXED_SIZES:
        length = _FIXED_SIZES[kind]
    else:
        raise ValueError(f"no field has the wire type {kind} here")
    if place + length > len(message):
        raise ValueError("it ends inside a field")
    return place, place + length


def _skip_group(message: bytes, place: int, number: int, deepest: int) -> int:
    if not deepest:
        raise ValueError("its groups are nested too deeply")
    while True:
        inner, kind, place = _tag(message, place)
        if kind == _END_GROUP:
            if inner != number:
                raise ValueError("it ends another group than it began")
            return place
        if kind == _VARINT:
            _, place = _varint(message, place)
        elif kind == _GROUP:
            place = _skip_group(message, place, inner, deepest - 1)
        else:
            _, place = _extent(message, place, kind)


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise ValueError("it ends inside a number")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number is longer than ten bytes")
