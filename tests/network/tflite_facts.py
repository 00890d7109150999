"""What a TFLite file computes, read with LiteRT's own object API, for comparing two files without their weights."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from numpy.typing import NDArray

OPERATOR_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
COMMUTATIVE = ("ADD", "ADD_N", "MUL")


def operators(content: bytes) -> Counter[tuple[str, tuple[int, ...]]]:
    """How often each (operator, shape of its output) occurs."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    return Counter(
        (operator_name(model, operator), tuple(graph.tensors[operator.outputs[0]].shape.tolist()))
        for operator in graph.operators
    )


def computation(content: bytes) -> Counter[str]:
    """A digest for each operator: of its options, its output and everything that led to it.

    The order of execution, names and weights do not enter; integer constants (axes, sizes), the shapes of weights and
    how many scales they have along which axis do.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    of_tensor = {index: f"input {place}" for place, index in enumerate(graph.inputs.tolist())}
    found: Counter[str] = Counter()
    for operator in graph.operators:
        name = operator_name(model, operator)
        sources = [
            of_tensor.get(index) or constant(model, graph.tensors[index])
            for index in operator.inputs.tolist()
            if index >= 0
        ]
        sources = sorted(sources) if name in COMMUTATIVE else sources
        (output,) = operator.outputs.tolist()
        shape = graph.tensors[output].shape.tolist()
        options = sorted(vars(operator.builtinOptions).items()) if operator.builtinOptions else []
        text = f"{name} {options} {shape} {sources}"
        of_tensor[output] = f"{name} {shape} {hashlib.sha256(text.encode()).hexdigest()[:12]}"
        found[of_tensor[output]] += 1
    outputs = [of_tensor[index] for index in graph.outputs.tolist()]
    return found + Counter(f"output {place} is {name}" for place, name in enumerate(outputs))


def operator_name(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def constant(model: Any, tensor: Any) -> str:
    shape = tensor.shape.tolist()
    parameters = tensor.quantization
    if parameters is not None and parameters.scale is not None and len(parameters.scale):
        return f"weights {tensor.type} {shape} scales {len(parameters.scale)} {parameters.quantizedDimension}"
    if tensor.type != schema.TensorType.INT32:
        return f"weights {tensor.type} {shape}"
    return f"integers {shape} {np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int32).tolist()}"


def run(content: bytes, image: NDArray[Any] | None = None) -> NDArray[Any]:
    """The output of one run on one thread; noise where no input is given."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    (wanted,) = interpreter.get_input_details()
    if image is None:
        image = np.random.default_rng(0).standard_normal(wanted["shape"])
    interpreter.set_tensor(wanted["index"], image.astype(wanted["dtype"]))
    interpreter.invoke()
    output: NDArray[Any] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return output


def input_type(content: bytes) -> type[Any]:
    """numpy's type of the only input."""
    (details,) = Interpreter(model_content=content).get_input_details()
    kind: type[Any] = details["dtype"]
    return kind


def kept_tensors(
    content: bytes, kernels: OpResolverType, image_for: Callable[[Mapping[str, Any]], NDArray[Any]]
) -> dict[str, tuple[NDArray[Any], tuple[float, int]]]:
    """Every tensor that an operator wrote in one run, by place and name, with its scale and zero point.

    Args:
        content: the file.
        kernels: which compute it.
        image_for: makes the image from what the interpreter says of the input.
    """
    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=kernels,
    )
    interpreter.allocate_tensors()
    (wanted,) = interpreter.get_input_details()
    interpreter.set_tensor(wanted["index"], image_for(wanted))
    interpreter.invoke()
    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    details = {entry["index"]: entry for entry in interpreter.get_tensor_details()}
    read = {int(index) for operator in graph.operators for index in operator.inputs}
    written = [int(operator.outputs[0]) for operator in graph.operators]
    assert set(written) - read <= set(graph.outputs.tolist())
    return {
        f"{index} {graph.tensors[index].name!r}": (interpreter.get_tensor(index), details[index]["quantization"])
        for index in written
    }


def root_mean_square(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
