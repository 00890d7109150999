"""What a store can answer for all cells at once is what it answers for each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.device.measurement import Measurement, Metric
from leti_opt.device.model import MeasurableModel
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.device.run_batch import RunBatch
from leti_opt.device.simulated import SimulatedDevice
from leti_opt.objective.answers import Answer, Question
from leti_opt.objective.measuring import MeasuringService
from leti_opt.store import CellAlias, EpochLink, LatencyStore, standings
from leti_opt.store.standing_figures import COLUMNS
from leti_opt.store.standings import Standings, State
from tests.store.samples import DEVICE, EPOCH, LATER_EPOCH, NOON, alias, measurement, model

NETWORK, RENDERER = alias().network_digest, alias().renderer
SIBLING = "another runtime"
PLACES = ("here", "later", SIBLING, "other")
PROTOCOLS = (
    MeasurementProtocol(),
    MeasurementProtocol(max_attempts=2, max_relative_std=0.5),
    MeasurementProtocol(max_relative_std=math.inf, runs_per_sample=None),
    MeasurementProtocol(max_attempts=1, runs_per_sample=4),
    MeasurementProtocol(relative_error=0.01),
    MeasurementProtocol(relative_error=0.05, max_attempts=1),
)
MIN_RUNS = 40
NUMBERS = count(1)


@dataclass(frozen=True)
class Events:
    """What happened to a device: measurements and failures by cell, links, and withdrawals by number.

    All names hold a number of their own, so that one store can hold what happened to many devices.
    """

    identity: DeviceIdentity
    number: int
    measured: list[tuple[int, str, Measurement]]
    failed: list[tuple[int, str | None, bool, str]]
    links: list[tuple[str, str, bool]]
    withdrawn: list[int]

    @property
    def network(self) -> str:
        """How the cells are laid out."""
        return f"net-{self.number}"

    def model(self, cell: int) -> MeasurableModel:
        """A cell's model."""
        return model(10 * self.number + cell)

    def aliases(self, cell: int) -> list[CellAlias]:
        """Cells 0 and 1 have one hash; model 2 stands for two cells."""
        own = replace(alias(cell, self.network), graph_hash=f"hash-{max(cell, 1)}")
        return [own, replace(own, cell="0-1:twin")] if cell == 2 else [own]

    def place(self, name: str) -> tuple[DeviceIdentity, DeviceEpoch]:
        """Device and epoch of a place."""
        if name == SIBLING:
            return replace(self.identity, runtime="litert 2.4"), EPOCH
        if name == "other":
            return replace(self.identity, hardware="i7"), EPOCH
        return self.identity, EPOCH if name == "here" else LATER_EPOCH


batches = st.builds(
    RunBatch,
    count=st.sampled_from([None, 30, 40, 160, 4000]),
    mean_ms=st.sampled_from([0.0, 0.01, 0.2, 1.0, 7.0]),
    std_ms=st.sampled_from([None, 0.0, 0.001, 0.1, 0.7, 3.0]),
    mean_error_ms=st.sampled_from([None, 0.0, 0.01, 0.05]),
    runs_per_sample=st.sampled_from([1, 4, 1000]),
)


@st.composite
def measurements(draw: st.DrawFn, key: str, identity: DeviceIdentity, epoch: DeviceEpoch) -> Measurement:
    moment = NOON + timedelta(minutes=draw(st.integers(0, 3)))
    return Measurement(
        model_key=key,
        device=identity,
        epoch=epoch,
        attempts=tuple(draw(st.lists(batches, min_size=1, max_size=3))),
        stable=draw(st.booleans()),
        min_runs=draw(st.sampled_from([30, 40, 300])),
        max_relative_std=0.1,
        warmup_runs=3,
        started_at=moment,
        duration_s=1.0,
        faults=tuple(draw(st.lists(st.just("it crashed"), max_size=3))),
        metrics=draw(st.sampled_from([(), (Metric("peak_memory", 1e6, "bytes", "os"),)])),
        relative_error=draw(st.sampled_from([None, None, 0.01, 0.05])),
    )


