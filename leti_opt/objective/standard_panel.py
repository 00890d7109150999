"""The standard panel: the same few cells on every device, so that devices and their epochs can be compared."""

from __future__ import annotations

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.panel import PANEL_SIZE
from leti_opt.predictor.cells import Cells, table_of
from leti_opt.predictor.selection import select


def standard_panel(architectures: Cells, size: int = PANEL_SIZE) -> ArchitectureTable:
    """Cells of a space that are far from each other in operations, connections and size.

    They depend on the space alone, neither on a device nor on how cells become networks.

    Args:
        architectures: the cells of the space, in its fixed order.
        size: how many; all where there are fewer.

    >>> from leti_opt import NAS_BENCH_101, enumerate_architectures
    >>> len(standard_panel(enumerate_architectures(NAS_BENCH_101)[:91]))
    20
    """
    table = table_of(architectures)
    return table[select(table, min(size, len(table)))]


def remember_panel(objective: DeviceLatencyObjective, panel: ArchitectureTable) -> None:
    """Keep what a device was just asked of a panel as its own, unless it has one, for ``leti-opt compare --panel``.

    Args:
        objective: what was asked; nothing is measured now.
        panel: cells that it has answered.
    """
    answers = [objective.service.answer(objective.question(cell)) for cell in panel]  # the objective might retry
    held = [answer.measurement for answer in answers if answer.measurement is not None and not answer.provisional]
    keys = list(dict.fromkeys(one.model_key for one in sorted(held, key=lambda one: one.latency_ms())))
    for member in objective.service.members:
        if keys and not objective.store.panel(member.identity, objective.network.digest):
            objective.store.set_panel(member.identity, objective.network.digest, keys)
