"""Accuracy files in NAS-Bench-101's format, written by TensorFlow and Google's protocol buffers, not by leti_opt."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from leti_opt.architecture import Architecture

PUBLISHED_CELL = Architecture.parse(
    "0-1,0-2,0-3,0-5,1-6,2-6,3-4,4-6,5-6:conv1x1-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,conv3x3-bn-relu,maxpool3x3"
)
"""The example of NAS-Bench-101's own documentation."""

PUBLISHED_PARAMETERS = 2_694_282


@cache
def message_classes() -> dict[str, Any]:
    """ModelMetrics and EvaluationData, made from their description by Google's library."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="model_metrics.proto", package="nasbench", syntax="proto2")
    kinds = descriptor_pb2.FieldDescriptorProto
    metrics = file.message_type.add(name="ModelMetrics")
    metrics.field.add(
        name="evaluation_data", number=1, label=kinds.LABEL_REPEATED, type=kinds.TYPE_MESSAGE,
        type_name=".nasbench.EvaluationData",
    )  # fmt: skip
    metrics.field.add(name="trainable_parameters", number=2, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_INT32)
    metrics.field.add(name="total_time", number=3, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_DOUBLE)
    evaluation = file.message_type.add(name="EvaluationData")
    names = ("current_epoch", "training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
    for number, name in enumerate(names, start=1):
        evaluation.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_DOUBLE)
    evaluation.field.add(name="checkpoint_path", number=6, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"nasbench.{name}"))
        for name in ("ModelMetrics", "EvaluationData")
    }


def final(test: float, epochs: int = 108, **changes: Any) -> dict[str, Any]:
    """The last evaluation of a training, by its test accuracy; ``name=None`` leaves a field out."""
    figures = {
        "current_epoch": float(epochs),
        "training_time": 16 * epochs + test,
        "train_accuracy": 1.0,
        "validation_accuracy": test + 0.015625,
        "test_accuracy": test,
        **changes,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def serialized(evaluations: Sequence[dict[str, Any]], parameters: int | None = 1000) -> bytes:
    """A ModelMetrics message."""
    message = message_classes()["ModelMetrics"](total_time=1.5)
    for figures in evaluations:
        message.evaluation_data.add(**figures)
    if parameters is not None:
        message.trainable_parameters = parameters
    return bytes(message.SerializeToString())


def record(
    cell: Architecture,
    last: dict[str, Any],
    epochs: int = 108,
    parameters: int | None = 1000,
    *,
    module_hash: str | None = None,
    evaluations: Sequence[dict[str, Any]] | None = None,
    **changes: Any,
) -> bytes:
    """One training as NAS-Bench-101 writes it; ``adjacency``, ``operations`` and ``metrics`` may be others."""
    start = final(0.0, 0, train_accuracy=0.09375, validation_accuracy=0.109375, test_accuracy=0.1015625)
    half = final(last.get("test_accuracy", 0.5) / 2, epochs // 2)
    message = serialized(evaluations or [start, half, last], parameters)
    parts = {
        "adjacency": "".join(map(str, cell.adjacency.reshape(-1).tolist())),
        "operations": ",".join(cell.operations),
        "metrics": base64.b64encode(message).decode(),
        **changes,
    }
    return json.dumps([module_hash or cell.graph_hash, epochs, *parts.values()]).encode()


def write_tfrecord(path: Path, records: Iterable[bytes]) -> Path:
    """A file, by TensorFlow's own writer."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for data in records:
            writer.write(data)
    return path


POOL = Architecture.parse("0-1,1-2:maxpool3x3")
CONV = Architecture.parse("0-1,1-2:conv3x3-bn-relu")
SKIP = Architecture.parse("0-1:")


def some_records() -> list[bytes]:
    return [
        record(POOL, final(0.5)),
        record(CONV, final(0.75)),
        record(POOL, final(0.625)),
        record(POOL, final(0.25, 4), 4),
        record(POOL, final(0.75)),
        record(CONV, final(0.5)),
    ]