@st.composite
def events(draw: st.DrawFn) -> Events:
    origin = draw(st.sampled_from(["measured", "replayed"]))
    number = next(NUMBERS)
    device = replace(DEVICE, hardware=f"Xeon {number}", origin=origin)  # type: ignore[arg-type]
    found = Events(device, number, [], [], [], [])
    for _ in range(draw(st.integers(0, 8))):
        cell, place = draw(st.integers(0, 3)), draw(st.sampled_from(PLACES))
        found.measured.append((cell, place, draw(measurements(found.model(cell).key, *found.place(place)))))
    failures = st.tuples(
        st.integers(0, 4), st.sampled_from([None, *PLACES]), st.booleans(), st.sampled_from(["model", "alias", "both"])
    )
    pairs = st.sampled_from([("here", "later"), ("here", SIBLING), ("later", SIBLING)])
    found.failed.extend(draw(st.lists(failures, max_size=4)))
    found.links.extend((*pair, agrees) for pair, agrees in draw(st.lists(st.tuples(pairs, st.booleans()), max_size=3)))
    found.withdrawn.extend(draw(st.lists(st.integers(1, 8), max_size=3)))
    return found


def fill(store: LatencyStore, found: Events) -> None:
    ids = []
    for cell, _, one in found.measured:
        ids += [store.add(found.model(cell), one, alias=name) for name in found.aliases(cell)][-1:]
    for order, (cell, place, with_epoch, by) in enumerate(found.failed):
        device, epoch = (None, None) if place is None else found.place(place)
        store.add_failure(
            f"failure {order}",
            stage="run",
            model=None if by == "alias" else found.model(cell),
            alias=None if by == "model" else found.aliases(cell)[-1],
            device=device,
            epoch=epoch if with_epoch else None,
            failed_at=NOON,
        )
    for order, (first, second, agrees) in enumerate(found.links):
        (first_device, first_epoch), (second_device, second_epoch) = found.place(first), found.place(second)
        moment = NOON + timedelta(minutes=order)
        link = EpochLink(first_epoch, second_epoch, agrees, 1.0, 1.0, 20, moment, first_device, second_device)
        store.add_link(found.identity, link)
    for place in found.withdrawn:
        if place <= len(ids):
            store.suspect_one(ids[place - 1], "the canary")


class Remembered(SimulatedDevice):
    """A device that is never asked to run: what matters is who it is."""

    def __init__(self, identity: DeviceIdentity, epoch: DeviceEpoch) -> None:
        super().__init__()
        self.default_min_runs = MIN_RUNS
        self._place = identity, epoch

    @property
    def identity(self) -> DeviceIdentity:
        return self._place[0]

    @property
    def epoch(self) -> DeviceEpoch:
        return self._place[1]


def never(*_: object) -> None:
    raise AssertionError("a question to the store must not build anything")


def answers(service: MeasuringService, found: Events) -> dict[tuple[str, str], Answer]:
    """Cell by cell."""
    names = [name for cell in range(5) for name in found.aliases(cell)]
    asked = {name: service.known(Question("cell", never, name)) for name in names}  # type: ignore[arg-type]
    return {(name.graph_hash, name.cell): answer for name, answer in asked.items() if answer is not None}


def state_of(answer: Answer) -> State:
    if answer.measurement is None:
        return State.INFEASIBLE
    return State.UNSTABLE if answer.provisional else State.MEASURED


def rows_of(found: Standings) -> dict[tuple[str, str], int]:
    assert found.cells is not None
    names = zip(found.graph_hashes.astype(str).tolist(), found.cells.astype(str).tolist(), strict=True)
    rows = {name: row for row, name in enumerate(names)}
    assert len(rows) == len(found)
    return rows


@pytest.fixture(scope="module")
def in_memory() -> Iterator[LatencyStore]:
    with LatencyStore(":memory:") as store:
        yield store


@given(events(), st.sampled_from(PROTOCOLS), st.sampled_from(PLACES))
@settings(max_examples=100, deadline=None)
def test_all_at_once_is_what_each_cell_by_itself_is(
    in_memory: LatencyStore, found: Events, protocol: MeasurementProtocol, place: str
) -> None:
    compare(in_memory, found, protocol, place)


@pytest.mark.needs("postgresql")
@given(events(), st.sampled_from(PROTOCOLS), st.sampled_from(PLACES))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_on_postgresql_it_is_the_same(
    postgresql_url: str, found: Events, protocol: MeasurementProtocol, place: str
) -> None:
    with LatencyStore(postgresql_url) as store:
        compare(store, found, protocol, place)


