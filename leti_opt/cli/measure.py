"""``leti-opt measure``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import (
    DevicesOption,
    JsonOption,
    MinRunsOption,
    NetworkOption,
    SetOption,
    StoreOption,
    network_config,
    print_json,
    protocol_of,
    reports_errors,
    worst_code,
)
from leti_opt.cli.compare_panel import say_if_changed
from leti_opt.cli.limit_option import LimitOption, decided, limit_exit_codes, limit_lines, limit_of
from leti_opt.cli.measure_row import STATISTICS, MeasuredRow, NamedNetwork, failed_row, named_network
from leti_opt.cli.measure_station import Choices, Station
from leti_opt.cli.measure_table import MeasureTable, profile_lines, single_lines, terminal_width
from leti_opt.cli.pace import NewPaceOption, PaceOption, canary_of, watch_aloud
from leti_opt.errors import DeviceError, InvalidInputError, LetiError, did_you_mean
from leti_opt.report.live_line import LiveLine

if TYPE_CHECKING:
    from leti_opt.device.device import Device
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.objective.limit_decisions import LimitRow
    from leti_opt.objective.limits import LatencyLimit


@reports_errors
def measure(
    models: Annotated[
        list[str],
        typer.Argument(help=".tflite, .keras or .h5 files, cells' texts, or hashes that the store knows."),
    ],
    device: DevicesOption = None,
    network: NetworkOption = "nasbench101",
    changes: SetOption = None,
    store: StoreOption = "latency.db",
    min_runs: MinRunsOption = None,
    relative_error: Annotated[
        str | None,
        typer.Option(
            "--relative-error",
            help="In place of a number of runs: run until the mean is known to this share, such as 1%.",
        ),
    ] = None,
    statistic: Annotated[
        str, typer.Option("--statistic", help=f"The figure that comes first: {', '.join(STATISTICS)}.")
    ] = "mean",
    limit_ms: LimitOption = None,
    gpu: Annotated[
        str,
        typer.Option("--gpu", help="Rules to forecast a phone's GPU by: paper-2020, tflite-current; or none."),
    ] = "tflite-current",
    profile: Annotated[
        bool, typer.Option("--profile", help="Time every operator alone too, on devices that run files.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Measure even what the store knows.")] = False,
    retry_unstable: Annotated[
        bool, typer.Option("--retry-unstable", help="Measure again what the store holds as unstable.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Answer from the store alone.")] = False,
    pace: PaceOption = "usual",
    new_pace: NewPaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure networks on devices: a user's own files, or cells. The exit code is that of the worst row.

    Example: leti-opt measure my_model.tflite 0-1,1-2:conv3x3-bn-relu --network small --device 'host-cpu?threads=2'
    """
    from leti_opt.device.open_device import open_devices
    from leti_opt.network.gpu_rules import rule_set
    from leti_opt.store.latency_store import LatencyStore

    config = network_config(network, changes)
    protocol = protocol_of(min_runs, relative_error)
    rules = None if gpu == "none" else rule_set(gpu).name
    _check_options(statistic, offline, {"--again": again, "--retry-unstable": retry_unstable, "--profile": profile})
    limit = limit_of(limit_ms, statistic)
    canary = canary_of(pace, new_pace)
    networks = [named_network(name, config, store, rules) for name in models]
    with ExitStack() as opened:
        devices = [opened.enter_context(found) for found in open_devices(device or ["host-cpu"])]
        if profile:
            _check_profiling(devices)
        results = opened.enter_context(LatencyStore(store))
        choices = Choices(statistic, again, retry_unstable)
        stations = [Station(found, results, protocol, offline, choices, canary) for found in devices]
        for station in stations:
            say_if_changed(station.service)
            watch_aloud(station.service)
        if len(networks) == len(stations) == 1:
            with _progress(f"{devices[0].uri} {networks[0].name}"):
                rows = [stations[0].answer(networks[0])]
            if not as_json:
                typer.echo("\n".join(single_lines(rows[0])))
        else:
            rows = _measured_rows(networks, stations, statistic, protocol, as_json)
        rows = _settled(rows, networks, stations, as_json)
        if profile:
            rows = _profiled(rows, networks, stations, as_json)
        limits = _limits(rows, networks, stations, limit, as_json)
    if as_json:
        print_json([row.as_json() | limits.get(place, {}) for place, row in enumerate(rows)])
    if code := worst_code([*(row.exit_code for row in rows), *_limit_codes(limits)]):
        raise typer.Exit(code)


def _check_options(statistic: str, offline: bool, measuring: dict[str, bool]) -> None:
    if statistic not in STATISTICS:
        raise InvalidInputError(f"unknown statistic {statistic!r}; {did_you_mean(statistic, STATISTICS)}")
    asked = [option for option, given in measuring.items() if given]
    if offline and asked:
        raise InvalidInputError(f"{asked[0]} measures, and --offline does not; leave one of them out")


