"""Adding many results at once leaves the same rows as adding them one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.store import LatencyStore, StoredResult
from leti_opt.store.schema import metadata
from tests.store.samples import EPOCH, LATER_EPOCH, NOON, alias, device, measurement, model, model_with_layers

NUMBERS = st.integers(0, 3)
COSTS = st.one_of(st.none(), st.integers(0, 5))


@st.composite
def results(draw: st.DrawFn) -> StoredResult:
    number = draw(NUMBERS)
    made = StoredResult(
        draw(st.sampled_from((model, model_with_layers)))(number),
        alias=draw(st.sampled_from((None, alias(number), alias(number, "another")))),
        flops=draw(COSTS),
        parameters=draw(COSTS),
    )
    identity = device(draw(st.sampled_from(("replayed", "simulated"))))
    epoch = draw(st.sampled_from((EPOCH, LATER_EPOCH)))
    if draw(st.booleans()):
        figures = measurement(
            number, stable=draw(st.booleans()), identity=identity, epoch=epoch, minutes=draw(st.integers(0, 1))
        )
        return replace(made, measurement=replace(figures, faults=draw(st.sampled_from(((), ("crashed", "hung"))))))
    reason = draw(st.sampled_from(("refused", "out of memory")))
    return replace(made, failure=reason, device=identity, epoch=epoch, failed_at=NOON)


def add_slowly(store: LatencyStore, wanted: Sequence[StoredResult]) -> None:
    for one in wanted:
        if one.measurement is not None:
            store.add(one.model, one.measurement, alias=one.alias, flops=one.flops, parameters=one.parameters)
        else:
            assert one.failure is not None
            store.add_model(one.model, flops=one.flops, parameters=one.parameters)
            store.add_failure(
                one.failure,
                stage="run",
                model=one.model,
                alias=one.alias,
                device=one.device,
                epoch=one.epoch,
                failed_at=one.failed_at,
            )


def content(store: LatencyStore) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, with its id, and nothing left for the next example."""
    with store._database.write() as connection:
        found = {
            table.name: sorted(map(tuple, connection.execute(table.select())), key=repr)
            for table in metadata.sorted_tables
        }
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    return found


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[LatencyStore, LatencyStore]]:
    with LatencyStore(":memory:") as fast, LatencyStore(":memory:") as slow:
        yield fast, slow


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.lists(results(), max_size=8), max_size=3))
def test_groups_leave_what_single_results_leave(
    stores: tuple[LatencyStore, LatencyStore], groups: list[list[StoredResult]]
) -> None:
    fast, slow = stores
    for group in groups:
        fast.add_all(group)
        add_slowly(slow, group)
    assert content(fast) == content(slow)
