"""``leti-opt search``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leti_opt.cli.common import (
    EXIT_INFEASIBLE,
    EXIT_INTERRUPTED,
    DevicesOption,
    JsonOption,
    MinRunsOption,
    SetOption,
    SpaceNetworkOption,
    StoreOption,
    fail,
    network_config,
    print_json,
    protocol_of,
    reports_errors,
    seconds,
    space_definition,
)
from leti_opt.cli.compare_panel import say_if_changed
from leti_opt.cli.files import check_file, replacing
from leti_opt.cli.limit_option import LimitOption, StatisticOption, decided, limit_lines, limit_of
from leti_opt.cli.pace import NewPaceOption, PaceOption, canary_of, warn_if_busy, watch_aloud
from leti_opt.errors import DeviceError, InvalidInputError

if TYPE_CHECKING:
    from leti_opt.objective.accuracy_latency import AccuracyLatencyObjective
    from leti_opt.objective.answers import Question
    from leti_opt.objective.latency import DeviceLatencyObjective
    from leti_opt.objective.limit_decisions import LimitRow
    from leti_opt.objective.limits import LatencyLimit
    from leti_opt.objective.service import LatencyService
    from leti_opt.search.architecture_search import ArchitectureSearch, SearchResult

ACCURACIES = ("none", "digits")
_SHOWN_REASONS = 5
_WORSE = ("met", "undecided", "missed", "infeasible")


@reports_errors
def search(
    device: DevicesOption = None,
    network: SpaceNetworkOption = None,
    changes: SetOption = None,
    budget: Annotated[int | None, typer.Option("--budget", help="Evaluations; 100 if no time is given.")] = None,
    time_limit: Annotated[str | None, typer.Option("--time", help="Stop after this time, for instance 20m.")] = None,
    optimizer: Annotated[str, typer.Option("--optimizer", help="Name in nevergrad's registry.")] = "DE",
    seed: Annotated[int, typer.Option("--seed", help="The same seed asks for the same cells.")] = 0,
    accuracy: Annotated[
        str, typer.Option("--accuracy", help="none, or digits: a short training on 8x8 digits.")
    ] = "none",
    space: Annotated[str, typer.Option("--space", help="nasbench101 or nasbench201.")] = "nasbench101",
    workers: Annotated[int, typer.Option("--workers", help="Evaluations at once.")] = 1,
    skip_forecast: Annotated[
        str | None,
        typer.Option(help="Skip networks that these rules forecast not to fit a GPU: paper-2020, tflite-current."),
    ] = None,
    store: StoreOption = "latency.db",
    min_runs: MinRunsOption = None,
    statistic: StatisticOption = "mean",
    limit_ms: LimitOption = None,
    pace: PaceOption = "usual",
    new_pace: NewPaceOption = False,
    picture: Annotated[Path, typer.Option("--picture", help="PNG file to draw the result to.")] = Path("search.png"),
    as_json: JsonOption = False,
) -> None:
    """Search cells for low latency, or for low latency and high accuracy.

    Stop it at any time; the same command goes on.

    Example: leti-opt search --network small --budget 60 --seed 1 --accuracy digits
    """
    from leti_opt.device.open_device import open_devices
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.search.architecture_search import SearchSettings, find_optimizer
    from leti_opt.store.latency_store import LatencyStore

    most_s = None if time_limit is None else seconds(time_limit)
    settings = SearchSettings(optimizer, 100 if budget is None and most_s is None else budget, most_s, seed, workers)
    limit = limit_of(limit_ms, statistic)
    definition = space_definition(space)
    config = network_config(network or space, changes)
    protocol: MeasurementProtocol = protocol_of(min_runs)
    canary = canary_of(pace, new_pace)
    if accuracy not in ACCURACIES:
        raise InvalidInputError(f"unknown accuracy {accuracy!r}; known: {', '.join(ACCURACIES)}")
    check_file("--picture", picture, ".png")
    find_optimizer(optimizer)
    with ExitStack() as stack:
        opened = [stack.enter_context(each) for each in open_devices(device or ["host-cpu"])]
        results = stack.enter_context(LatencyStore(store))
        from leti_opt.objective.latency import DeviceLatencyObjective
        from leti_opt.search.architecture_search import ArchitectureSearch

        latency = DeviceLatencyObjective(
            opened,
            config,
            store=results,
            protocol=protocol,
            statistic=statistic,
            skip_forecast=skip_forecast,
            canary=canary,
        )
        stack.callback(latency.service.close)
        watch_aloud(latency.service)
        for member in latency.service.members:
            say_if_changed(member)
            warn_if_busy(member)
        plan = ArchitectureSearch(_with_accuracy(latency, accuracy), settings, definition)
        result = run_shown(plan)
        drawn = draw(plan, result, picture)
        questions = [latency.question(evaluation.architecture) for evaluation in result.front]
        limits = _decided_everywhere(latency.service, questions, limit)
        if as_json:
            _print_json(plan, result, drawn, limits)
        else:
            print_result(plan, result, drawn, limits)
            print_use(latency.service)
    if drawn is None:
        raise typer.Exit(EXIT_INFEASIBLE)


def _decided_everywhere(
    service: LatencyService, questions: Sequence[Question], limit: LatencyLimit | None
) -> list[LimitRow]:
    """What a limit says of each network on the device where it says the worst; twins that agree say the same."""
    rows = [decided(member, questions, limit) for member in service.judges]
    return [max(of_network, key=lambda row: _WORSE.index(row.verdict)) for of_network in zip(*rows, strict=True)]


def _with_accuracy(latency: DeviceLatencyObjective, accuracy: str) -> DeviceLatencyObjective | AccuracyLatencyObjective:
    if accuracy == "none":
        return latency
    from leti_opt.accuracy import StoredAccuracy
    from leti_opt.accuracy.training import digits_network
    from leti_opt.cli.quiet import QuietDigitsAccuracy
    from leti_opt.objective.accuracy_latency import AccuracyLatencyObjective

    own = digits_network(latency.network)
    return AccuracyLatencyObjective(StoredAccuracy(QuietDigitsAccuracy(own), latency.store), latency)


def run_shown(plan: ArchitectureSearch) -> SearchResult:
    """Run a search with its progress on the error stream; say how to go on when it is stopped."""
    from leti_opt.report.progress import SearchProgress

    with SearchProgress(plan.settings, sys.stderr, plan.latency.statistic) as progress:
        try:
            return plan.run(progress.step)
        except KeyboardInterrupt:
            fail(
                f"stopped after {progress.done} evaluations; everything is kept, the same command goes on",
                EXIT_INTERRUPTED,
            )
        except DeviceError as error:
            raise DeviceError(
                f"{error} (after {progress.done} evaluations; everything is kept, the same command goes on)"
            ) from error


def draw(plan: ArchitectureSearch, result: SearchResult, path: Path) -> Path | None:
    """Draw what a search found, whoever measured it named in the title; None if no cell could be run."""
    from leti_opt.report.figures import search_figure

    if all(step.evaluation.answer.measurement is None for step in result.steps):
        return None
    identity = plan.latency.service.identity
    title = f"{plan.definition.name}, {plan.settings.optimizer}, seed {plan.settings.seed}\n{identity.name}"
    with replacing(path) as temporary:
        search_figure(result, plan.latency.network, temporary, title, plan.latency.statistic)
    return path


def print_result(
    plan: ArchitectureSearch, result: SearchResult, picture: Path | None, limits: Sequence[LimitRow] = ()
) -> None:
    """The counts, the comparison with FLOPs, the front, what a limit says of it, and where the picture is."""
    from rich.console import Console

    from leti_opt.report.search_report import counts_text, failure_reasons, flops_text, front_rows
    from leti_opt.report.tables import cell_lines, front_table

    console = Console(highlight=False)
    typer.echo(counts_text(result, plan.latency.service.identity.origin))
    reasons = failure_reasons(result)
    for reason, cells in reasons[:_SHOWN_REASONS]:
        typer.echo(f"  {'' if reason.startswith('skipped') else 'infeasible, '}{cells} cell(s): {reason}")
    if len(reasons) > _SHOWN_REASONS:
        typer.echo(f"  and {len(reasons) - _SHOWN_REASONS} further reasons; --json lists them all")
    typer.echo(flops_text(result.measured, plan.latency.network))
    rows = front_rows(result.front, plan.latency.network, plan.latency.statistic, limits)
    if rows:
        console.print(front_table(rows))
        typer.echo("\n".join([*cell_lines(rows), *limit_lines(limits)]))
    elif picture is not None:
        typer.echo("no cell was measured to the protocol's rule; try a quieter machine, or larger networks")
    typer.echo(f"picture: {picture}" if picture else "no picture: no cell could be run")


def print_use(service: LatencyService) -> None:
    """What each device's time went into, where there are several."""
    from leti_opt.report.tables import use_lines

    for line in use_lines(service.report()):
        typer.echo(line)


def _print_json(
    plan: ArchitectureSearch, result: SearchResult, picture: Path | None, limits: Sequence[LimitRow]
) -> None:
    from leti_opt.report.search_report import failure_reasons, flops_rank_correlation, front_rows, search_counts

    steps: list[dict[str, Any]] = [
        {
            "position": step.position,
            "cell": str(step.evaluation.architecture.canonical()),
            "losses": step.losses,
            "status": step.evaluation.answer.status,
        }
        for step in result.steps
    ]
    print_json(
        {
            "device": plan.latency.service.identity,
            "counts": search_counts(result),
            "failures": dict(failure_reasons(result)),
            "flops_spearman": flops_rank_correlation(result.measured, plan.latency.network),
            "statistic": plan.latency.statistic,
            "front": front_rows(result.front, plan.latency.network, plan.latency.statistic, limits),
            "steps": steps,
            "picture": None if picture is None else str(picture),
            "use": plan.latency.service.report(),
        }
    )
