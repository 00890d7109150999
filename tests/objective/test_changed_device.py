"""Whether a device has changed since its figures were measured."""

from __future__ import annotations

from dataclasses import replace

from leti_opt import LatencyStore
from leti_opt.objective.panel import changed_since, panel_model
from tests.objective.changed_device import NEW, OLD, ChangedDevice, cells, linked, measure_cells


def test_a_changed_device_is_noticed_until_it_was_compared(store: LatencyStore, old: ChangedDevice) -> None:
    measure_cells(old, store, 12)
    new = ChangedDevice(NEW, runtime="formula 2", factor=2)
    assert changed_since(store, old.identity, OLD) is None
    note = changed_since(store, new.identity, NEW)
    assert note is not None
    assert "runtime formula 1 → formula 2, system kernel 6.1 → kernel 6.2" in note
    assert f"{len(set(cells(12)))} earlier figures are not used" in note
    measure_cells(new, store, 1)
    assert changed_since(store, new.identity, NEW) is not None
    assert not linked(store, old, new)
    assert changed_since(store, new.identity, NEW) is None


def test_a_second_unit_is_no_change_once_it_has_figures(store: LatencyStore, old: ChangedDevice) -> None:
    measure_cells(old, store, 12)
    other = ChangedDevice(replace(OLD, unit="b"))
    assert "another unit" in str(changed_since(store, other.identity, other.epoch))
    measure_cells(other, store, 1)
    assert changed_since(store, other.identity, other.epoch) is None


def test_another_device_and_imported_figures_are_no_change(store: LatencyStore, old: ChangedDevice) -> None:
    keys = measure_cells(old, store, 12)
    assert changed_since(store, replace(old.identity, hardware="i7"), NEW) is None
    with LatencyStore(":memory:") as other:
        imported = replace(store.find(keys[0], old.identity)[0], source="other.parquet")
        other.add(panel_model(store, keys[0]), imported)
        assert changed_since(other, old.identity, NEW) is None
