"""One line of ``leti-opt measure``: a network on a device, with its costs and what a GPU is forecast to refuse."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from leti_opt.cli.common import EXIT_INFEASIBLE, EXIT_UNSTABLE, exit_code
from leti_opt.cli.models import KERAS_SUFFIXES, cell_of_hash, converted, is_file, is_hash, load_keras
from leti_opt.errors import (
    DeviceError,
    InvalidInputError,
    LetiError,
    NotFoundError,
    StatisticUnavailableError,
    UnknownOperationError,
)

if TYPE_CHECKING:
    from leti_opt.device.measurement import Measurement
    from leti_opt.device.model import MeasurableModel
    from leti_opt.device.operator_time import OperatorTime
    from leti_opt.network.config import NetworkConfig
    from leti_opt.network.gpu_support import Refusal
    from leti_opt.network.layer_graph import LayerGraph
    from leti_opt.objective.answers import Answer, Question

STATISTICS = ("mean", "median", "p95")
_RULES = {"stable": "kept", "unstable": "broken", "unchecked": "not checkable"}


@dataclass(frozen=True)
class NetworkFacts:
    """What is known of a network without running it. What is not known is None, never 0.

    Args:
        flops: of one run.
        parameters: trainable ones; of a file, the weights and biases of its convolutions and dense layers.
        peak_memory_bytes: largest sum of live activations.
        costs_unknown: why costs are None; empty where they are known.
        gpu_rules: the rules that the forecast goes by; None where nobody asked.
        gpu_refusals: what they refuse, in the order of execution; None without a forecast.
    """

    flops: int | None = None
    parameters: int | None = None
    peak_memory_bytes: int | None = None
    costs_unknown: str = ""
    gpu_rules: str | None = None
    gpu_refusals: tuple[Refusal, ...] | None = None


@dataclass(frozen=True)
class NamedNetwork:
    """A network as the user named it, ready to be asked for."""

    name: str
    question: Question
    facts: NetworkFacts


@dataclass(frozen=True)
class MeasuredRow:
    """A network on a device; times in milliseconds. What a device does not reveal is None.

    Args:
        name: of the network, as the user wrote it.
        status: ``measured``, ``simulated``, ``replayed`` or ``imported``; ``provisional``; ``infeasible``; ``device
            failed``; ``not stored`` (offline); ``refused`` for anything else that kept it from being measured.
        source: ``device``, ``store`` or ``memory``; empty where there is no answer.
        device: what measured it, in words.
        uri: the device as it can be opened again.
        rule: whether the protocol's rule is ``kept`` or ``broken``, or ``not checkable``.
        statistic: which figure ``latency_ms`` is.
        latency_ms: that figure. Of a provisional row every figure is the median over its attempts.
        mean_error_ms: half the width of the 95 % interval of the mean.
        runs: timed runs of an attempt.
        runs_per_sample: how many of them were timed as one; above 1 all figures but the mean are those of samples.
        attempts: how often it was tried.
        shared_figure: said of a published figure that several cells share; None otherwise.
        failure: why there is no latency.
        exit_code: what this row alone would end the command with.
        operators: time of every operator, where that was asked for.
        operators_method: how they were timed.
    """

    name: str
    status: str
    source: str
    device: str
    uri: str = ""
    rule: str | None = None
    statistic: str = "mean"
    latency_ms: float | None = None
    mean_ms: float | None = None
    mean_error_ms: float | None = None
    std_ms: float | None = None
    min_ms: float | None = None
    median_ms: float | None = None
    p95_ms: float | None = None
    max_ms: float | None = None
    runs: int | None = None
    runs_per_sample: int | None = None
    attempts: int | None = None
    first_run_ms: float | None = None
    initialization_ms: float | None = None
    imported_from: str | None = None
    shared_figure: str | None = None
    failure: str | None = None
    exit_code: int = 0
    facts: NetworkFacts = field(default_factory=NetworkFacts)
    operators: tuple[OperatorTime, ...] | None = None
    operators_method: str = ""

    def as_json(self) -> dict[str, object]:
        """All of it for scripts, with the facts on the same level as the times."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "facts"}
        known = {item.name: getattr(self.facts, item.name) for item in fields(self.facts)}
        return own | {"relative_error": self.relative_error} | known

    @property
    def relative_error(self) -> float | None:
        """Half the width of the interval of the mean over the mean."""
        return None if self.mean_error_ms is None or not self.mean_ms else self.mean_error_ms / self.mean_ms


