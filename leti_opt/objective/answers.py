"""What is asked about a network's latency, and what is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from leti_opt.device.measurement import Measurement
from leti_opt.device.model import MeasurableModel
from leti_opt.store.records import CellAlias, ModelRole


class Source(StrEnum):
    """Where an answer comes from."""

    DEVICE = "device"
    STORE = "store"
    MEMORY = "memory"
    FORECAST = "forecast"
    PREDICTOR = "predictor"


@dataclass(frozen=True)
class Question:
    """A network whose latency is asked for.

    Args:
        name: what people call it.
        build: makes the model; called only if nothing is known yet.
        alias: the cell and network that it is made of, by which a store finds it without building.
        refusal: why the model shall be skipped without asking the device, or None; not asked where a result is known.
        network: the settings that the alias's network digest stands for; kept in the store, so that the network can be
            built again from there.
        role: ``block`` for a part of a network, which is no result; see :meth:`LatencyStore.add`.
    """

    name: str
    build: Callable[[], MeasurableModel]
    alias: CellAlias | None = None
    refusal: Callable[[MeasurableModel], str | None] | None = None
    network: Mapping[str, Any] | None = field(default=None, compare=False)
    role: ModelRole | None = None


@dataclass(frozen=True)
class Answer:
    """What is known of a network on a device: a measurement, or why there is none.

    Args:
        source: where it comes from.
        measurement: all the numbers; None for an infeasible network.
        provisional: whether the measurement breaks the protocol's rule with its attempts used up.
        failure: why the network is infeasible, or was skipped.
        skipped: whether only a forecast says so. The device was not asked, and nothing is stored.
    """

    source: Source
    measurement: Measurement | None = None
    provisional: bool = False
    failure: str | None = None
    skipped: bool = False

    @property
    def status(self) -> str:
        """``measured``, ``provisional``, ``infeasible`` or ``skipped``.

        By a device that only simulates or replays, that word instead of ``measured``.
        """
        if self.skipped:
            return "skipped"
        if self.measurement is None:
            return "infeasible"
        if self.provisional:
            return "provisional"
        return self.measurement.device.origin


def without_runs(answer: Answer) -> Answer:
    """The answer without raw times, which the store keeps: memory over thousands of networks stays small."""
    if answer.measurement is None:
        return answer
    light = tuple(replace(batch, runs_ms=None) for batch in answer.measurement.attempts)
    return replace(answer, measurement=replace(answer.measurement, attempts=light))


def slowest(answers: Sequence[Answer], statistic: str = "mean") -> Answer:
    """The answer of the device on which a network takes longest; the first of those that cannot run it, if any."""
    failed = next((answer for answer in answers if answer.measurement is None), None)
    if failed is not None:
        return failed
    return max(answers, key=lambda answer: answer.measurement.latency_ms(statistic) if answer.measurement else 0.0)
