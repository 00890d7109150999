"""Measures a data card's panel on a device at hand, and compares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from leti_opt.cache_folder import cache_folder
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import DeviceError, InvalidInputError, LetiError, NotFoundError
from leti_opt.objective.panel import SPREAD_TOO_FAR, measure_models
from leti_opt.report.card import Card, CardNetwork
from leti_opt.report.comparison import Comparison, compare
from leti_opt.report.evenly import evenly_spread
from leti_opt.report.latency_column import FEWEST_NETWORKS, LatencyColumn

if TYPE_CHECKING:
    from leti_opt.device.measurement import Measurement
    from leti_opt.network.rendering import Renderer
    from leti_opt.objective.measuring import MeasuringService
    from leti_opt.store.latency_store import LatencyStore

_SHOWN_REASONS = 3


@dataclass(frozen=True)
class ReproducedNetwork:
    """One network of a card, measured here or not.

    Args:
        name: its cell, or its file's name.
        model_key: its key on the card.
        there_ms: the card's figure.
        here_ms: the figure of this device; None where there is none.
        note: why there is none, or what is different here.
    """

    name: str
    model_key: str
    there_ms: float
    here_ms: float | None
    note: str = ""


@dataclass(frozen=True)
class Reproduction:
    """What came out of measuring a card's panel.

    Args:
        statement: what the card's figures are, in words.
        there, here: the devices.
        networks: every network that was to be measured.
        comparison: the card's figures against those of this device.
        notes: what else a reader must know.
    """

    statement: str
    there: str
    here: str
    networks: tuple[ReproducedNetwork, ...]
    comparison: Comparison
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Rebuilt:
    """A card's network here: the model, or why there is none."""

    network: CardNetwork
    model: MeasurableModel | None
    note: str = ""


def rebuild(card: Card, limit: int | None = None) -> list[Rebuilt]:
    """Build a card's panel again; nothing is measured.

    Args:
        card: the card.
        limit: only so many networks, spread over the card's latencies.

    Raises:
        InvalidInputError: the limit is too small for a comparison.
        NotFoundError: fewer than three can be built here.
    """
    if limit is not None and limit < FEWEST_NETWORKS:
        raise InvalidInputError(f"--limit must be {FEWEST_NETWORKS} or more, not {limit}: fewer tell nothing")
    built = [_rebuilt(card, network) for network in spread(card.panel, card.figures.latency_ms, limit)]
    _check_enough([one.note for one in built if one.model is None], sum(one.model is not None for one in built))
    return built


def spread(panel: Sequence[CardNetwork], latency_ms: Mapping[str, float], limit: int | None) -> list[CardNetwork]:
    """Networks in order of latency; with a limit so many of them, the fastest and the slowest included."""
    ranked = sorted(panel, key=lambda network: (latency_ms[network.model_key], network.model_key))
    return ranked if limit is None else evenly_spread(ranked, limit)


def reproduce(
    card: Card, built: Sequence[Rebuilt], service: MeasuringService, show: Callable[[str], None] | None = None
) -> Reproduction:
    """Measure a card's panel by the service's device, and compare. What its store has already is not measured again.

    Args:
        card: the card.
        built: its networks, from :func:`rebuild`.
        service: what measures, by the card's protocol.
        show: called with a line for each network as soon as it is measured.

    Raises:
        DeviceError: the device is gone, or the runs of so many networks spread too far that fewer than three are left;
            the same call goes on later.
        NotFoundError: fewer than three networks could be measured.
    """
    models = [one.model for one in built if one.model is not None]
    lines: list[str] = []

    def told(line: str) -> None:
        lines.append(line)
        if show is not None:
            show(f"{len(lines)} of {len(models)}: {line}")

    _name_cells(service.store, built)
    measured = measure_models(service, models, told)
    reasons = {model.key: line.removesuffix(f"  {model.name}") for model, line in zip(models, lines, strict=True)}
    networks = tuple(_network(card, one, measured, reasons) for one in built)
    _check_enough([one.note for one in networks if one.here_ms is None], len(measured))
    here = LatencyColumn(
        name=service.identity.name,
        origin=service.identity.origin,
        latency_ms={one.model_key: one.here_ms for one in networks if one.here_ms is not None},
        error_ms=_errors(built, measured),
        labels=card.figures.labels,
    )
    asked = {one.network.model_key for one in built}
    return Reproduction(
        statement=card.statement,
        there=card.figures.name,
        here=service.identity.name,
        networks=networks,
        comparison=compare(_only(card.figures, asked), here),
        notes=_notes(card, service),
    )


def _name_cells(store: LatencyStore, built: Sequence[Rebuilt]) -> None:
    """Let the store know the cells, so that it answers for them, and a card of these figures can be made in turn."""
    from leti_opt.architecture import Architecture
    from leti_opt.network.config import NetworkConfig
    from leti_opt.store.cells import cell_alias

    for one in built:
        if one.model is None or one.network.cell is None or one.network.network is None:
            continue
        config = NetworkConfig(**one.network.network)
        alias = cell_alias(Architecture.parse(one.network.cell), config, _renderer(one.network))
        store.add_network(config.digest, config.settings)
        store.add_alias(alias, one.model)


