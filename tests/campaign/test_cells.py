from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.architecture import Architecture
from leti_opt.architecture_table import ArchitectureTable
from leti_opt.campaign.cells import FLOPS_RANGES, MEMORY_RANGES, chosen_cells, stratified
from leti_opt.campaign.definition import CampaignDefinition
from leti_opt.errors import InvalidInputError
from leti_opt.network.config import NetworkConfig
from leti_opt.network.cost import network_cost
from leti_opt.network.table_cost import TableCost

SMALL_SPACE = {"max_vertices": 5}


def define(**cells: Any) -> CampaignDefinition:
    return CampaignDefinition(name="a", devices=["host-cpu"], networks=["small"], cells={**SMALL_SPACE, **cells})


def hashes(table: ArchitectureTable) -> set[str]:
    return set(table.graph_hashes.tolist())


def test_all_cells_come_in_a_shuffle_that_the_seed_decides() -> None:
    everything = chosen_cells(define())
    assert len(everything) == len(hashes(everything)) == 2532
    again = chosen_cells(define())
    assert (everything.graph_hashes == again.graph_hashes).all()
    other = chosen_cells(define().model_copy(update={"seed": 1}))
    assert hashes(other) == hashes(everything)
    assert (other.graph_hashes != everything.graph_hashes).mean() > 0.9


def test_hashes_of_a_whole_space_are_computed_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path))
    whole = CampaignDefinition(
        name="a", devices=["host-cpu"], networks=["small"], cells={"space": "nasbench201", "max_vertices": None}
    )
    first = chosen_cells(whole).graph_digests
    computed: list[int] = []
    plainly = ArchitectureTable.hashed

    def counted(table: ArchitectureTable, workers: int | None = None) -> Any:
        computed.append(len(table))
        return plainly(table, workers)

    monkeypatch.setattr(ArchitectureTable, "hashed", counted)
    assert (chosen_cells(whole).graph_digests == first).all()
    assert computed == []


def test_a_larger_random_sample_begins_with_the_smaller_one() -> None:
    small, large = chosen_cells(define(sample=10)), chosen_cells(define(sample=50))
    assert large.graph_hashes[:10].tolist() == small.graph_hashes.tolist()


def test_the_filter_is_kept_to() -> None:
    limit = 60_000_000
    found = chosen_cells(define(filter={"max_flops": "60M", "gpu": "paper-2020"}))
    cost = network_cost(found, NetworkConfig.small())
    assert 0 < len(found) < 2532
    assert cost.flops.max() <= limit


def test_a_filter_that_nothing_keeps_to_and_a_sample_that_is_too_large_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"none of the 2,532 cells keeps to cells\.filter"):
        chosen_cells(define(filter={"max_flops": 1}))
    with pytest.raises(InvalidInputError, match=r"cells\.sample is 9,999, and only 2,532"):
        chosen_cells(define(sample=9999))


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="did you mean 'nasbench101'"):
        chosen_cells(CampaignDefinition(name="a", devices=["host-cpu"], cells={"space": "nasbench11"}))


def test_a_table_is_taken_in_place_of_a_space(tmp_path: Path) -> None:
    chosen_cells(define(sample=7)).save(tmp_path / "cells.npz")
    campaign = CampaignDefinition(name="a", devices=["host-cpu"], cells={"table": tmp_path / "cells.npz"})
    assert len(chosen_cells(campaign)) == 7


def test_equal_cells_of_a_table_count_once(tmp_path: Path) -> None:
    cells = chosen_cells(define(sample=7))
    twice = cells[np.array([0, 1, 2, 1, 0, 3, 4, 5, 6, 6])]
    twice.save(tmp_path / "cells.npz")
    campaign = CampaignDefinition(name="a", devices=["host-cpu"], cells={"table": tmp_path / "cells.npz"})
    assert hashes(chosen_cells(campaign)) == hashes(cells)
    assert len(chosen_cells(campaign)) == 7


def test_cells_whose_operations_the_network_does_not_know_are_refused(tmp_path: Path) -> None:
    odd = Architecture(np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]), ["input", "odd", "output"], labels=["odd"])
    ArchitectureTable.from_architectures([odd]).save(tmp_path / "cells.npz")
    campaign = CampaignDefinition(name="a", devices=["host-cpu"], cells={"table": tmp_path / "cells.npz"})
    with pytest.raises(InvalidInputError, match="cells have the operation 'odd'"):
        chosen_cells(campaign)


def test_a_stratified_sample_has_every_range_of_flops_and_memory_in_equal_shares() -> None:
    everything = chosen_cells(define())
    cost = network_cost(everything, NetworkConfig.small())
    wanted = 4 * FLOPS_RANGES * MEMORY_RANGES
    places = stratified(cost, wanted, np.random.default_rng(0))
    assert len(set(places.tolist())) == wanted
    rank = np.empty(len(everything), dtype=int)
    rank[np.argsort(cost.flops, kind="stable")] = np.arange(len(everything))
    of_range = np.bincount(rank[places] * FLOPS_RANGES // len(everything), minlength=FLOPS_RANGES)
    assert of_range.tolist() == [wanted // FLOPS_RANGES] * FLOPS_RANGES


def test_a_stratified_sample_reaches_further_than_a_random_one() -> None:
    cost = network_cost(chosen_cells(define()), NetworkConfig.small())
    top = np.sort(cost.flops)[-253:]
    picked = cost.flops[stratified(cost, 100, np.random.default_rng(1))]
    assert (picked >= top.min()).sum() == pytest.approx(10, abs=1)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(1, 120), seed=st.integers(0, 5))
def test_a_stratified_sample_is_of_any_size_and_draws_none_twice(data: st.DataObject, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    cost = TableCost(random.integers(0, 5, count), random.integers(0, 9, count), random.integers(0, 3, count))
    wanted = data.draw(st.integers(1, count))
    places = stratified(cost, wanted, np.random.default_rng(seed))
    assert len(places) == wanted == len(set(places.tolist()))
    assert (places == stratified(cost, wanted, np.random.default_rng(seed))).all()
