"""What the commands share: options, exit codes and how errors are shown."""

from __future__ import annotations

import functools
import json
import os
import re
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from leti_opt.errors import (
    CampaignRunningError,
    DeviceError,
    EpochWarning,
    InvalidConfigError,
    InvalidInputError,
    LetiError,
    NotFoundError,
    PredictorFileError,
    StatisticUnavailableError,
    StoreError,
    TableFileError,
    did_you_mean,
)

if TYPE_CHECKING:
    from leti_opt.device.protocol import MeasurementProtocol
    from leti_opt.network.config import NetworkConfig
    from leti_opt.search_space.definition import SpaceDefinition
    from leti_opt.store.latency_store import LatencyStore

EXIT_INPUT = 2
EXIT_DEVICE = 3
EXIT_STORE = 4
EXIT_INFEASIBLE = 5
EXIT_UNSTABLE = 6
EXIT_LIMIT_MISSED = 7
EXIT_LIMIT_UNDECIDED = 8
EXIT_INCOMPLETE = 9
EXIT_INTERRUPTED = 130

EXIT_CODES = """Exit codes: 0 done; 1 anything that is not named here; 2 wrong input; 3 the device's fault;
4 the store's fault; 5 a network is infeasible; 6 a network is unstable (provisional figure);
7 a network misses the limit; 8 of a network it is undecided whether it meets the limit;
9 a campaign stopped before it was complete, or a predictor before its target; 130 interrupted, everything kept."""

PRESET_NAMES = "nasbench101, nasbench201, small"  # NetworkConfig.preset's; loading it would slow --help down

DeviceOption = Annotated[str, typer.Option("--device", "-d", help="Device URI, for instance 'host-cpu?threads=2'.")]
DevicesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--device",
        "-d",
        help="Device URI, for instance 'host-cpu?threads=2'; 'android:*' for every phone. May be repeated.",
    ),
]
StoreOption = Annotated[str, typer.Option("--store", help="File or postgresql:// URL of all measurements.")]
NetworkOption = Annotated[
    str,
    typer.Option("--network", "-n", help=f"How cells become networks: {PRESET_NAMES}, or a TOML file."),
]
SpaceNetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network",
        "-n",
        help=f"How cells become networks: {PRESET_NAMES}, or a TOML file; as --space if absent.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting of the network, for instance filters=64. May be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
MinRunsOption = Annotated[
    int | None, typer.Option("--min-runs", help="Timed runs of an attempt; the device's default if absent.")
]


def reports_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Turn our exceptions into one line on the error stream and an exit code."""

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> Any:
        try:
            with _plain_warnings():
                return command(*args, **options)
        except LetiError as error:
            fail(str(error), exit_code(error))
        except KeyboardInterrupt:
            fail("interrupted; everything measured so far is kept", EXIT_INTERRUPTED)

    return run


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Print our warnings about epochs as one line on the error stream, without the place in the code."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, EpochWarning):
            typer.echo(f"leti-opt: {message}", err=True)
        else:
            usual(message, category, *where, **more)

    usual = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("default", EpochWarning)
        warnings.showwarning = show
        yield


def exit_code(error: LetiError) -> int:
    """The exit code that scripts see."""
    if isinstance(error, DeviceError):
        return EXIT_DEVICE
    if isinstance(error, StoreError):
        return EXIT_STORE
    if isinstance(error, InvalidInputError | NotFoundError | StatisticUnavailableError):
        return EXIT_INPUT
    if isinstance(error, TableFileError | PredictorFileError | CampaignRunningError):
        return EXIT_INPUT
    return 1


def worst_code(codes: Iterable[int]) -> int:
    """The exit code that tells most of several: faults before input, input before networks that gave no figure.

    >>> worst_code([0, 6, 3, 5]), worst_code([])
    (3, 0)
    """
    networks = (EXIT_UNSTABLE, EXIT_LIMIT_UNDECIDED, EXIT_LIMIT_MISSED, EXIT_INFEASIBLE)
    order = (0, *networks, 1, EXIT_INPUT, EXIT_DEVICE, EXIT_STORE)
    return max(codes, key=order.index, default=0)


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong and end the command."""
    typer.echo(f"leti-opt: {message}", err=True)
    raise typer.Exit(code)


