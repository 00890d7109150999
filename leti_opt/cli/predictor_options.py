"""What the commands of ``leti-opt predictor`` share: where figures come from, and which kinds there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leti_opt.cli.common import PRESET_NAMES, existing_store, network_config
from leti_opt.errors import InvalidInputError, did_you_mean

if TYPE_CHECKING:
    from leti_opt.architecture_table import ArchitectureTable
    from leti_opt.network.config import NetworkConfig
    from leti_opt.predictor.predictor import LatencyPredictor
    from leti_opt.predictor.training_data import TrainingData, TrainingStory

KINDS = {
    "flops": "FlopsPredictor",
    "better-flops": "BetterFlopsPredictor",
    "xgboost": "BoostedTreesPredictor",
    "kernel": "KernelPredictor",
    "gcn": "GcnPredictor",
}
"""What the command line calls each class."""

LUT, LUT_CLASS = "lut", "LutPredictor"
"""The kind that takes a table of pieces, too."""

QUICK_KINDS = tuple(kind for kind in KINDS if kind != "gcn")
"""Those that are fitted within seconds."""

FEWEST_CELLS = 10
USUAL_NETWORK = "nasbench101"

DataArgument = Annotated[
    Path | None,
    typer.Argument(help="A latencies.parquet that 'leti-opt campaign export' wrote; or name a --store."),
]
DataStoreOption = Annotated[
    str | None, typer.Option("--store", help="In place of a file: the store that the figures are in.")
]
DataDeviceOption = Annotated[
    str | None,
    typer.Option("--device", "-d", help="With --store its URI; with a file of several devices the columns' name."),
]
MeasuredNetworkOption = Annotated[
    str | None,
    typer.Option(
        "--network", "-n", help=f"How the cells became networks: {PRESET_NAMES}, or a TOML file; the first if absent."
    ),
]
KindOption = Annotated[
    str,
    typer.Option("--kind", help=f"Of the predictor: {', '.join(KINDS)} (trains for minutes), or {LUT} with --table."),
]
LutTableOption = Annotated[
    Path | None,
    typer.Option("--table", help=f"For --kind {LUT}: a .parquet file that 'leti-opt lut cells' or 'study' wrote."),
]


@dataclass(frozen=True)
class Figures:
    """What a user named of figures to learn from or to judge by.

    Args:
        file: a campaign's file.
        store: in place of it a store.
        device: of the store, or of a file with several.
        network: how the cells became networks: a preset or a TOML file; None for the usual one.
        changes: of its settings.
    """

    file: Path | None
    store: str | None
    device: str | None
    network: str | None
    changes: list[str] | None

    def config(self) -> NetworkConfig:
        """The network.

        Raises:
            InvalidConfigError: there is no such network.
        """
        return network_config(self.network or USUAL_NETWORK, self.changes)

    def read(self, config: NetworkConfig | None = None) -> TrainingData:
        """The figures.

        Args:
            config: the network, where something else than the user says it.

        Raises:
            InvalidInputError: both or none of file and store were named, or they hold too few figures.
            NotFoundError: there is no such file, store or device.
        """
        from leti_opt.predictor.training_data import campaign_data, store_data

        config = config or self.config()
        if (self.file is None) == (self.store is None):
            raise InvalidInputError("name a campaign's latencies.parquet, or --store with --device: one of the two")
        if self.file is not None:
            return enough(campaign_data(self.file, config, self.device))
        if self.device is None:
            raise InvalidInputError("--store holds figures of any device; name one with --device")
        assert self.store is not None, "one of the two was named"
        with existing_store(self.store) as opened:
            return enough(store_data(opened, self.device, config))

    def held_out(self, file: Path) -> TrainingData:
        """Those of another campaign's file, of the same network; of the same columns where columns were named.

        Raises:
            InvalidInputError, NotFoundError: as for :meth:`read`.
        """
        columns = self.device if self.store is None else None
        return replace(self, file=file, store=None, device=columns).read()


def enough(found: TrainingData) -> TrainingData:
    """The figures, if a predictor can learn from so few.

    Raises:
        InvalidInputError: it cannot.
    """
    if len(found) < FEWEST_CELLS:
        raise InvalidInputError(
            f"{found.story.source} has {len(found)} cell(s) with a latency, and {FEWEST_CELLS} are needed; measure more"
        )
    return found


def new_predictor(kind: str, data: TrainingData, table: Path | None = None) -> LatencyPredictor:
    """An unfitted predictor for cells like these.

    Args:
        kind: what the command line calls it.
        data: the cells.
        table: of pieces, for the kind that sums them.

    Raises:
        InvalidInputError: there is no such kind, or the table does not fit the network.
        TableFileError: there is no such table.
    """
    if kind == LUT:
        check_kind(kind, table)
        return _lut_predictor(data.network, table)
    return unfitted(kind, data.network, data.cells)


def read_with_table(figures: Figures, table: Path | None) -> TrainingData:
    """The figures; with a table of pieces their story tells where its figures come from, too.

    Args:
        figures: what the user named.
        table: of pieces, for the kind that sums them.

    Raises:
        InvalidInputError, NotFoundError: as for :meth:`Figures.read`.
        TableFileError: there is no such table.
    """
    found = figures.read()
    return found if table is None else replace(found, story=replace(found.story, others=(table_story(table),)))


def table_predictor(network: NetworkConfig, path: Path) -> tuple[LatencyPredictor, TrainingStory]:
    """A predictor that says what a table of pieces says, with no network measured whole; and its story.

    Raises:
        InvalidInputError: the table does not fit the network.
        TableFileError: there is no such table.
    """
    from leti_opt.predictor.lut import LatencyTable
    from leti_opt.predictor.lut_predictor import LutPredictor

    return LutPredictor.of_table(network, LatencyTable.load(path), missing="nan"), table_story(path)


def table_story(path: Path) -> TrainingStory:
    """Where the figures of a table of pieces come from, and how many of them are provisional."""
    from leti_opt.predictor.lut import LatencyTable
    from leti_opt.predictor.training_data import TrainingStory

    table = LatencyTable.load(path)
    timed = [entry for entry in table.entries.values() if entry.state == "measured"]
    unstable = sum(not entry.stable for entry in timed)
    pieces = "layers" if table.granularity == "layer" else "kernels"
    device = f"{pieces} on {table.origin.device or 'an unknown device'}"
    words = f"{device} ({unstable} of them unstable)" if unstable else device
    return TrainingStory(words, table.origin.measured, len(timed), path.name)


def _lut_predictor(network: NetworkConfig, table: Path | None) -> LatencyPredictor:
    from leti_opt.predictor.lut import LatencyTable
    from leti_opt.predictor.lut_predictor import LutPredictor

    assert table is not None, "check_kind refuses it"
    return LutPredictor(network, LatencyTable.load(table), missing="nan")


def unfitted(kind: str, network: NetworkConfig, cells: ArchitectureTable) -> LatencyPredictor:
    """An unfitted predictor for such cells in a network.

    Raises:
        InvalidInputError: there is no such kind.
    """
    from leti_opt.cli.quiet import load_tensorflow
    from leti_opt.predictor.kinds import PREDICTORS

    check_kind(kind)
    if kind == "gcn":
        load_tensorflow()
    name = KINDS[kind]
    made = getattr(import_module(PREDICTORS[name]), name)
    predictor: LatencyPredictor = made(network, **_room(kind, cells))
    return predictor


def check_kind(kind: str, table: Path | None = None) -> None:
    """Refuse an unknown kind, and the one that needs a table without one, before anything is read.

    Raises:
        InvalidInputError: it is so.
    """
    if kind not in (*KINDS, LUT):
        raise InvalidInputError(f"unknown kind {kind!r}; {did_you_mean(kind, (*KINDS, LUT))}")
    if kind == LUT and table is None:
        raise InvalidInputError(
            f"--kind {LUT} sums pieces of a table; name it with --table ('leti-opt lut cells' measures one)"
        )


def check_table(kinds: Sequence[str], table: Path | None) -> None:
    """Refuse a table that no kind takes.

    Raises:
        InvalidInputError: it is so.
    """
    if table is not None and LUT not in kinds:
        raise InvalidInputError(f"only --kind {LUT} takes a --table of pieces; add the kind, or leave the table out")


def kind_of(predictor: LatencyPredictor) -> str:
    """What the command line calls a predictor."""
    name = type(predictor).__name__
    return next((kind for kind, known in {**KINDS, LUT: LUT_CLASS}.items() if known == name), name)


def _room(kind: str, cells: ArchitectureTable) -> dict[str, int]:
    """Inputs for larger cells than NAS-Bench-101's, where the data's space has such."""
    from leti_opt.predictor.features import PAPER_VERTICES
    from leti_opt.search_space.definition import NAS_BENCH_201

    largest = max(PAPER_VERTICES, int(cells.vertices.max()))
    if cells.labels == NAS_BENCH_201.labels:
        largest = max(largest, len(NAS_BENCH_201.edges) + 2)
    return {"vertices": largest} if kind in ("xgboost", "gcn") and largest > PAPER_VERTICES else {}
