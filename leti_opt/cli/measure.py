"""``leti-opt measure``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import (
    EXIT_INFEASIBLE,
    EXIT_UNSTABLE,
    DeviceOption,
    JsonOption,
    MinRunsOption,
    NetworkOption,
    SetOption,
    StoreOption,
    network_config,
    print_json,
    protocol_of,
    reports_errors,
)
from leti_opt.cli.models import KERAS_SUFFIXES, cell_of_hash, converted, is_file, is_hash, load_keras

if TYPE_CHECKING:
    from leti_opt.device.model import MeasurableModel
    from leti_opt.network.config import NetworkConfig
    from leti_opt.objective.measuring import Answer, MeasuringService, Question


@dataclass(frozen=True)
class MeasuredRow:
    """One line of the command's result; times in milliseconds."""

    name: str
    status: str
    source: str
    device: str
    latency_ms: float | None = None
    std_ms: float | None = None
    min_ms: float | None = None
    median_ms: float | None = None
    p95_ms: float | None = None
    max_ms: float | None = None
    runs: int | None = None
    first_run_ms: float | None = None
    initialization_ms: float | None = None
    failure: str | None = None


@reports_errors
def measure(
    models: Annotated[
        list[str],
        typer.Argument(help=".tflite, .keras or .h5 files, cells' texts, or hashes that the store knows."),
    ],
    device: DeviceOption = "host-cpu",
    network: NetworkOption = "nasbench101",
    changes: SetOption = None,
    store: StoreOption = "latency.db",
    min_runs: MinRunsOption = None,
    again: Annotated[bool, typer.Option("--again", help="Measure even what the store knows.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Answer from the store alone.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure networks: a user's own files, or cells.

    Example: leti-opt measure my_model.tflite 0-1,1-2:conv3x3-bn-relu --network small
    """
    from leti_opt.device.open_device import open_device
    from leti_opt.objective.measuring import MeasuringService
    from leti_opt.store.latency_store import LatencyStore

    config = network_config(network, changes)
    protocol = protocol_of(min_runs)
    questions = [_question(name, config, store) for name in models]
    with open_device(device) as opened, LatencyStore(store) as results:
        service = MeasuringService(opened, results, protocol, offline)
        rows = []
        for name, question in zip(models, questions, strict=True):
            rows.append(_row(name, service.answer(question, fresh=again), service))
            if not as_json:
                _print_row(rows[-1], heading=len(rows) == 1)
    if as_json:
        print_json(rows)
    if any(row.status == "infeasible" for row in rows):
        raise typer.Exit(EXIT_INFEASIBLE)
    if any(row.status == "provisional" for row in rows):
        raise typer.Exit(EXIT_UNSTABLE)


def _question(name: str, config: NetworkConfig, store: str) -> Question:
    """Files are read and cells parsed before the store is made and the first measurement starts."""
    from leti_opt.architecture import Architecture
    from leti_opt.device.model import MeasurableModel
    from leti_opt.objective.latency import cell_question
    from leti_opt.objective.measuring import Question

    if not is_file(name):
        return cell_question(cell_of_hash(name, store) if is_hash(name) else Architecture.parse(name), config)
    model = _keras_model(name) if name.endswith(KERAS_SUFFIXES) else MeasurableModel.of_file(name)
    return Question(name, lambda: model)


def _keras_model(path: str) -> MeasurableModel:
    from leti_opt.device.model import MeasurableModel
    from leti_opt.network.tflite_converter import converter_version

    content = converted(load_keras(path), path)
    return MeasurableModel.of_content(content, path, converter_version(), "float32")


def _row(name: str, answer: Answer, service: MeasuringService) -> MeasuredRow:
    measurement = answer.measurement
    where = service.identity.name
    if measurement is None:
        return MeasuredRow(name, answer.status, answer.source, where, failure=answer.failure)
    batch = measurement.batch
    return MeasuredRow(
        name=name,
        status=answer.status,
        source=answer.source,
        device=where,
        latency_ms=measurement.latency_ms(),
        std_ms=batch.std_ms,
        min_ms=batch.min_ms,
        median_ms=batch.median_ms,
        p95_ms=batch.p95_ms,
        max_ms=batch.max_ms,
        runs=batch.count,
        first_run_ms=measurement.first_run_ms,
        initialization_ms=measurement.initialization_ms,
    )


def _print_row(row: MeasuredRow, heading: bool) -> None:
    from leti_opt.report.tables import latency_text

    if heading:
        typer.echo(f"on {row.device}, latency in ms")
    if row.latency_ms is None or row.runs is None:
        typer.echo(f"  infeasible ({row.source}): {row.failure}  {row.name}")
        return
    origin = "from the store" if row.source != "device" else "anew"
    median = "" if row.median_ms is None else f", median {row.median_ms:.3f}"
    tail = "" if row.p95_ms is None else f", p95 {row.p95_ms:.3f}"
    typer.echo(
        f"  {latency_text(row.latency_ms, row.std_ms, row.runs)}{median}{tail}  {row.status} {origin}  {row.name}"
    )
