"""The serializer against the schema's own classes: what either wrote reads back as the same objects."""

from __future__ import annotations

import enum
import re
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.errors import InvalidInputError
from leti_opt.network import file_format
from leti_opt.network.file_model import (
    NO_BUFFER,
    FileBuffer,
    FileModel,
    FileOperator,
    FileTensor,
    OperatorOptions,
    TensorQuantization,
)
from leti_opt.network.flatbuffer import serialize

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INT32 = st.integers(-(2**31), 2**31 - 1)


def packed_by_the_schema(model: FileModel) -> bytes:
    """The slow reference: the object API."""
    codes: dict[tuple[str, int], int] = {}
    operators = []
    for operator in model.operators:
        entry = schema.OperatorT()
        entry.opcodeIndex = codes.setdefault((operator.name, operator.version), len(codes))
        entry.inputs = np.array(operator.inputs, np.int32)
        entry.outputs = np.array(operator.outputs, np.int32)
        if operator.options is not None:
            table = operator.options.table
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            entry.builtinOptions = getattr(schema, f"{table}T")()
            for name, value in operator.options.fields:
                setattr(entry.builtinOptions, camel_case(name), value)
        operators.append(entry)
    subgraph = schema.SubGraphT()
    subgraph.name = b"main"
    subgraph.tensors = [tensor_object(tensor) for tensor in model.tensors]
    subgraph.operators = operators
    subgraph.inputs = np.array(model.inputs, np.int32)
    subgraph.outputs = np.array(model.outputs, np.int32)
    whole = schema.ModelT()
    whole.version = 3
    whole.description = model.description.encode()
    whole.subgraphs = [subgraph]
    whole.buffers = [buffer_object(buffer) for buffer in model.buffers]
    whole.operatorCodes = [code_object(name, version) for name, version in codes]
    builder = flatbuffers.Builder(1024)
    builder.Finish(whole.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def tensor_object(tensor: FileTensor) -> Any:
    entry = schema.TensorT()
    entry.name = tensor.name.encode()
    entry.shape = np.array(tensor.shape, np.int32)
    entry.type = getattr(schema.TensorType, tensor.type)
    entry.buffer = tensor.buffer
    if tensor.quantization is not None:
        entry.quantization = schema.QuantizationParametersT()
        entry.quantization.scale = tensor.quantization.scales
        entry.quantization.zeroPoint = tensor.quantization.zero_points
        entry.quantization.quantizedDimension = tensor.quantization.axis
    return entry


def buffer_object(buffer: FileBuffer) -> Any:
    entry = schema.BufferT()
    if buffer.data is not None:
        entry.data = np.frombuffer(buffer.data.tobytes(), np.uint8)
    entry.offset, entry.size = buffer.offset, buffer.size
    return entry


def code_object(name: str, version: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode = getattr(schema.BuiltinOperator, name)
    entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
    entry.version = version
    return entry


def camel_case(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


def tree(value: Any) -> Any:
    """An unpacked object as plain values."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, list):
        return [tree(item) for item in value]
    if isinstance(value, enum.Enum) or not hasattr(value, "__dict__"):
        return value
    return {"kind": type(value).__name__, **{name: tree(item) for name, item in vars(value).items()}}


def unpacked(content: bytes) -> Any:
    return tree(schema.ModelT.InitFromPackedBuf(content, 0))


@st.composite
def quantizations(draw: st.DrawFn) -> TensorQuantization:
    count = draw(st.integers(0, 5))
    scales = draw(st.lists(st.floats(width=32, allow_nan=False), min_size=count, max_size=count))
    zeros = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=count, max_size=count))
    return TensorQuantization(np.array(scales, np.float32), np.array(zeros, np.int64), draw(st.integers(0, 4)))


@st.composite
def options(draw: st.DrawFn) -> OperatorOptions:
    table = draw(st.sampled_from(sorted(file_format.OPTIONS)))
    values = {"b": st.integers(-128, 127), "i": INT32, "?": st.booleans()}
    fields = file_format.OPTIONS[table].fields
    chosen = [name for name in fields if draw(st.booleans())]
    return OperatorOptions(table, tuple((name, draw(values[fields[name][1]])) for name in chosen))


@st.composite
def buffers(draw: st.DrawFn) -> FileBuffer:
    kind = draw(st.sampled_from(["none", "inside", "outside"]))
    if kind == "inside":
        dtype = draw(st.sampled_from([np.float32, np.float16, np.int8, np.int32]))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        return FileBuffer(np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape))
    return (
        FileBuffer(offset=draw(st.integers(0, 2**64 - 1)), size=draw(st.integers(0, 2**40)))
        if kind != "none"
        else NO_BUFFER
    )


@st.composite
def models(draw: st.DrawFn) -> FileModel:
    """Whatever the types can say, sensible or not: nothing here could run."""
    tensors = st.builds(
        FileTensor,
        NAMES,
        st.lists(INT32, max_size=5).map(tuple),
        st.sampled_from(sorted(file_format.TENSOR_TYPES)),
        st.integers(0, 2**32 - 1),
        st.none() | quantizations(),
    )
    indices = st.lists(st.integers(-1, 300), max_size=4).map(tuple)
    operators = st.builds(
        FileOperator,
        st.sampled_from(sorted(file_format.BUILTIN_OPERATORS)),
        indices,
        indices,
        st.none() | options(),
        st.integers(1, 9),
    )
    return FileModel(
        tuple(draw(st.lists(tensors, max_size=6))),
        tuple(draw(st.lists(operators, max_size=6))),
        (NO_BUFFER, *draw(st.lists(buffers(), max_size=5))),
        draw(indices),
        draw(indices),
        draw(NAMES),
    )


@given(models())
@settings(deadline=None, max_examples=150)
def test_any_model_reads_back_as_the_schemas_own_file_does(model: FileModel) -> None:
    assert unpacked(serialize(model)) == unpacked(packed_by_the_schema(model))


@given(models())
@settings(deadline=None, max_examples=50)
def test_data_are_aligned_for_the_widest_instructions(model: FileModel) -> None:
    content = serialize(model)
    assert len(content) % 4 == 0
    read = schema.Model.GetRootAs(content, 0)
    for place in range(read.BuffersLength()):
        buffer = read.Buffers(place)
        if buffer.DataLength():
            vector = buffer._tab.Vector(buffer._tab.Offset(4))
            assert vector % 16 == 0
        table = buffer._tab.Pos
        assert table % 8 == 0


def test_every_number_is_the_schemas() -> None:
    for name, number in file_format.TENSOR_TYPES.items():
        assert getattr(schema.TensorType, name) == number
    for name, number in file_format.BUILTIN_OPERATORS.items():
        assert getattr(schema.BuiltinOperator, name) == number
    for name, table in file_format.OPTIONS.items():
        assert getattr(schema.BuiltinOptions, name) == table.number
    assert (schema.Padding.SAME, schema.Padding.VALID) == (file_format.PADDING_SAME, file_format.PADDING_VALID)
    activations = schema.ActivationFunctionType
    assert (activations.NONE, activations.RELU) == (file_format.ACTIVATION_NONE, file_format.ACTIVATION_RELU)
    assert set(file_format.NUMPY_TYPES.values()) <= set(file_format.TENSOR_TYPES)


@pytest.mark.parametrize("table", sorted(file_format.OPTIONS))
def test_every_setting_of_every_kind_of_options_reads_back(table: str) -> None:
    fields = {name: True if letter == "?" else 7 for name, (_, letter) in file_format.OPTIONS[table].fields.items()}
    operator = FileOperator("ADD", (), (), OperatorOptions(table, tuple(fields.items())))
    model = FileModel((), (operator,), (NO_BUFFER,), (), ())

    read = schema.ModelT.InitFromPackedBuf(serialize(model), 0).subgraphs[0].operators[0].builtinOptions
    found = vars(read or object.__new__(getattr(schema, f"{table}T")))

    assert {name: found[camel_case(name)] for name in fields} == fields


def sum_of(constant: FileBuffer, size: int) -> FileModel:
    """y = x + constant, over vectors."""
    tensors = (
        FileTensor("x", (1, size), "FLOAT32"),
        FileTensor("äußeres ε", (1, size), "FLOAT32", 1),
        FileTensor("y", (1, size), "FLOAT32"),
    )
    return FileModel(tensors, (FileOperator("ADD", (0, 1), (2,)),), (NO_BUFFER, constant), (0,), (2,))


def test_a_file_loads_and_computes_with_data_inside_and_outside() -> None:
    values = np.arange(64, dtype=np.float32)
    inside = serialize(sum_of(FileBuffer(values), 64))
    head = serialize(sum_of(FileBuffer(offset=4096, size=256), 64))
    outside = head.ljust(4096, b"\0") + values.tobytes()

    for content in (inside, outside):
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.ones((1, 64), np.float32))
        interpreter.invoke()
        assert interpreter.get_tensor(2).tolist() == [(values + 1).tolist()]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (FileModel((FileTensor("x", (), "FLOAT128"),), (), (NO_BUFFER,), (), ()), "no tensor type 'FLOAT128'"),
        (FileModel((), (FileOperator("SORT", (), ()),), (NO_BUFFER,), (), ()), "no operator 'SORT'"),
        (
            FileModel((), (FileOperator("ADD", (), (), OperatorOptions("SortOptions")),), (NO_BUFFER,), (), ()),
            "no options 'SortOptions'",
        ),
        (
            FileModel(
                (), (FileOperator("ADD", (), (), OperatorOptions("AddOptions", (("axis", 1),))),), (NO_BUFFER,), (), ()
            ),
            "AddOptions has no setting 'axis'",
        ),
        (
            FileModel((), (), (NO_BUFFER, FileBuffer(np.broadcast_to(np.int8(0), 2**31))), (), ()),
            "2.0 GiB.*weights outside",
        ),
    ],
)
def test_what_the_format_does_not_have_is_refused(model: FileModel, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        serialize(model)