def named_network(name: str, config: NetworkConfig, store: str, gpu: str | None) -> NamedNetwork:
    """Read a file or parse a cell, and look at what is known without running it.

    Raises:
        InvalidInputError: no such file, an unreadable one, or no cell.
        NotFoundError: the store knows no cell of this hash.
    """
    question = _question(name, config, store)
    try:
        model = question.build()
    except UnknownOperationError:
        raise
    except InvalidInputError as error:  # a cell that this network cannot hold is infeasible, which its row will say
        return NamedNetwork(name, question, NetworkFacts(costs_unknown=str(error)))
    return NamedNetwork(name, question, _facts(model, gpu))


def _question(name: str, config: NetworkConfig, store: str) -> Question:
    from leti_opt.architecture import Architecture
    from leti_opt.device.model import MeasurableModel
    from leti_opt.objective.answers import Question
    from leti_opt.objective.questions import cell_question

    if not is_file(name):
        return cell_question(cell_of_hash(name, store) if is_hash(name) else Architecture.parse(name), config)
    model = _keras_model(name) if name.endswith(KERAS_SUFFIXES) else MeasurableModel.of_file(name)
    return Question(name, lambda: model)


def _keras_model(path: str) -> MeasurableModel:
    from leti_opt.device.model import MeasurableModel
    from leti_opt.network.tflite_converter import converter_version

    content = converted(load_keras(path), path)
    return MeasurableModel.of_content(content, path, converter_version(), "float32")


def _facts(model: MeasurableModel, gpu: str | None) -> NetworkFacts:
    from leti_opt.network.cost import network_cost
    from leti_opt.network.gpu_support import gpu_support

    try:
        graph = _layers(model)
    except InvalidInputError as error:
        return NetworkFacts(costs_unknown=str(error))
    refusals = None if gpu is None else gpu_support(graph, gpu).refusals
    try:
        cost = network_cost(graph)
    except InvalidInputError as error:
        return NetworkFacts(costs_unknown=str(error), gpu_rules=gpu, gpu_refusals=refusals)
    return NetworkFacts(cost.flops, cost.parameters, cost.peak_memory_bytes, "", gpu, refusals)


def _layers(model: MeasurableModel) -> LayerGraph:
    from leti_opt.network.tflite_reader import read_tflite

    if model.layer_graph is not None:
        return model.layer_graph
    return read_tflite(model.path or model.tflite)


def answered_row(network: NamedNetwork, answer: Answer, device: str, uri: str, statistic: str) -> MeasuredRow:
    """The row of an answer, with the figure that the user asked for."""
    from leti_opt.device.published import shared_figure_text

    measurement = answer.measurement
    if measurement is None:
        return MeasuredRow(
            network.name,
            answer.status,
            answer.source,
            device,
            uri,
            statistic=statistic,
            failure=answer.failure,
            exit_code=EXIT_INFEASIBLE,
            facts=network.facts,
        )
    batch = measurement.batch
    latency_ms, failure = _figure(measurement, statistic), None
    if latency_ms is None:
        failure = f"the device reveals no {statistic} of its runs; ask for another --statistic, for instance mean"
    code = exit_code(StatisticUnavailableError()) if latency_ms is None else EXIT_UNSTABLE if answer.provisional else 0
    return MeasuredRow(
        name=network.name,
        status=answer.status,
        source=answer.source,
        device=device,
        uri=uri,
        rule=_RULES[measurement.status],
        statistic=statistic,
        latency_ms=latency_ms,
        mean_ms=_figure(measurement, "mean"),
        mean_error_ms=None if answer.provisional else batch.mean_error_ms,
        std_ms=_figure(measurement, "std"),
        min_ms=_figure(measurement, "min"),
        median_ms=_figure(measurement, "median"),
        p95_ms=_figure(measurement, "p95"),
        max_ms=_figure(measurement, "max"),
        runs=batch.count,
        runs_per_sample=batch.runs_per_sample,
        attempts=len(measurement.attempts) + len(measurement.faults),
        first_run_ms=measurement.first_run_ms,
        initialization_ms=measurement.initialization_ms,
        imported_from=measurement.source,
        shared_figure=shared_figure_text(measurement.metrics),
        failure=failure,
        exit_code=code,
        facts=network.facts,
    )


def _figure(measurement: Measurement, statistic: str) -> float | None:
    try:
        return measurement.latency_ms(statistic)
    except StatisticUnavailableError:
        return None


def failed_row(network: NamedNetwork, error: LetiError, device: str, uri: str, statistic: str) -> MeasuredRow:
    """The row of a network that could not be asked about; the error's message says why."""
    if isinstance(error, DeviceError):
        status = "device failed"
    else:
        status = "not stored" if isinstance(error, NotFoundError) else "refused"
    return MeasuredRow(
        network.name,
        status,
        "",
        device,
        uri,
        statistic=statistic,
        failure=str(error),
        exit_code=exit_code(error),
        facts=network.facts,
    )
