"""Data cards: a published figure as one file, with all that another person needs to measure it again.

A card is a zip file without compression: ``card.json`` says what was measured and how, and names every other member
with its SHA-256; ``measurements.parquet`` is an export of the store; ``panel/`` holds the networks to measure again.
Equal content makes equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leti_opt.device.device import DeviceIdentity
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import InvalidInputError, LetiError, NotFoundError
from leti_opt.report.latency_column import LatencyColumn

FORMAT = "leti_opt data card"
VERSION = 1
HEADER = "card.json"
TABLE = "measurements.parquet"

_MEMBER = re.compile(r"card\.json|measurements\.parquet|panel/[A-Za-z0-9_-]+\.(?:json|tflite)")
_MOST_MEMBERS = 2000
_MOST_HEADER_BYTES = 16 * 2**20
_MOST_BYTES = 2 * 2**30
_MOST_RUNS = 1_000_000
_AGAIN = "ask for the card again, or make it anew with 'leti-opt store export --card'"


@dataclass(frozen=True)
class CardNetwork:
    """One network of a card's panel, and what it takes to build it again.

    Args:
        model_key: its key where it was measured.
        name: what people call it.
        renderer: what made its file, with its version; ``file`` for a user's own.
        precision: of that file.
        cell: text of the canonical cell; None for a user's file.
        graph_hash, network_digest: the cell's hash and the digest of ``network``.
        network: settings of the ``NetworkConfig`` that the cell is laid out with.
        layer_graph_digest: of the layers that were measured.
        file: member that holds the user's file.
    """

    model_key: str
    name: str
    renderer: str
    precision: str
    cell: str | None = None
    graph_hash: str | None = None
    network_digest: str | None = None
    network: Mapping[str, Any] | None = None
    layer_graph_digest: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Card:
    """A card that was read and found whole.

    Args:
        device: what measured, pseudonymised.
        origin: ``measured``, ``simulated`` or ``replayed``.
        statement: in words, what these figures are.
        protocol: how the panel was measured.
        panel: the networks to be measured again, the fastest of each kind first.
        figures: the panel's latencies.
        header: everything that ``card.json`` says.
        files: content of the users' files, by member.
    """

    device: DeviceIdentity
    origin: str
    statement: str
    protocol: MeasurementProtocol
    panel: tuple[CardNetwork, ...]
    figures: LatencyColumn
    header: Mapping[str, Any]
    files: Mapping[str, bytes]


def read_card(path: Path | str) -> Card:
    """Read a card and check all of it, before anything is done with it.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it is no card, is cut off or changed, is of a newer format, or is made to do harm.
    """
    path = Path(path)
    try:
        members = _members(path)
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no card {path}; name a file that 'leti-opt store export --card' wrote"
        ) from error
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InvalidInputError(f"{path} is no whole data card ({error}); {_AGAIN}") from error
    header = _header(path, members)
    _check_members(path, header, members)
    try:
        return _card(path, header, members)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, LetiError):
            raise InvalidInputError(f"the card {path} is unusable: {error}") from error
        raise InvalidInputError(
            f"the card {path} does not hold what a card holds ({type(error).__name__}: {error}); {_AGAIN}"
        ) from error


def pack(header: Mapping[str, Any], members: Mapping[str, bytes], target: Path) -> None:
    """Write a card; the same content always makes the same bytes.

    Args:
        header: what ``card.json`` says; the list of members is added.
        members: content of all the others, by name.
        target: the file.
    """
    listed = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for name, content in sorted(members.items())
    }
    said = {**header, "format": FORMAT, "version": VERSION, "members": listed}
    text = json.dumps({**said, "sha256": _digest(said)}, sort_keys=True, indent=1)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name, content in [(HEADER, text.encode()), *sorted(members.items())]:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, content)


def _members(path: Path) -> dict[str, bytes]:
    """Content of every member. None is compressed, so none can grow beyond the file that it came in."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        strange = [name for name in names if not _MEMBER.fullmatch(name)]
        if strange:
            raise ValueError(f"a card has no member {strange[0]!r}")
        if len(set(names)) < len(names) or len(names) > _MOST_MEMBERS:
            raise ValueError(f"{len(names)} members, or one twice")
        if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in infos):
            raise ValueError("a card's members are not compressed")
        if sum(info.file_size for info in infos) > min(path.stat().st_size, _MOST_BYTES):
            raise ValueError("its members claim to be larger than the file")
        return {info.filename: archive.read(info) for info in infos}