def print_json(data: Any) -> None:
    """Print data, dataclasses included, as one JSON document."""
    typer.echo(json.dumps(data, default=_plain, indent=2))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def network_config(name: str, changes: list[str] | None) -> NetworkConfig:
    """A preset or a TOML file, with changes such as ``filters=64``.

    Raises:
        InvalidConfigError: unknown preset, unreadable file, unknown or wrong setting.
    """
    from leti_opt.network.config import PRESETS, NetworkConfig

    settings: dict[str, Any] = {}
    preset = name
    if name.endswith(".toml"):
        settings = _toml(name)
        preset = str(settings.pop("preset", "nasbench101"))
    if preset not in PRESETS:
        raise InvalidConfigError(f"unknown network {preset!r}; {did_you_mean(preset, PRESETS)}, or a .toml file")
    for change in changes or []:
        key, equals, value = change.partition("=")
        if not equals:
            raise InvalidConfigError(f"--set {change!r} is not of the form setting=value")
        settings[key] = _setting(value)
    return NetworkConfig.preset(preset, **settings)


def _toml(name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(name).read_text())
    except OSError as error:
        raise InvalidConfigError(f"cannot read {name}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidConfigError(f"{name} is not TOML: {error}") from error


def _setting(text: str) -> Any:
    """A value as JSON where it is such (numbers, true, lists), else as text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def protocol_of(min_runs: int | None, relative_error: str | None = None) -> MeasurementProtocol:
    """The default protocol with another number of runs, or with a share such as ``1%`` in its place.

    Raises:
        InvalidProtocolError: a number is out of range, or both are given.
        InvalidInputError: the share is no number.
    """
    from leti_opt.device.protocol import MeasurementProtocol

    if relative_error is None:
        return MeasurementProtocol(min_runs=min_runs)
    return MeasurementProtocol(min_runs=min_runs, relative_error=share(relative_error), runs_per_sample=None)


def share(text: str) -> float:
    """A share such as ``1%`` or ``0.01``.

    Raises:
        InvalidInputError: it is not one.

    >>> share("1%"), share("0.5 %"), share("0.02")
    (0.01, 0.005, 0.02)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
    if not match:
        raise InvalidInputError(f"{text!r} is no share; write for instance 1% or 0.01")
    found = float(match[1]) / (100 if match[2] else 1)
    if found > 1:
        raise InvalidInputError(f"{text!r} is {100 * found:g} %, more than all; write for instance 5% or 0.05")
    return found


def space_definition(name: str) -> SpaceDefinition:
    """A search space by name.

    Raises:
        InvalidInputError: no such space.
    """
    from leti_opt.search_space.named import named_space

    return named_space(name)


def existing_store(url: str) -> LatencyStore:
    """Open a store that is there; none is made.

    Raises:
        NotFoundError: there is none.
    """
    from leti_opt.store.latency_store import LatencyStore
    from leti_opt.store.opening import exists, shown

    if not exists(url):
        raise NotFoundError(f"there is no store {shown(url)}; 'leti-opt measure' or 'leti-opt search' makes one")
    return LatencyStore(url)


def seconds(text: str) -> float:
    """A time such as ``90``, ``90s``, ``20m`` or ``1.5h`` in seconds.

    Raises:
        InvalidInputError: it is not one.

    >>> seconds("20m")
    1200.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if not match:
        raise InvalidInputError(f"{text!r} is no time; write for instance 90s, 20m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def quieten_tensorflow() -> None:
    """Keep TensorFlow's start-up messages from the terminal, unless the user asked for them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
