"""What a store knows of networks: the models, the cells that stand for them, and how cells are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leti_opt.device.model import MeasurableModel
from leti_opt.store import registry
from leti_opt.store.base import StoreBase
from leti_opt.store.records import CellAlias, ModelRecord


class ModelStore(StoreBase):
    """The models and cells of a store."""

    def add_model(self, model: MeasurableModel, *, flops: int | None = None, parameters: int | None = None) -> None:
        """Store what is known of a model; a later call fills in what an earlier one did not know.

        Args:
            model: its key, name, renderer, precision and, if it has one, layer graph.
            flops: operations of one run (2 x multiply-accumulates).
            parameters: trainable ones.
        """
        self._write(registry.add_model, model, flops, parameters)

    def model(self, key: str) -> ModelRecord | None:
        """What the store knows of a model; None if it does not know it."""
        return self._read(registry.load_model, key)

    def add_alias(self, alias: CellAlias, model: MeasurableModel) -> None:
        """Let a cell stand for a model.

        Raises:
            StoreError: it stands for another model already.
        """
        self._write(registry.add_model_with_alias, model, alias)

    def resolve(self, alias: CellAlias) -> str | None:
        """Key of the model that a cell stands for; None if the store does not know it."""
        return self._read(registry.resolve, alias)

    def aliases(self, *, graph_hash: str | None = None, model_key: str | None = None) -> list[CellAlias]:
        """Every cell that the store knows, or those with one hash, or of one model."""
        return self._read(registry.load_aliases, graph_hash, model_key)

    def add_network(self, digest: str, config: Mapping[str, Any]) -> None:
        """Keep the settings that a network's digest stands for, so that its cells can be built from the store alone.

        Args:
            digest: ``NetworkConfig.digest``.
            config: ``NetworkConfig.settings``.
        """
        self._write(registry.add_network, digest, config)

    def network(self, digest: str) -> dict[str, Any] | None:
        """The settings that a network's digest stands for; None if the store does not know them."""
        return self._read(registry.load_network, digest)
