"""The small pieces of a flatbuffer: strings, vectors, and tables that link to nothing outside themselves.

All links are relative, so such a piece can be made once and put anywhere, and into many files.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from leti_opt.errors import InvalidInputError
from leti_opt.network.file_format import BUILTIN_OPERATORS, LAST_DEPRECATED_OPERATOR, OPTIONS, OptionsTable
from leti_opt.network.file_model import OperatorOptions, TensorQuantization

_QUANTIZATION_PLACES = (0, 0, 4, 8, 0, 0, 12)
"""Slots of QuantizationParameters: min, max, scales, zero points, type of details, details, axis."""
QUANTIZATION_SIZE = 16 + 20
"""Of its table and the layout of that."""


def table_layout(table_size: int, places: Sequence[int]) -> bytes:
    """Where in a table each field is, by slot; 0 for one that is left out."""
    return struct.pack(f"<{2 + len(places)}H", 4 + 2 * len(places), table_size, *places)


def number_of(numbers: Mapping[str, int], name: str, what: str) -> int:
    """The format's number of a name.

    Raises:
        InvalidInputError: it has none.
    """
    found = numbers.get(name)
    if found is None:
        raise InvalidInputError(f"the writer knows no {what} {name!r}; known: {', '.join(numbers)}")
    return found


def options_table(options: OperatorOptions) -> OptionsTable:
    """The format's layout of a kind of options.

    Raises:
        InvalidInputError: it has none.
    """
    if options.table not in OPTIONS:
        raise InvalidInputError(f"the writer knows no options {options.table!r}; known: {', '.join(OPTIONS)}")
    return OPTIONS[options.table]


def string_piece(text: str) -> bytes:
    """Length, the text in UTF-8, and at least one zero up to a multiple of four bytes."""
    encoded = text.encode()
    return len(encoded).to_bytes(4, "little") + encoded + b"\0\0\0\0"[len(encoded) % 4 :]


@lru_cache(maxsize=4096)
def vector_piece(values: tuple[int, ...]) -> bytes:
    """Length and values, 32 bits each."""
    return struct.pack(f"<I{len(values)}i", len(values), *values)


@lru_cache(maxsize=256)
def operator_code_piece(code: tuple[str, int]) -> bytes:
    """The table that names an operator and its version.

    Raises:
        InvalidInputError: the format has no such operator.
    """
    name, version = code
    number = number_of(BUILTIN_OPERATORS, name, "operator")
    fields = struct.pack("<b3xii", min(number, LAST_DEPRECATED_OPERATOR), version, number)
    return _piece(fields, [4, 0, 8, 12])


@lru_cache(maxsize=1024)
def options_piece(options: OperatorOptions) -> bytes:
    """The table of an operator's settings, four bytes each.

    Raises:
        InvalidInputError: there is no such setting.
    """
    known = options_table(options).fields
    places = [0] * len(known)
    fields = b""
    for name, value in options.fields:
        if name not in known:
            raise InvalidInputError(f"{options.table} has no setting {name!r}; known: {', '.join(known) or 'none'}")
        slot, letter = known[name]
        places[slot] = 4 + len(fields)
        packed = struct.pack(f"<{letter}", value)
        fields += packed + bytes(4 - len(packed))
    return _piece(fields, places)


def quantization_piece(parameters: TensorQuantization) -> bytes:
    """Table, scales and zero points in one piece, which must begin at a multiple of eight."""
    scales = np.ascontiguousarray(parameters.scales, "<f4")
    zero_points = np.ascontiguousarray(parameters.zero_points, "<i8")
    scales_at = QUANTIZATION_SIZE
    zero_points_at = scales_at + 4 + scales.nbytes
    gap = -(zero_points_at + 4) % 8
    fields = struct.pack("<IIi", scales_at - 4, zero_points_at + gap - 8, parameters.axis)
    vectors = [struct.pack("<I", scales.size), scales.tobytes(), bytes(gap)]
    vectors += [struct.pack("<I", zero_points.size), zero_points.tobytes()]
    # The zero points end at a multiple of eight, so that the next piece can follow.
    return _piece(fields, _QUANTIZATION_PLACES) + b"".join(vectors)


def _piece(fields: bytes, places: Sequence[int]) -> bytes:
    """A table with its layout behind it, which can be put anywhere."""
    layout = table_layout(4 + len(fields), places)
    return struct.pack("<i", -4 - len(fields)) + fields + layout + bytes(-len(layout) % 4)