def _header(path: Path, members: Mapping[str, bytes]) -> dict[str, Any]:
    content = members.get(HEADER, b"")
    try:
        header = json.loads(content) if len(content) <= _MOST_HEADER_BYTES else None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is no data card: its {HEADER} is no JSON ({error}); {_AGAIN}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InvalidInputError(f"{path} is no data card: it has no {HEADER} that says so; {_AGAIN}")
    version = header.get("version")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise InvalidInputError(
            f"{path} is a card of format {version!r}, and this leti_opt knows up to {VERSION}; "
            "run: pip install --upgrade leti_opt"
        )
    if header.get("sha256") != _digest({name: value for name, value in header.items() if name != "sha256"}):
        raise InvalidInputError(f"{path} was changed after it was made: {HEADER} does not fit its own hash; {_AGAIN}")
    return dict(_printable(header))


def _check_members(path: Path, header: Mapping[str, Any], members: Mapping[str, bytes]) -> None:
    found = {name: hashlib.sha256(content).hexdigest() for name, content in members.items() if name != HEADER}
    try:
        said = {name: listed["sha256"] for name, listed in header["members"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path} lists no members; {_AGAIN}") from error
    wrong = sorted(name for name in found.keys() | said.keys() if found.get(name) != said.get(name))
    if wrong or TABLE not in found:
        raise InvalidInputError(
            f"{path} was changed or is incomplete: {', '.join(wrong[:3]) or TABLE} is missing, new or has another "
            f"SHA-256; {_AGAIN}"
        )


def _card(path: Path, header: Mapping[str, Any], members: Mapping[str, bytes]) -> Card:
    described = dict(header["device"])
    options = tuple((str(key), str(value)) for key, value in described.pop("options"))
    device = DeviceIdentity(**described, options=options)
    panel = tuple(CardNetwork(**_printable(json.loads(members[name]))) for name in header["panel"])
    named = {network.file for network in panel if network.file is not None}
    return Card(
        device=device,
        origin=str(header["origin"]),
        statement=str(header["statement"]),
        protocol=_protocol(header["protocol"]),
        panel=panel,
        figures=_figures(path, members[TABLE], panel, device, str(header["origin"])),
        header=header,
        files={name: members[name] for name in named},
    )


def _figures(
    path: Path, content: bytes, panel: tuple[CardNetwork, ...], device: DeviceIdentity, origin: str
) -> LatencyColumn:
    """The newest figure of each network of the panel."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = ["model_key", "status", "mean_ms", "mean_error_ms", "started_at", "origin"]
    try:
        file = parquet.ParquetFile(io.BytesIO(content))
        groups = [file.metadata.row_group(place).total_byte_size for place in range(file.metadata.num_row_groups)]
        if sum(groups) > _MOST_BYTES:
            raise ValueError("its table is too large")
        rows = file.read(columns=columns).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(f"its table cannot be read: {error}") from error
    names = {network.model_key: network.cell or network.name for network in panel}
    for row in rows:
        if row["model_key"] in names and row["status"] in ("stable", "unchecked"):
            _check_figure(row["mean_ms"], names[row["model_key"]])
    held = sorted(
        (row for row in rows if row["model_key"] in names and row["status"] in ("stable", "unchecked")),
        key=lambda row: row["started_at"],
    )
    newest = {row["model_key"]: row for row in held}
    absent = names.keys() - newest.keys()
    mixed = {row["origin"] for row in newest.values()} - {origin}
    if absent or mixed:
        raise ValueError(f"its table has no {origin} figure of {names[min(absent)] if absent else 'all its networks'}")
    return LatencyColumn(
        name=device.name,
        origin=origin,
        latency_ms={key: newest[key]["mean_ms"] for key in names},
        error_ms={key: newest[key]["mean_error_ms"] for key in names if newest[key]["mean_error_ms"] is not None},
        labels=names,
        notes=(f"from the card {path.name}",),
    )


def _check_figure(mean_ms: Any, name: str) -> None:
    if not isinstance(mean_ms, float) or not 0 < mean_ms < math.inf:
        raise ValueError(f"the figure of {name} is {mean_ms!r}, which is no latency in milliseconds")


def _protocol(said: Mapping[str, Any]) -> MeasurementProtocol:
    """The card's protocol; one that would keep a device busy for good is refused."""
    protocol = MeasurementProtocol(**said)
    for name in ("min_runs", "max_runs", "warmup_runs", "max_attempts", "runs_per_sample"):
        if (getattr(protocol, name) or 0) > _MOST_RUNS:
            raise ValueError(f"its protocol asks for {name}={getattr(protocol, name)}, more than {_MOST_RUNS}")
    return protocol


def _printable(said: Any) -> Any:
    """JSON whose texts hold nothing that could steer the reader's terminal."""
    if isinstance(said, str):
        return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in said)
    if isinstance(said, list):
        return [_printable(one) for one in said]
    if isinstance(said, dict):
        return {_printable(name): _printable(value) for name, value in said.items()}
    return said


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
