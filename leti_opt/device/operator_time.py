"""How long one operator of a network takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatorTime:
    """One operator of a network, and how long it takes alone; times in milliseconds.

    Args:
        position: its place in the order of execution.
        operator: TFLite's name of it, or its custom code.
        name: of the tensor that it writes.
        latency_ms: mean of its runs, alone or within the network, as its source says; None where it was not measured.
        mean_error_ms: half the width of the mean's 95 % interval; None where it is not known.
        runs: how many runs the mean stands on.
        stable: whether the measurement keeps the protocol's rule.
        same_as: position of an earlier operator with equal shapes and options, whose figures these are.
        reason: why it was not measured; empty where it was.
    """

    position: int
    operator: str
    name: str
    latency_ms: float | None = None
    mean_error_ms: float | None = None
    runs: int | None = None
    stable: bool = False
    same_as: int | None = None
    reason: str = ""
