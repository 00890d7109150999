"""``leti-opt predictor adapt``: half an hour from an unknown device to a predictor with a stated error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import (
    EXIT_INCOMPLETE,
    EXIT_INTERRUPTED,
    PRESET_NAMES,
    DeviceOption,
    JsonOption,
    SetOption,
    StoreOption,
    fail,
    network_config,
    print_json,
    reports_errors,
    seconds,
    share,
    space_definition,
)
from leti_opt.cli.compare_panel import say_if_changed
from leti_opt.cli.files import check_writable
from leti_opt.cli.pace import NewPaceOption, PaceOption, canary_of, warn_if_busy, watch_aloud
from leti_opt.cli.predictor_options import QUICK_KINDS, unfitted
from leti_opt.cli.predictor_sources import NamedSource, named_sources
from leti_opt.errors import DeviceError, InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from leti_opt.architecture_table import ArchitectureTable
    from leti_opt.network.config import NetworkConfig
    from leti_opt.predictor.predictor import LatencyPredictor
    from leti_opt.predictor.training_data import TrainingData
    from leti_opt.report.adaptation_report import AdaptationProgress

TRANSFER = "transfer"

clock = time.monotonic
"""Tests put another one here."""


@reports_errors
def adapt(
    device: DeviceOption,
    output: Annotated[Path, typer.Option("--out", "-o", help="Where to keep the predictor.")],
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            help="What other devices took: FILE or FILE:COLUMN of a campaign's latencies.parquet, or STORE:URI. May be "
            "repeated; two devices at least teach something.",
        ),
    ] = None,
    space: Annotated[
        str, typer.Option("--space", help="nasbench101 or nasbench201: the cells to predict.")
    ] = "nasbench101",
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            "-n",
            help=f"How cells become networks: {PRESET_NAMES}, or a TOML file; that of the sources if absent, as "
            "--space without any.",
        ),
    ] = None,
    changes: SetOption = None,
    store: StoreOption = "latency.db",
    panel: Annotated[
        bool,
        typer.Option(
            "--panel", help="Measure the standard panel of 20 cells first, so that the device can be compared."
        ),
    ] = False,
    time_limit: Annotated[str, typer.Option("--time", help="Ask for no further network after this time.")] = "30m",
    budget: Annotated[int | None, typer.Option("--budget", min=1, help="The most networks to ask for.")] = None,
    target: Annotated[
        str | None,
        typer.Option("--target-error", help="End once the mean error is surely below this share, such as 5%."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind", help=f"{TRANSFER}, {', '.join(QUICK_KINDS)}; {TRANSFER} if two devices are sources, else kernel."
        ),
    ] = None,
    retry_unstable: Annotated[
        bool, typer.Option("--retry-unstable", help="Measure again what the store holds as unstable.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed asks for the same cells.")] = 0,
    pace: PaceOption = "usual",
    new_pace: NewPaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a few networks on a new device, and make a predictor of it that says how far it is off.

    Stop it at any time; the same command goes on. If a target is set and not reached, the exit code is 9.

    Example: leti-opt predictor adapt --device android:R58M123/gpu --panel --source phones-dataset/latencies.parquet
    --out new_phone.predictor
    """
    from leti_opt.device.open_device import open_device
    from leti_opt.objective.adaptation import adapt as run_adaptation
    from leti_opt.objective.adaptation import check_sources
    from leti_opt.objective.latency import DeviceLatencyObjective
    from leti_opt.predictor.story_file import save_with_story
    from leti_opt.report.adaptation_report import AdaptationProgress, adaptation_json, adaptation_lines
    from leti_opt.search_space.enumeration import enumerate_architectures
    from leti_opt.store.latency_store import LatencyStore

    check_writable(output)
    most_s, wanted = seconds(time_limit), None if target is None else share(target)
    definition = space_definition(space)
    named = named_sources(source or [])
    config = _network(network, changes, named, space)
    canary = canary_of(pace, new_pace)
    with ExitStack() as stack:
        opened = stack.enter_context(open_device(device))
        read = [data for each in named for data in each.read(config)]
        check_sources(read, config, definition.labels)
        sources = _enough_sources(read, kind)
        _say_if_a_source_is_it(sources, opened.identity.name)
        table = enumerate_architectures(definition)
        predictor = _predictor(kind, config, sources, table, seed)
        results = stack.enter_context(LatencyStore(store))
        objective = DeviceLatencyObjective(opened, config, store=results, canary=canary, retry_unstable=retry_unstable)
        stack.callback(objective.service.close)
        watch_aloud(objective.service)
        for member in objective.service.members:
            say_if_changed(member)
            warn_if_busy(member)
        with AdaptationProgress(sys.stderr, most_s, budget, clock) as progress, _going_on(progress):
            found = run_adaptation(
                objective,
                predictor,
                table,
                sources=sources,
                panel=panel,
                time_s=most_s,
                budget=budget,
                target_error=wanted,
                seed=seed,
                on_step=progress.stepped,
                on_answer=progress.answered,
                clock=clock,
            )
    save_with_story(found.result.predictor, found.story, output)
    if as_json:
        print_json(adaptation_json(found, output, wanted))
    else:
        typer.echo("\n".join(adaptation_lines(found, output, wanted)))
    if wanted is not None and found.result.reason != "target":
        raise typer.Exit(EXIT_INCOMPLETE)