def _check_profiling(devices: Sequence[Device]) -> None:
    from leti_opt.objective.operator_profile import check_profiling

    for device in devices:
        check_profiling(device)


def _measured_rows(
    networks: Sequence[NamedNetwork],
    stations: Sequence[Station],
    statistic: str,
    protocol: MeasurementProtocol,
    as_json: bool,
) -> list[MeasuredRow]:
    """Every network on every device, in turn: devices of one machine would disturb each other."""
    table = MeasureTable(
        [(network.name, network.facts) for network in networks],
        [station.device.uri for station in stations],
        statistic,
        terminal_width(),
        any(station.published for station in stations),
        protocol.runs_per_sample != 1,
    )
    rows: list[MeasuredRow] = []
    for network in networks:
        for station in stations:
            with _progress(f"{len(rows) + 1} of {len(networks) * len(stations)}: {station.device.uri} {network.name}"):
                rows.append(station.row(network))
            if not as_json:
                lines = table.head([each.name for each in stations]) if len(rows) == 1 else []
                typer.echo("\n".join([*lines, *table.lines(rows[-1])]))
    if not as_json:
        typer.echo("\n".join(table.notes(rows)), nl=bool(table.notes(rows)))
    return rows


def _settled(
    rows: list[MeasuredRow], networks: Sequence[NamedNetwork], stations: Sequence[Station], as_json: bool
) -> list[MeasuredRow]:
    """The rows after a last look at each device's canary; what was measured again is printed again."""
    for station in stations:
        if station.fault is None:
            station.service.settle()
    places = [(network, station) for network in networks for station in stations]
    newer = [station.replaced(network) for network, station in places]
    if any(newer) and not as_json:
        typer.echo("\nmeasured again, since the device was not at its usual pace:")
        for row in filter(None, newer):
            typer.echo("\n".join(single_lines(row)))
    return [after or before for before, after in zip(rows, newer, strict=True)]


def _profiled(
    rows: Sequence[MeasuredRow], networks: Sequence[NamedNetwork], stations: Sequence[Station], as_json: bool
) -> list[MeasuredRow]:
    """The rows with the times of their operators, which are printed as soon as they are known."""
    pairs = [(network, station) for network in networks for station in stations]
    found = []
    for row, (network, station) in zip(rows, pairs, strict=True):
        if row.rule is not None and station.fault is None:
            with _progress(f"operators of {network.name} on {station.device.uri}"):
                row = _with_operators(row, network, station)
            if not as_json:
                _print_profile(row)
        found.append(row)
    return found


def _with_operators(row: MeasuredRow, network: NamedNetwork, station: Station) -> MeasuredRow:
    from leti_opt.objective.operator_profile import method_on, profile

    try:
        times = profile(station.device, network.question.build())
        return replace(row, operators=times, operators_method=method_on(station.device))
    except LetiError as error:
        if isinstance(error, DeviceError):
            station.fault = error
        failed = failed_row(network, error, row.device, row.uri, row.statistic)
        return replace(row, failure=f"no profile: {error}", exit_code=worst_code([row.exit_code, failed.exit_code]))


def _limits(
    rows: Sequence[MeasuredRow],
    networks: Sequence[NamedNetwork],
    stations: Sequence[Station],
    limit: LatencyLimit | None,
    as_json: bool,
) -> dict[int, dict[str, LimitRow]]:
    """What a limit says of the rows with a figure, by their place."""
    found: dict[int, dict[str, LimitRow]] = {}
    for at, station in enumerate(stations):
        places = [place for place in range(at, len(rows), len(stations)) if rows[place].rule is not None]
        if limit is None or station.fault is not None or not places:
            continue
        limits = decided(station.service, [networks[place // len(stations)].question for place in places], limit)
        limits = [replace(row, name=rows[place].name) for row, place in zip(limits, places, strict=True)]
        found.update((place, {"limit": row}) for place, row in zip(places, limits, strict=True))
        if not as_json:
            typer.echo("\n".join([f"\non {station.name}:", *limit_lines(limits)]))
    return found


def _limit_codes(limits: dict[int, dict[str, LimitRow]]) -> list[int]:
    return limit_exit_codes([each["limit"] for each in limits.values()])


def _print_profile(row: MeasuredRow) -> None:
    if row.operators is None:
        typer.echo(f"\noperators of {row.name} on {row.device}: {row.failure}")
    else:
        typer.echo("\n".join(profile_lines(row, row.operators)))


@contextmanager
def _progress(text: str) -> Iterator[None]:
    """A line on a terminal's error stream as long as the work lasts; elsewhere none."""
    with LiveLine(sys.stderr) as line:
        line.show(lambda _now: text)
        yield
