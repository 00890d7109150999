"""A predictor for a device that nobody has measured yet, from few networks and from what other devices took."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from leti_opt.device.certainty import CONFIDENCE
from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.objective.active import fit_actively
from leti_opt.objective.active_result import ActiveResult, ActiveStep
from leti_opt.objective.latency import DeviceLatencyObjective
from leti_opt.objective.standard_panel import remember_panel, standard_panel
from leti_opt.predictor.cells import Cells, table_of
from leti_opt.predictor.held_out_error import FEWEST_HELD_OUT
from leti_opt.predictor.predictor import LatencyPredictor
from leti_opt.predictor.training_data import TrainingData, TrainingStory

ADAPT_SECONDS = 1800.0
"""Half an hour, where nobody says how long."""

FEWEST_SOURCES = 2
"""Devices that it takes to learn how devices differ."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What came of it.

    Args:
        result: the fitted predictor, what was measured for it, and its error.
        story: where all figures come from that it learned, those of other devices included.
        panel: networks of the standard panel that were asked for.
    """

    result: ActiveResult
    story: TrainingStory
    panel: int


def adapt(
    objective: DeviceLatencyObjective,
    predictor: LatencyPredictor,
    architectures: Cells,
    *,
    sources: Sequence[TrainingData] = (),
    panel: bool = False,
    time_s: float | None = ADAPT_SECONDS,
    budget: int | None = None,
    target_error: float | None = None,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    on_step: Callable[[ActiveStep], None] | None = None,
    on_answer: Callable[[int], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Adaptation:
    """Measure a device until the time is over, the budget is used or the error is below its target.

    It is :func:`~leti_opt.objective.active.fit_actively` for few networks: none is chosen before 20 that were drawn at
    random have a latency, so that there is an error with a bound after the first batch; then a third of each batch is
    drawn, the others are chosen. The panel comes on top, before all others.

    Args:
        objective: what measures.
        predictor: what learns; :func:`adaptable` makes one.
        architectures: the networks that it shall predict.
        sources: what ``predictor`` knows of other devices, for the story.
        panel: ask for the standard panel first, which makes this device comparable with others and with itself later.
        time_s: seconds; None for no end.
        budget: the most networks to ask for, the panel's and those included that the store knows.
        target_error, confidence, seed, on_step, on_answer, clock: as there.

    Raises:
        InvalidInputError, NotFoundError, DeviceError: as there.

    >>> from leti_opt import NAS_BENCH_101, enumerate_architectures
    >>> network = NetworkConfig.small(filters=8)
    >>> objective = DeviceLatencyObjective("replay:formula?seed=1", network, store=":memory:")
    >>> cells = enumerate_architectures(NAS_BENCH_101)[:91]
    >>> found = adapt(objective, adaptable(network), cells, panel=True, budget=40)
    >>> found.result.last.asked, found.panel, found.result.error.held_out
    (40, 20, 20)
    """
    table = table_of(architectures)
    check_sources(sources, objective.network, table.labels)
    first = standard_panel(table) if panel else None
    if first is not None and budget is not None and budget < len(first):
        enough = len(first) + FEWEST_HELD_OUT
        raise InvalidInputError(
            f"the panel alone is {len(first)} networks, and the budget is {budget}; give {enough} or more, of which an "
            "error can be told, or leave the panel out"
        )
    result = fit_actively(
        objective,
        predictor,
        table,
        time_s=time_s,
        budget=budget,
        target_error=target_error,
        confidence=confidence,
        first=first,
        least_held_out=FEWEST_HELD_OUT,
        seed=seed,
        on_step=on_step,
        on_answer=on_answer,
        clock=clock,
    )
    asked = 0 if first is None else min(len(first), result.last.asked)
    if asked:
        remember_panel(objective, table[result.rows[:asked]])
    identity = objective.service.identity
    others = tuple(source.story for source in sources)
    story = TrainingStory(identity.name, identity.origin, result.last.learned, objective.store.url, others)
    return Adaptation(result, story, asked)


def adaptable(network: NetworkConfig, sources: Sequence[TrainingData] = (), seed: int = 0) -> LatencyPredictor:
    """An unfitted predictor for a new device: of two sources or more it learns, else it is our usual one.

    Args:
        network: how cells become networks.
        sources: what other devices took, each with a name of its own (:func:`named_sources`).
        seed: of all that the predictor draws.

    Raises:
        InvalidInputError: a source is of another network, or has too few cells.
    """
    from leti_opt.predictor.kernel_model import KernelPredictor
    from leti_opt.predictor.transfer import TransferPredictor

    if len(sources) < FEWEST_SOURCES:
        return KernelPredictor(network, seed=seed)
    check_sources(sources, network)
    return TransferPredictor(network, named_sources(sources), seed=seed)


def named_sources(sources: Sequence[TrainingData]) -> dict[str, tuple[Cells, ArrayLike]]:
    """What a :class:`~leti_opt.predictor.transfer.TransferPredictor` takes; devices of one name get numbers.

    Args:
        sources: what devices took.
    """
    found: dict[str, tuple[Cells, ArrayLike]] = {}
    for source in sources:
        plain = source.story.device.replace("/", "_")  # a slash parts groups of features
        names = (plain, *(f"{plain} ({number})" for number in range(2, len(sources) + 1)))
        found[next(name for name in names if name not in found)] = (source.cells, source.latency_ms)
    return found


def check_sources(
    sources: Sequence[TrainingData], network: NetworkConfig, labels: tuple[str, ...] | None = None
) -> None:
    """Refuse figures of other networks.

    Raises:
        InvalidInputError: they are of another network config, or of cells with other operations.
    """
    for source in sources:
        if source.network != network:
            raise InvalidInputError(
                f"the figures of {source.story.device} in {source.story.source} are of another network "
                f"({source.network.digest[:16]}, not {network.digest[:16]}); leave them out, or measure in theirs"
            )
        if labels is not None and source.cells.labels != labels:
            raise InvalidInputError(
                f"the figures of {source.story.device} in {source.story.source} are of cells of another space, with "
                f"{', '.join(source.cells.labels)}; leave them out, or predict their space"
            )
