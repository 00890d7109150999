"""Panels: which networks tell whether a device has changed, and what they say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from leti_opt import Architecture, LatencyStore, MeasurableModel, NetworkConfig, open_device
from leti_opt.device.device import DeviceEpoch
from leti_opt.device.host_cpu import HostCpu
from leti_opt.device.protocol import MeasurementProtocol
from leti_opt.errors import DeviceError, InvalidInputError, NotFoundError
from leti_opt.objective.answers import Source
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.measuring import MeasuringService
from leti_opt.objective.panel import changed_since, link_epochs, measure_models, panel_model
from leti_opt.objective.panel_check import check_panel, median_bounds
from leti_opt.objective.questions import cell_question
from tests.objective.changed_device import (
    DIGEST,
    NETWORK,
    NEW,
    OLD,
    ChangedDevice,
    cells,
    linked,
    measure_cells,
    panel_of,
    service_on,
)

# -- choosing -------------------------------------------------------------------------------------------------------


def test_a_panel_is_spread_over_latency_and_has_both_ends(store: LatencyStore, old: ChangedDevice) -> None:
    keys = measure_cells(old, store, 60)
    latency_ms = store.latencies(old.identity, OLD, DIGEST)
    assert set(latency_ms) == set(keys)
    ranked = sorted(keys, key=latency_ms.__getitem__)
    panel = panel_of(store, old)
    places = [ranked.index(key) for key in panel]
    assert len(panel) == 20
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, len(ranked) - 1)
    assert max(np.diff(places)) <= 2 * len(ranked) / 20


def test_a_panel_stays_the_same_while_the_store_grows(store: LatencyStore, old: ChangedDevice) -> None:
    measure_cells(old, store, 30)
    panel = panel_of(store, old)
    measure_cells(old, store, 90)
    assert panel_of(store, old) == panel == store.panel(old.identity, DIGEST)


def test_a_small_panel_grows_and_keeps_its_members(store: LatencyStore, old: ChangedDevice) -> None:
    measure_cells(old, store, 5)
    small = panel_of(store, old)
    measure_cells(old, store, 60)
    assert len(small) == 5
    assert set(small) < set(panel_of(store, old))
    assert len(panel_of(store, old)) == 20


def test_a_member_that_was_withdrawn_is_replaced(store: LatencyStore, old: ChangedDevice) -> None:
    measure_cells(old, store, 20)
    moment = datetime.now(UTC)
    measure_cells(old, store, 40)
    panel = panel_of(store, old)
    withdrawn = store.suspect(old.identity, OLD, since=moment, reason="canary")
    kept = [key for key in panel if key not in withdrawn]
    again = panel_of(store, old)
    assert 0 < len(kept) < len(panel)
    assert set(kept) <= set(again)
    assert not set(again) & set(withdrawn)


def test_unstable_networks_canaries_and_other_networks_are_no_members(store: LatencyStore, old: ChangedDevice) -> None:
    keys = measure_cells(old, store, 12)
    measure_cells(old, store, 12, NetworkConfig.small(filters=12, input_shape=(8, 8, 3)))
    shaky = replace(store.find(keys[0], old.identity)[0], stable=False, started_at=datetime.now(UTC))
    other = panel_model(store, keys[0])
    store.add(replace(other, key="shaky", layer_graph=None), replace(shaky, model_key="shaky"))
    canary = replace(shaky, model_key="canary", stable=True)
    store.add(replace(other, key="canary", layer_graph=None), canary, role="canary")
    assert set(panel_of(store, old)) == set(keys)


def test_what_cannot_be_built_again_is_no_member(store: LatencyStore, old: ChangedDevice) -> None:
    keys = measure_cells(old, store, 12)
    stranger = replace(store.find(keys[0], old.identity)[0], model_key="stranger")
    alias = replace(store.aliases(model_key=keys[0])[0], cell="0-1:nonsense", graph_hash="none")
    store.add(MeasurableModel("stranger", "stranger", "tflite_writer 1"), stranger, alias=alias)
    assert "stranger" in store.latencies(old.identity, OLD, DIGEST)
    assert set(panel_of(store, old)) == set(keys)


def test_an_empty_store_has_no_panel(store: LatencyStore, old: ChangedDevice) -> None:
    assert panel_of(store, old) == []


def test_a_new_runtime_takes_over_the_panel(store: LatencyStore, old: ChangedDevice) -> None:
    measure_cells(old, store, 40)
    panel = panel_of(store, old)
    new = ChangedDevice(OLD, runtime="formula 2")
    measure_cells(new, store, 60)
    assert panel_of(store, new) == panel


# -- epochs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "new",
    [
        lambda **change: ChangedDevice(NEW, **change),
        lambda **change: ChangedDevice(replace(OLD, driver="535"), **change),
        lambda **change: ChangedDevice(replace(OLD, unit="b"), **change),
        lambda **change: ChangedDevice(OLD, runtime="formula 2", **change),
        lambda **change: ChangedDevice(NEW, runtime="formula 2", **change),
    ],
    ids=["system", "driver", "unit", "runtime", "runtime and system"],
)
def test_nothing_crosses_a_change_until_the_panel_agrees(
    store: LatencyStore, old: ChangedDevice, new: Callable[..., ChangedDevice]
) -> None:
    measure_cells(old, store, 60)
    spare = next(cell for cell in cells(60) if resolved(store, cell) not in panel_of(store, old))
    changed = new(factor=1.005)
    key = resolved(store, spare)
    assert store.find(key, changed.identity, changed.epoch) == []
    assert linked(store, old, changed)
    answer = service_on(changed, store).answer(cell_question(spare, NETWORK))
    assert answer.source is Source.STORE
    assert answer.measurement is not None
    assert (answer.measurement.device, answer.measurement.epoch) == (old.identity, OLD)
    assert len(changed.loads) == 20


def resolved(store: LatencyStore, cell: Architecture) -> str:
    alias = cell_question(cell, NETWORK).alias
    assert alias is not None
    return str(store.resolve(alias))


@pytest.mark.parametrize("change", [{"factor": 1.1}, {"factor": 0.9}, {"shuffle": 0.4}])
def test_after_a_panel_that_disagrees_everything_is_measured_anew(
    store: LatencyStore, old: ChangedDevice, change: dict[str, float]
) -> None:
    measure_cells(old, store, 40)
    new = ChangedDevice(NEW, **change)  # type: ignore[arg-type]
    assert not linked(store, old, new)
    assert store.links(new.identity)[0].agrees is False
    loads = len(new.loads)
    measure_cells(new, store, 40)
    assert len(new.loads) - loads == len(set(cells(40))) - 20


def test_an_infeasible_network_is_tried_again_after_an_update(store: LatencyStore, old: ChangedDevice) -> None:
    question = cell_question(cells(1)[0], NETWORK)
    key = question.build().key
    refusing = ChangedDevice(OLD, refuses=[key])
    assert service_on(refusing, store).answer(question).failure == "this driver refuses it"
    assert service_on(old, store).answer(question).source is Source.STORE
    assert service_on(ChangedDevice(NEW), store).answer(question).measurement is not None


def test_the_panel_is_measured_in_this_very_epoch_even_where_a_linked_one_has_it(
    store: LatencyStore, old: ChangedDevice
) -> None:
    measure_cells(old, store, 30)
    new = ChangedDevice(NEW)
    assert linked(store, old, new)
    third = ChangedDevice(DeviceEpoch("kernel 6.3", unit="a"))
    store.add_link(third.identity, replace(store.links(new.identity)[0], first=NEW, second=third.epoch))
    found = measure_models(service_on(third, store), [panel_model(store, key) for key in panel_of(store, old)])
    assert {measurement.epoch for measurement in found.values()} == {third.epoch}


def test_what_this_epoch_has_is_not_measured_again(store: LatencyStore, old: ChangedDevice) -> None:
    keys = measure_cells(old, store, 12)
    lines: list[str] = []
    again = ChangedDevice(OLD)
    found = measure_models(service_on(again, store), [panel_model(store, key) for key in keys], lines.append)
    assert list(found) == keys
    assert again.loads == []
    assert all("from the store" in line for line in lines)


def test_infeasible_and_unstable_networks_are_left_out_and_named(store: LatencyStore, old: ChangedDevice) -> None:
    keys = measure_cells(old, store, 12)
    lines: list[str] = []
    new = ChangedDevice(NEW, refuses=keys[:1])
    strict = MeasurementProtocol(min_runs=30, max_relative_std=1e-9, max_attempts=1)
    models = [panel_model(store, key) for key in keys[:2]]
    assert measure_models(service_on(new, store, strict), models, lines.append) == {}
    assert "infeasible: this driver refuses it" in lines[0]
    assert "spread too far" in lines[1]
    lines.clear()
    assert set(measure_models(service_on(new, store), models, lines.append)) == {keys[1]}
    assert "infeasible" in lines[0]


def test_a_device_that_goes_away_costs_nothing_of_what_was_measured(store: LatencyStore, old: ChangedDevice) -> None:
    keys = measure_cells(old, store, 15)
    models = [panel_model(store, key) for key in keys]
    with pytest.raises(DeviceError, match="cable"):
        measure_models(service_on(ChangedDevice(NEW, gone_after=7), store), models)
    back = ChangedDevice(NEW)
    assert set(measure_models(service_on(back, store), models)) == set(keys)
    assert len(back.loads) == len(keys) - 7


def test_too_few_networks_link_nothing(store: LatencyStore, old: ChangedDevice) -> None:
    measure_cells(old, store, 9)
    with pytest.raises(NotFoundError, match="only 9 networks"):
        linked(store, old, ChangedDevice(NEW))
    assert store.links(old.identity) == []


def test_the_same_verdict_is_stored_once(store: LatencyStore, old: ChangedDevice) -> None:
    measure_cells(old, store, 20)
    assert linked(store, old, ChangedDevice(NEW))
    assert linked(store, old, ChangedDevice(NEW))
    assert len(store.links(old.identity)) == 1


def test_an_epoch_is_not_linked_with_itself(store: LatencyStore, old: ChangedDevice) -> None:
    keys = measure_cells(old, store, 20)
    with pytest.raises(InvalidInputError, match="two epochs"):
        link_epochs(service_on(old, store), (old.identity, OLD), keys)


# -- the verdict ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "agrees"), [(1.0, True), (1.029, True), (1.031, False), (1 / 1.029, True), (1 / 1.031, False)]
)
def test_the_median_ratio_may_be_three_percent_off_either_way(factor: float, agrees: bool) -> None:
    before = {str(place): 1.0 + place for place in range(20)}
    assert check_panel(before, {key: factor * ms for key, ms in before.items()}).agrees is agrees


def test_ranks_that_change_are_an_objection() -> None:
    before = {str(place): 1.0 + 0.001 * place for place in range(20)}
    check = check_panel(before, dict(zip(before, reversed(before.values()), strict=True)))
    assert check.spearman == pytest.approx(-1)
    assert check.objections == ["Spearman is below 0.99"]


def test_equal_latencies_do_not_agree() -> None:
    check = check_panel(dict.fromkeys("abcdefghij", 1.0), dict.fromkeys("abcdefghij", 1.0))
    assert check.spearman is None
    assert "ranks say nothing" in check.verdict()


@given(st.integers(1, 200))
def test_the_interval_of_a_median_covers_it_in_95_percent_and_is_no_wider_than_needed(count: int) -> None:
    low, high = median_bounds(range(count))
    assert low + high == count - 1
    if count >= 6:
        assert 1 - 2 * binom.cdf(low, count, 0.5) >= 0.95
        assert 1 - 2 * binom.cdf(low + 1, count, 0.5) < 0.95


# -- a real device --------------------------------------------------------------------------------------------------


def test_a_host_whose_kernel_changed_is_itself_after_the_panel(
    store: LatencyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever else this machine does, every figure shall hold: this is about epochs.
    protocol, unwatched = MeasurementProtocol(min_runs=30, max_relative_std=1000), CanarySettings(pace="off")
    with open_device("host-cpu") as host:
        service = MeasuringService(host, store, protocol, canary=unwatched)
        answers = [service.answer(cell_question(cell, NETWORK)) for cell in cells(12)]
        assert all(answer.measurement is not None for answer in answers)
        before, epoch = service.identity, service.epoch
        monkeypatch.setattr(HostCpu, "epoch", property(lambda _: replace(epoch, system_build="next kernel")))
        after = MeasuringService(host, store, protocol, canary=unwatched)
        assert store.find(str(answers[0].measurement and answers[0].measurement.model_key), before, after.epoch) == []
        assert "kernel" in str(changed_since(store, after.identity, after.epoch))
        panel = list(store.latencies(before, epoch, DIGEST))
        found = measure_models(after, [panel_model(store, key) for key in panel])
        assert {measurement.epoch.system_build for measurement in found.values()} == {"next kernel"}
        link = link_epochs(after, (before, epoch), panel)
        assert link.networks == len(panel) >= 10
        served = {measurement.epoch for measurement in store.find(panel[0], before, after.epoch)}
        assert served == ({epoch, after.epoch} if link.agrees else {after.epoch})
