"""A network that was measured once, built again from the store alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from leti_opt.architecture import Architecture
from leti_opt.device.model import MeasurableModel
from leti_opt.errors import LetiError, NotFoundError
from leti_opt.network.assembly import build_layer_graph
from leti_opt.network.config import NetworkConfig
from leti_opt.network.rendering import Renderer, renderer_version
from leti_opt.store.latency_store import LatencyStore
from leti_opt.store.records import CellAlias, ModelRecord

_RENDERERS: tuple[Renderer, ...] = ("writer", "converter")


def panel_model(store: LatencyStore, model_key: str) -> MeasurableModel:
    """A network built again from the store alone: a cell in its network, or a user's file.

    Raises:
        NotFoundError: the store does not know enough of it, its file is gone or another one, or this version of the
            code builds another network from the same cell.
    """
    record = store.model(model_key)
    if record is None:
        raise NotFoundError(f"the store {store.url} does not know the model {model_key}")
    if record.path is not None:
        return _model_of_file(record, Path(record.path))
    aliases = store.aliases(model_key=model_key)
    if not aliases:
        raise NotFoundError(f"{record.name} cannot be built again: the store knows neither its cell nor its file")
    # Cells that share a key stand for one network, and any of them will do.
    reason = ""
    for alias in aliases:
        try:
            return _model_of_cell(store, record, alias)
        except NotFoundError as error:
            reason = reason or str(error)
    raise NotFoundError(reason)


def _model_of_file(record: ModelRecord, path: Path) -> MeasurableModel:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise NotFoundError(f"{record.name} cannot be measured again: {path}: {error.strerror}") from error
    if found != record.file_sha256:
        raise NotFoundError(f"{path} is not the file that was measured as {record.name}; put that one back")
    model = MeasurableModel.of_file(path)
    return _with_equal_key(model, record, "this version of leti_opt reads its structure in another way")


def _model_of_cell(store: LatencyStore, record: ModelRecord, alias: CellAlias) -> MeasurableModel:
    settings = store.network(alias.network_digest)
    if settings is None:
        raise NotFoundError(
            f"{alias.cell} cannot be built again: the store was written before it kept the settings of networks; "
            "measure with the same --network once more"
        )
    try:
        config = NetworkConfig(**settings)
        graph = build_layer_graph(Architecture.parse(alias.cell), config)
    except LetiError as error:
        raise NotFoundError(f"{alias.cell} cannot be built again: {error}") from error
    versions = {renderer_version(config.precision, name): name for name in _RENDERERS}
    if alias.renderer not in versions:
        raise NotFoundError(
            f"{alias.cell} was rendered by {alias.renderer}; here are {', '.join(versions)}. Install that version again"
        )
    model = MeasurableModel.of_graph(graph, alias.cell, versions[alias.renderer])
    return _with_equal_key(model, record, "this version of leti_opt lays its cell out in another way")


def _with_equal_key(model: MeasurableModel, record: ModelRecord, why: str) -> MeasurableModel:
    if model.key != record.key:
        raise NotFoundError(f"{record.name} cannot be built again as it was measured: {why}")
    return model