def compare(store: LatencyStore, found: Events, protocol: MeasurementProtocol, place: str) -> None:
    fill(store, found)
    device = Remembered(*found.place(place))
    expected = answers(MeasuringService(device, store, protocol), found)
    asked = (device.identity, device.epoch, found.network, RENDERER, protocol, protocol.runs_on(device))
    full = store.standings(*asked, figures=True, cells=True)
    rows = rows_of(full)
    assert {name: State(full.states[row]) for name, row in rows.items()} == {
        name: state_of(answer) for name, answer in expected.items()
    }
    assert full.figures is not None
    assert list(full.figures.columns) == list(COLUMNS)
    for name, row in rows.items():
        check_figures(full.figures.iloc[row], expected[name])
    plain = store.standings(*asked)
    assert sorted(zip(plain.graph_hashes.tolist(), plain.states.tolist(), strict=True)) == sorted(
        zip(full.graph_hashes.tolist(), full.states.tolist(), strict=True)
    )
    known = store.known_cells(found.network, RENDERER, cells=True)
    again = store.standings(*asked, figures=True, known=known)
    assert rows_of(again) == rows
    assert again.figures is not None
    pd.testing.assert_frame_equal(again.figures, full.figures)
    built = len(again.known_rows)
    assert known.cells is not None
    assert again.cells is not None
    assert known.cells[again.known_rows].tolist() == again.cells[:built].tolist()
    assert known.graph_hashes[again.known_rows].tolist() == again.graph_hashes[:built].tolist()


def check_figures(row: pd.Series, answer: Answer) -> None:
    """The row is of the measurement that answers, or says why there is none."""
    found = answer.measurement
    if found is None:
        assert row["failure_reason"] == answer.failure
        assert row.drop("failure_reason").isna().all()
        return
    memory = next((metric.value for metric in found.metrics if metric.name == "peak_memory"), None)
    expected = {
        **{name: getattr(found.batch, name) for name in COLUMNS if hasattr(found.batch, name)},
        "initialization_ms": found.initialization_ms,
        "attempts": len(found.attempts),
        "started_at": found.started_at,
        "epoch_digest": found.epoch.digest,
        "tool": found.tool,
        "commit": found.commit,
        "source": found.source,
        "peak_memory_bytes": memory,
        "failure_reason": None,
    }
    told = {name: None if pd.isna(value) else value for name, value in row.items()}
    assert told == expected


def test_cells_of_another_network_or_renderer_are_left_out() -> None:
    with LatencyStore(":memory:") as store:
        store.add(model(), measurement(), alias=alias())
        store.add(model(1), measurement(1), alias=alias(1, network="another"))
        store.add(model(2), measurement(2), alias=replace(alias(2), renderer="keras 3"))
        found = store.standings(DEVICE, EPOCH, NETWORK, RENDERER, MeasurementProtocol(min_runs=5), 5)
        assert found.graph_hashes.tolist() == [b"hash-0"]
        assert found.states.tolist() == [State.MEASURED]
        assert found.states.dtype == np.int8
        assert found.cells is None
        assert found.figures is None


def test_more_unfit_measurements_than_one_condition_names_are_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standings, "_IDS", 2)
    with LatencyStore(":memory:") as store:
        for number in range(7):
            store.add(model(number), measurement(number), alias=alias(number))
        lax, strict = (MeasurementProtocol(max_attempts=3, max_relative_std=limit) for limit in (0.5, 0.0001))
        states = [store.standings(DEVICE, EPOCH, NETWORK, RENDERER, one, 5).states for one in (lax, strict)]
        assert states[0].tolist() == [State.MEASURED] * 7
        assert states[1].tolist() == [State.UNSTABLE] * 7


def test_hashes_of_unequal_length_are_told_apart() -> None:
    with LatencyStore(":memory:") as store:
        for number in (8, 123456):
            store.add(model(number), measurement(number), alias=alias(number))
        found = store.standings(DEVICE, EPOCH, NETWORK, RENDERER, MeasurementProtocol(min_runs=5), 5)
        assert sorted(found.graph_hashes.tolist()) == [b"hash-123456", b"hash-8"]