def _network(
    card: Card, one: Rebuilt, measured: Mapping[str, Measurement], reasons: Mapping[str, str]
) -> ReproducedNetwork:
    key = one.network.model_key
    found = None if one.model is None else measured.get(one.model.key)
    reason = "" if found is not None or one.model is None else reasons.get(one.model.key, "not measured")
    return ReproducedNetwork(
        name=one.network.name,
        model_key=key,
        there_ms=card.figures.latency_ms[key],
        here_ms=None if found is None else found.latency_ms(),
        note="; ".join(filter(None, [one.note, reason])),
    )


def _errors(built: Sequence[Rebuilt], measured: Mapping[str, Measurement]) -> dict[str, float]:
    found = {one.network.model_key: measured.get(one.model.key) for one in built if one.model is not None}
    errors = {key: None if one is None else one.batch.mean_error_ms for key, one in found.items()}
    return {key: error for key, error in errors.items() if error is not None}


def _only(column: LatencyColumn, keys: set[str]) -> LatencyColumn:
    figures = {key: ms for key, ms in column.latency_ms.items() if key in keys}
    return LatencyColumn(column.name, column.origin, figures, column.error_ms, column.labels, notes=column.notes)


def _notes(card: Card, service: MeasuringService) -> tuple[str, ...]:
    here, there = service.identity, card.device
    notes = []
    if card.origin != "measured":
        notes.append(card.statement)
    if here.origin != "measured":
        notes.append(f"{here.origin.upper()}: {here.name} measures nothing, so this is no reproduction")
    differing = [
        f"{name} {getattr(there, name) or 'none'} there, {getattr(here, name) or 'none'} here"
        for name in ("kind", "hardware", "runtime", "runner", "delegate")
        if getattr(there, name) != getattr(here, name)
    ]
    if there.options != here.options:
        differing.append(f"options {dict(there.options)} there, {dict(here.options)} here")
    if differing:
        notes.append(f"another device than the card's: {'; '.join(differing)}. Expect other latencies")
    return tuple(notes)


def _check_enough(reasons: Sequence[str], left: int) -> None:
    if left < FEWEST_NETWORKS:
        different = list(dict.fromkeys(reasons))
        more = [f"and {len(different) - _SHOWN_REASONS} more"] if len(different) > _SHOWN_REASONS else []
        why = "; ".join(different[:_SHOWN_REASONS] + more) or "the card's panel is too small"
        said = f"only {left} of the card's networks are left, and {FEWEST_NETWORKS} are needed to compare: {why}"
        if any(SPREAD_TOO_FAR in reason for reason in reasons):
            raise DeviceError(f"{said}; end what else runs on the device, the same command measures these again")
        raise NotFoundError(said)


def _rebuilt(card: Card, network: CardNetwork) -> Rebuilt:
    try:
        return _from_file(card, network) if network.file is not None else _from_cell(network)
    except LetiError as error:
        return Rebuilt(network, None, f"{network.name} cannot be built here: {error}")


def _from_file(card: Card, network: CardNetwork) -> Rebuilt:
    """The user's file is kept in the cache folder, under a name of ours: the store will remember its path."""
    content = card.files[str(network.file)]
    path = cache_folder() / "cards" / f"{hashlib.sha256(content).hexdigest()}.tflite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            _write(path, content)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be written: {error.strerror}; set LETI_CACHE_DIR") from error
    model = MeasurableModel.of_file(path)
    if model.key != network.model_key:
        return Rebuilt(network, None, f"{network.name} is read in another way by this version of leti_opt")
    return Rebuilt(network, model)


def _write(path: Path, content: bytes) -> None:
    from leti_opt.store.exchange import replacing

    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _renderer(network: CardNetwork) -> Renderer:
    return "converter" if network.renderer.startswith("tf-converter/") else "writer"


def _from_cell(network: CardNetwork) -> Rebuilt:
    """A cell whose layers are the card's; only what makes the file of them may be another version."""
    from leti_opt.architecture import Architecture
    from leti_opt.network.assembly import build_layer_graph
    from leti_opt.network.config import NetworkConfig
    from leti_opt.network.rendering import renderer_version

    if network.cell is None or network.network is None:
        return Rebuilt(network, None, f"{network.name} comes with neither its cell nor its file")
    config = NetworkConfig(**network.network)
    graph = build_layer_graph(Architecture.parse(network.cell), config)
    if graph.digest != network.layer_graph_digest:
        return Rebuilt(network, None, f"{network.name} has other layers in this version of leti_opt")
    renderer = _renderer(network)
    version = renderer_version(config.precision, renderer)
    model = MeasurableModel.of_graph(graph, network.cell, renderer)
    if model.key == network.model_key:
        return Rebuilt(network, model)
    if version == network.renderer:
        return Rebuilt(network, None, f"{network.name} does not have the key that the card says")
    return Rebuilt(network, model, f"rendered by {version} here and by {network.renderer} there; compared by its cell")
