"""What a campaign's devices are given to do, in a form that travels to other processes and hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign.sections import Execution
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.network.config import NetworkConfig
from leti_opt.network.rendering import Renderer
from leti_opt.objective.answers import Question
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.questions import cell_question


@dataclass(frozen=True, eq=False)
class CampaignWork:
    """Every network of a campaign, in order.

    A network is named by its *item*: place ``item // len(configs)`` among the cells, laid out by the config
    ``item % len(configs)``.

    Args:
        campaign: its id in the store.
        name: what people call it.
        cells: in the order in which they are measured.
        configs: how they become networks.
        protocol: when a measurement holds.
        canary: how devices are watched.
        execution: how the work is done.
        seed: of the order in which the networks of several configs come.
        renderer: the way to a TFLite file.
    """

    campaign: int
    name: str
    cells: ArchitectureTable
    configs: tuple[NetworkConfig, ...]
    protocol: MeasurementProtocol
    canary: CanarySettings
    execution: Execution
    seed: int = 0
    renderer: Renderer = "auto"

    def __len__(self) -> int:
        """Number of networks."""
        return len(self.cells) * len(self.configs)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Items in the order of measurement. With several configs they are shuffled anew, so that all advance."""
        if len(self.configs) == 1:
            return np.arange(len(self))
        return np.random.default_rng(self.seed).permutation(len(self))

    def split(self, items: Sequence[int] | NDArray[np.int64]) -> list[tuple[NetworkConfig, NDArray[np.int64]]]:
        """Items by config: each with the places of its cells, in the order of the items."""
        places, which = np.divmod(np.asarray(items, dtype=np.int64), len(self.configs))
        return [(config, places[which == number]) for number, config in enumerate(self.configs)]

    def question(self, item: int) -> Question:
        """What a measuring service is asked about a network."""
        place, which = divmod(int(item), len(self.configs))
        return cell_question(self.cells[place], self.configs[which], self.renderer)
