"""The decoder of metrics against Google's library: what that writes is read, and what it refuses is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from leti_opt.accuracy.metrics_message import Evaluation, ModelMetrics, decode_metrics
from tests.accuracy.nasbench101_files import message_classes, serialized

pytestmark = pytest.mark.needs("tensorflow")

NAMES = ("current_epoch", "training_time", "train_accuracy", "validation_accuracy", "test_accuracy")
EVALUATIONS = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(NAMES, st.floats()), "checkpoint_path": st.text(max_size=200)}
)
INT32 = st.integers(-(2**31), 2**31 - 1)


def varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def field(number: int, kind: int, value: bytes) -> bytes:
    return varint(number << 3 | kind) + value


def plain_fields(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.builds(lambda n, value: field(n, 0, varint(value)), numbers, st.integers(0, 2**64 - 1)),
        st.builds(lambda n, value: field(n, 1, value), numbers, st.binary(min_size=8, max_size=8)),
        st.builds(lambda n, value: field(n, 2, varint(len(value)) + value), numbers, st.binary(max_size=40)),
        st.builds(lambda n, value: field(n, 5, value), numbers, st.binary(min_size=4, max_size=4)),
    )


def with_groups(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[bytes]:
    return st.recursive(
        plain_fields(numbers),
        lambda inner: st.builds(
            lambda n, inside: field(n, 3, b"".join(inside)) + field(n, 4, b""), numbers, st.lists(inner, max_size=3)
        ),
        max_leaves=5,
    )


def inside(evaluation: bytes) -> bytes:
    return field(1, 2, varint(len(evaluation)) + evaluation)


UNKNOWN = with_groups(st.integers(7, 2**29 - 1))
ANY_FIELD = with_groups(st.integers(1, 8))


def by_google(message: bytes) -> ModelMetrics | None:
    """None where Google's library refuses."""
    from google.protobuf.message import DecodeError

    try:
        metrics = message_classes()["ModelMetrics"].FromString(message)
    except DecodeError:
        return None
    evaluations = (
        [getattr(one, name) if one.HasField(name) else float("nan") for name in NAMES]
        for one in metrics.evaluation_data
    )
    parameters = metrics.trainable_parameters if metrics.HasField("trainable_parameters") else None
    return ModelMetrics(tuple(Evaluation(*figures) for figures in evaluations), parameters)


def by_us(message: bytes) -> ModelMetrics | None:
    try:
        return decode_metrics(message)
    except ValueError:
        return None


@given(evaluations=st.lists(EVALUATIONS, max_size=4), parameters=st.none() | INT32)
def test_what_google_encodes_is_decoded(evaluations: list[dict[str, Any]], parameters: int | None) -> None:
    decoded = decode_metrics(serialized(evaluations, parameters))
    wanted = [[one.get(name, float("nan")) for name in NAMES] for one in evaluations]
    assert repr([list(one) for one in decoded.evaluations]) == repr(wanted)
    assert decoded.trainable_parameters == parameters


@given(st.lists(st.one_of(UNKNOWN, EVALUATIONS.map(lambda one: serialized([one], 7)))), st.lists(UNKNOWN))
def test_unknown_fields_are_passed_over(parts: list[bytes], within: list[bytes]) -> None:
    message = b"".join(parts) + inside(b"".join(within) + field(5, 1, bytes(8)))
    decoded = decode_metrics(message)
    assert repr(decoded) == repr(by_google(message))
    assert decoded.evaluations[-1].test_accuracy == 0.0


@settings(max_examples=500)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(ANY_FIELD, max_size=6).map(b"".join),
        st.lists(ANY_FIELD, max_size=3).map(lambda inner: inside(b"".join(inner))),
    )
)
@example(field(1, 3, field(2, 4, b"")))
@example(field(7, 3, b"") * 100 + field(7, 4, b"") * 100)
@example(field(2, 0, b"\xff" * 9 + b"\x01"))
def test_any_bytes_mean_what_they_mean_to_google_or_are_refused(message: bytes) -> None:
    assert repr(by_us(message)) == repr(by_google(message))


def test_a_message_that_was_cut_is_refused_or_what_google_takes_it_for() -> None:
    message = serialized([{"test_accuracy": 0.5, "checkpoint_path": "model.ckpt-1"}] * 3, 300)
    for length in range(len(message)):
        assert repr(by_us(message[:length])) == repr(by_google(message[:length]))