def _network(
    network: str | None, changes: list[str] | None, sources: Sequence[NamedSource], space: str
) -> NetworkConfig:
    """What the user named, else that of the sources, else that of the space."""
    if network is None and not changes and sources:
        return sources[0].network()
    return network_config(network or space, changes)


def _enough_sources(sources: list[TrainingData], kind: str | None) -> list[TrainingData]:
    """The sources; one alone says nothing of how devices differ and is left out, which is said."""
    from leti_opt.objective.adaptation import FEWEST_SOURCES

    if kind is not None or not sources or len(sources) >= FEWEST_SOURCES:
        return sources
    typer.echo(
        f"leti-opt: the source {sources[0].story.device} is not used: a transfer learns from {FEWEST_SOURCES} devices "
        "or more; name another --source",
        err=True,
    )
    return []


def _say_if_a_source_is_it(sources: Sequence[TrainingData], name: str) -> None:
    """A source that is the device itself knows networks that are held out, which only the user can tell by a name."""
    if any(source.story.device == name for source in sources):
        typer.echo(
            f"leti-opt: a source is called like the device, {name}; if it is this very one, leave it out: it knows "
            "networks that the error is judged by, which then looks too small",
            err=True,
        )


def _predictor(
    kind: str | None,
    network: NetworkConfig,
    sources: Sequence[TrainingData],
    table: ArchitectureTable,
    seed: int,
) -> LatencyPredictor:
    """What shall learn; sources that it cannot learn from are refused.

    Raises:
        InvalidInputError: there is no such kind, or it does not go with so many sources.
    """
    from leti_opt.objective.adaptation import FEWEST_SOURCES, adaptable

    known = (TRANSFER, *QUICK_KINDS)
    if kind is not None and kind not in known:
        raise InvalidInputError(f"unknown kind {kind!r}; {did_you_mean(kind, known)}")
    if kind == TRANSFER and len(sources) < FEWEST_SOURCES:
        raise InvalidInputError(
            f"a transfer learns from {FEWEST_SOURCES} devices or more, and the sources are {len(sources)}; name "
            "another --source, or leave out --kind"
        )
    if kind not in (None, TRANSFER) and sources:
        raise InvalidInputError(f"--kind {kind} learns from the device alone; leave out --source, or --kind")
    return adaptable(network, sources, seed) if kind in (None, TRANSFER) else unfitted(kind, network, table)


@contextmanager
def _going_on(progress: AdaptationProgress) -> Iterator[None]:
    """Say how to go on when it is stopped, by somebody or by the device."""
    try:
        yield
    except KeyboardInterrupt:
        fail(f"stopped after {progress.asked} networks; everything is kept, the same command goes on", EXIT_INTERRUPTED)
    except DeviceError as error:
        raise DeviceError(
            f"{error} (after {progress.asked} networks; everything is kept, the same command goes on)"
        ) from error
