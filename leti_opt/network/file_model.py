"""What stands in a TFLite file, as plain data: the writer describes, the serializer turns it into bytes.

Nobody changes one of these once it is made. They are not frozen all the same: that would make them four times as slow
to make, and a network has a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True, eq=False)
class TensorQuantization:
    """How integers stand for real numbers: ``real = scale * (integer - zero_point)``.

    Args:
        scales: one for the tensor, or one for each slice along ``axis``.
        zero_points: as many.
        axis: along which the scales run; of no meaning where there is one.
    """

    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int = 0


@dataclass(slots=True, eq=False)
class FileBuffer:
    """The bytes of a constant: in the flatbuffer, or after it in the same file. Neither: a tensor without values.

    Args:
        data: values that are written into the flatbuffer.
        offset: where the values begin, counted from the start of the file, when they are outside the flatbuffer.
        size: how many bytes they are there.
    """

    data: NDArray[Any] | None = None
    offset: int = 0
    size: int = 0


NO_BUFFER = FileBuffer()
"""Buffer 0 of every file: that of the tensors without values."""


@dataclass(slots=True, eq=False)
class FileConstant:
    """A constant that an operator reads, on its way to become a tensor and its buffer."""

    shape: tuple[int, ...]
    type: str
    buffer: FileBuffer
    quantization: TensorQuantization | None = None


@dataclass(slots=True, eq=False)
class FileTensor:
    """One tensor.

    Args:
        name: shown by tools; need not be unique.
        shape: with the batch; ``()`` for a scalar.
        type: TFLite's name of it, for instance ``FLOAT32``.
        buffer: position among the file's buffers; 0 for a tensor without values.
        quantization: None for real numbers.
    """

    name: str
    shape: tuple[int, ...]
    type: str
    buffer: int = 0
    quantization: TensorQuantization | None = None


@dataclass(slots=True, eq=False)
class OperatorOptions:
    """Settings of an operator. Operators that hold the same object share its place in the file.

    Args:
        table: TFLite's name of this kind of options, for instance ``Conv2DOptions``.
        fields: settings by TFLite's names in the order of its schema; those that are left out have its defaults.
    """

    table: str
    fields: tuple[tuple[str, int | float | bool], ...] = ()


@dataclass(slots=True, eq=False)
class FileOperator:
    """One operator.

    Args:
        name: TFLite's name of it, for instance ``CONV_2D``.
        inputs: positions of the tensors that it reads; -1 for one that is left out.
        outputs: positions of the tensors that it writes.
        options: None for operators that have none.
        version: of the operator, which rises with the features it uses.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: OperatorOptions | None = None
    version: int = 1


@dataclass(slots=True, eq=False)
class FileModel:
    """A whole file with one subgraph.

    Args:
        tensors, operators, buffers: refer to one another by position. Buffer 0 is :data:`NO_BUFFER`.
        inputs, outputs: positions of the tensors that a caller fills and reads.
        description: who wrote it.
    """

    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    buffers: tuple[FileBuffer, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str = "leti_opt"
