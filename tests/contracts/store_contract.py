"""What every store of latencies promises. A test class inherits this and gives the ``store`` fixture."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from leti_opt.device.device import DeviceEpoch
from leti_opt.device.run_batch import RunBatch
from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.store import EpochLink, EvaluationRecord, LatencyStore, ScoreRecord
from tests.contracts.shared_store_contract import SharedStoreContract
from tests.store.samples import (
    DEVICE,
    EPOCH,
    LATER_EPOCH,
    NOON,
    alias,
    device,
    measurement,
    model,
    model_with_layers,
)

THIRD_EPOCH = DeviceEpoch("linux 6.3", "", "unit-b")


def link(first: DeviceEpoch, second: DeviceEpoch, agrees: bool, minutes: float = 0) -> EpochLink:
    return EpochLink(first, second, agrees, 1.01, 0.995, 20, NOON + timedelta(minutes=minutes))


def score(value: float = 0.9) -> ScoreRecord:
    return ScoreRecord("0-1:", "hash", "digest", "digits", value, 3.5, NOON, {"epochs": 2, "by_class": [0.5, 1.0]})


def told(position: int, loss: float = 1.5) -> EvaluationRecord:
    return EvaluationRecord(position, f"cell {position}", (loss, 0.1), "measured", NOON)


class MeasurementContract:
    """Adding and finding measurements."""

    def test_an_empty_store_finds_nothing(self, store: LatencyStore) -> None:
        assert store.find("key-0", DEVICE) == []
        assert store.find("key-0", DEVICE, EPOCH) == []
        assert store.failures() == []
        assert store.resolve(alias()) is None
        assert store.device_of("host-cpu") is None

    def test_a_measurement_comes_back_equal_with_attempts_runs_faults_and_metrics(self, store: LatencyStore) -> None:
        store.add(model(), measurement())
        assert store.find("key-0", DEVICE) == [measurement()]
        assert store.find("key-0", DEVICE, EPOCH) == [measurement()]

    def test_newest_comes_first_whatever_the_order_of_adding(self, store: LatencyStore) -> None:
        for minutes in (5, 9, 1):
            store.add(model(), measurement(minutes=minutes))
        assert store.find("key-0", DEVICE) == [measurement(minutes=minutes) for minutes in (9, 5, 1)]

    def test_an_equal_measurement_is_stored_once(self, store: LatencyStore) -> None:
        first = store.add(model(), measurement())
        assert store.add(model(), measurement()) == first
        assert store.add(model(), measurement(minutes=1)) != first
        assert store.info().measurements == 2

    def test_measurements_that_differ_in_one_run_are_two(self, store: LatencyStore) -> None:
        once = measurement()
        runs = once.batch.runs_ms or ()
        other = replace(once, attempts=(once.attempts[0], replace(once.batch, runs_ms=(runs[1], runs[0], *runs[2:]))))
        store.add(model(), once)
        store.add(model(), other)
        assert len(store.find("key-0", DEVICE)) == 2

    def test_the_measurement_of_another_model_is_refused(self, store: LatencyStore) -> None:
        with pytest.raises(InvalidInputError, match="key-1"):
            store.add(model(0), measurement(1))
        assert store.info().models == 0

    @pytest.mark.parametrize(
        "wrong",
        [
            {"first_run_ms": float("nan")},
            {"attempts": (RunBatch(1, 1.0, runs_ms=(float("nan"),)),)},
            {"started_at": datetime(2026, 3, 1)},
            {"faults": ("half a pair: \ud800",)},
        ],
    )
    def test_what_cannot_be_kept_faithfully_is_refused_whole(
        self, store: LatencyStore, wrong: dict[str, object]
    ) -> None:
        with pytest.raises(InvalidInputError):
            store.add(model(), replace(measurement(), **wrong))
        assert (store.info().measurements, store.info().models) == (0, 0)
        store.add(model(), measurement())
        assert store.find("key-0", DEVICE) == [measurement()]

    def test_other_devices_and_other_models_do_not_answer(self, store: LatencyStore) -> None:
        store.add(model(), measurement())
        assert store.find("key-1", DEVICE) == []
        assert store.find("key-0", replace(DEVICE, options=(("threads", "4"),))) == []
        assert store.find("key-0", replace(DEVICE, origin="simulated")) == []

    def test_threads_that_write_at_once_lose_and_double_nothing(self, store: LatencyStore) -> None:
        with ThreadPoolExecutor(8) as pool:
            numbers = list(range(40)) * 2
            ids = list(pool.map(lambda n: store.add(model(n), measurement(n), alias=alias(n)), numbers))
        assert len(set(ids)) == 40
        assert ids[:40] == ids[40:]
        assert all(store.find(f"key-{n}", DEVICE) == [measurement(n)] for n in range(40))
        assert all(store.resolve(alias(n)) == f"key-{n}" for n in range(40))

    def test_what_was_unknown_of_a_model_is_filled_in_and_nothing_is_overwritten(self, store: LatencyStore) -> None:
        store.add(model(), measurement())
        store.add(model_with_layers(), measurement(minutes=1), flops=100)
        store.add_model(model(), flops=999, parameters=7)
        row = store.to_frame().iloc[0]
        assert (row["flops"], row["parameters"], row["input_shape"], row["batch_size"]) == (100, 7, "[8,8,3]", 1)


class EpochContract:
    """Epochs of a device, and what links them."""

    def test_another_epoch_does_not_answer_until_a_panel_agrees(self, store: LatencyStore) -> None:
        store.add(model(), measurement())
        assert store.find("key-0", DEVICE, LATER_EPOCH) == []
        store.add_link(DEVICE, link(EPOCH, LATER_EPOCH, agrees=True))
        assert store.find("key-0", DEVICE, LATER_EPOCH) == [measurement()]
        assert store.find("key-0", DEVICE) == [measurement()]

    def test_a_panel_that_disagrees_is_kept_and_links_nothing(self, store: LatencyStore) -> None:
        store.add(model(), measurement())
        failed = link(EPOCH, LATER_EPOCH, agrees=False)
        store.add_link(DEVICE, failed)
        assert store.find("key-0", DEVICE, LATER_EPOCH) == []
        assert store.links(DEVICE) == [failed]

    def test_links_lead_on_in_both_directions(self, store: LatencyStore) -> None:
        store.add(model(), measurement())
        store.add_link(DEVICE, link(LATER_EPOCH, EPOCH, agrees=True))
        store.add_link(DEVICE, link(LATER_EPOCH, THIRD_EPOCH, agrees=True))
        assert store.find("key-0", DEVICE, THIRD_EPOCH) == [measurement()]

    def test_epochs_found_to_disagree_are_not_joined_by_a_detour(self, store: LatencyStore) -> None:
        store.add(model(), measurement())
        store.add_link(DEVICE, link(EPOCH, LATER_EPOCH, agrees=True))
        store.add_link(DEVICE, link(LATER_EPOCH, THIRD_EPOCH, agrees=True))
        store.add_link(DEVICE, link(EPOCH, THIRD_EPOCH, agrees=False))
        assert store.find("key-0", DEVICE, THIRD_EPOCH) == []

    def test_of_two_panels_the_newest_counts(self, store: LatencyStore) -> None:
        store.add(model(), measurement())
        store.add_link(DEVICE, link(EPOCH, LATER_EPOCH, agrees=False, minutes=10))
        store.add_link(DEVICE, link(EPOCH, LATER_EPOCH, agrees=True, minutes=5))
        assert store.find("key-0", DEVICE, LATER_EPOCH) == []
        store.add_link(DEVICE, link(LATER_EPOCH, EPOCH, agrees=True, minutes=15))
        assert store.find("key-0", DEVICE, LATER_EPOCH) == [measurement()]

    def test_links_of_one_device_do_not_touch_another(self, store: LatencyStore) -> None:
        other = replace(DEVICE, hardware="another")
        store.add(model(), measurement(identity=other))
        store.add_link(DEVICE, link(EPOCH, LATER_EPOCH, agrees=True))
        assert store.find("key-0", other, LATER_EPOCH) == []
        assert store.links(other) == []

    def test_an_epoch_is_not_linked_with_itself(self, store: LatencyStore) -> None:
        with pytest.raises(InvalidInputError, match="two epochs"):
            store.add_link(DEVICE, link(EPOCH, EPOCH, agrees=True))


class LookupContract:
    """Aliases, failures, URIs."""

    def test_an_alias_leads_to_its_model_only_in_full(self, store: LatencyStore) -> None:
        store.add_alias(alias(), model())
        assert store.resolve(alias()) == "key-0"
        for change in ({"cell": "0-1:"}, {"network_digest": "other"}, {"renderer": "other"}, {"graph_hash": "other"}):
            assert store.resolve(replace(alias(), **change)) is None

    def test_an_alias_is_not_turned_to_another_model(self, store: LatencyStore) -> None:
        store.add_alias(alias(), model(0))
        store.add_alias(alias(), model(0))
        with pytest.raises(StoreError, match="key-0"):
            store.add(model(1), measurement(1), alias=alias())
        assert store.resolve(alias()) == "key-0"
        assert store.find("key-1", DEVICE) == []

    def test_cells_are_listed_by_hash_and_by_model(self, store: LatencyStore) -> None:
        twin = replace(alias(1), network_digest="other")
        store.add_alias(alias(0), model(0))
        store.add_alias(alias(1), model(1))
        store.add_alias(twin, model(2))
        assert store.aliases() == [alias(0), alias(1), twin]
        assert store.aliases(graph_hash="hash-1") == [alias(1), twin]
        assert store.aliases(model_key="key-2") == [twin]

    def test_a_failure_is_found_by_model_by_cell_and_by_device(self, store: LatencyStore) -> None:
        store.add_failure(
            "out of memory", stage="load", model=model(), alias=alias(), device=DEVICE, epoch=EPOCH, failed_at=NOON
        )
        (failure,) = store.failures("key-0")
        assert (failure.reason, failure.stage, failure.failed_at) == ("out of memory", "load", NOON)
        assert (failure.device, failure.epoch, failure.alias) == (DEVICE, EPOCH, alias())
        assert store.failures(alias=alias()) == store.failures(identity=DEVICE) == store.failures() == [failure]
        assert store.failures("key-1") == store.failures(alias=alias(1)) == []
        assert store.failures("key-0", identity=replace(DEVICE, hardware="another")) == []

    def test_a_network_that_was_never_built_fails_by_its_cell_on_every_device(self, store: LatencyStore) -> None:
        store.add_failure("no such layer", stage="build", alias=alias())
        (failure,) = store.failures(alias=alias(), identity=DEVICE)
        assert (failure.model_key, failure.device, failure.reason) == (None, None, "no such layer")
        assert store.resolve(alias()) is None

    def test_a_cell_finds_the_failure_that_was_stored_by_model(self, store: LatencyStore) -> None:
        store.add_alias(alias(), model())
        store.add_failure("refused", stage="load", model=model(), device=DEVICE)
        assert [failure.reason for failure in store.failures(alias=alias())] == ["refused"]

    def test_newest_failure_comes_first(self, store: LatencyStore) -> None:
        for minutes in (2, 3, 1):
            store.add_failure(str(minutes), stage="run", model=model(), failed_at=NOON + timedelta(minutes=minutes))
        assert [failure.reason for failure in store.failures()] == ["3", "2", "1"]

    @pytest.mark.parametrize(
        "wrong",
        [
            {"stage": "build"},
            {"stage": "thinking", "model": model()},
            {"stage": "run", "model": model(), "epoch": EPOCH},
        ],
    )
    def test_a_failure_that_says_too_little_is_refused(self, store: LatencyStore, wrong: dict[str, object]) -> None:
        with pytest.raises(InvalidInputError):
            store.add_failure("reason", **wrong)
        assert store.info().failures == 0

    def test_a_uri_leads_to_the_device_last_seen_there(self, store: LatencyStore) -> None:
        store.remember_uri("host-cpu", DEVICE, EPOCH)
        store.remember_uri("other", device("replayed"), EPOCH)
        store.remember_uri("host-cpu", DEVICE, LATER_EPOCH)
        assert store.device_of("host-cpu") == (DEVICE, LATER_EPOCH)
        assert store.device_of("other") == (device("replayed"), EPOCH)


class JournalContract:
    """Scores and searches."""

    def test_a_score_comes_back_equal_and_the_first_one_stands(self, store: LatencyStore) -> None:
        assert store.score("0-1:", "digest") is None
        assert store.add_score(score(0.9)) == store.add_score(score(0.1))
        assert store.score("0-1:", "digest") == score(0.9)
        assert store.score("0-1:", "other") is None

    def test_a_score_that_is_no_number_is_refused(self, store: LatencyStore) -> None:
        with pytest.raises(InvalidInputError, match="NaN"):
            store.add_score(score(float("nan")))
        assert store.score("0-1:", "digest") is None

    def test_equal_settings_are_one_search_in_any_order(self, store: LatencyStore) -> None:
        first = store.open_search({"seed": 1, "space": {"a": [1, 2.5], "b": None}})
        assert store.open_search({"space": {"b": None, "a": [1, 2.5]}, "seed": 1}) == first
        assert store.open_search({"seed": 2}) != first

    def test_settings_that_json_cannot_hold_are_refused(self, store: LatencyStore) -> None:
        with pytest.raises(InvalidInputError, match="JSON"):
            store.open_search({"seed": object()})

    def test_the_journal_comes_back_in_order_to_the_bit(self, store: LatencyStore) -> None:
        search, other = store.open_search({"seed": 1}), store.open_search({"seed": 2})
        for position in (2, 0, 1):
            store.add_evaluation(search, told(position, 0.1 + 0.2))
        assert store.evaluations(search) == [told(position, 0.1 + 0.2) for position in range(3)]
        assert store.evaluations(other) == []

    def test_telling_the_same_again_changes_nothing_and_telling_otherwise_is_refused(self, store: LatencyStore) -> None:
        search = store.open_search({"seed": 1})
        store.add_evaluation(search, told(0))
        store.add_evaluation(search, told(0))
        with pytest.raises(StoreError, match="position 0"):
            store.add_evaluation(search, told(0, 9.0))
        assert store.evaluations(search) == [told(0)]

    def test_a_journal_needs_its_search_and_finite_losses(self, store: LatencyStore) -> None:
        with pytest.raises(NotFoundError, match="open_search"):
            store.add_evaluation(77, told(0))
        search = store.open_search({"seed": 1})
        with pytest.raises(InvalidInputError, match="finite"):
            store.add_evaluation(search, told(0, float("inf")))
        assert store.evaluations(search) == []


class FrameContract:
    """The store as a table."""

    def test_an_empty_store_gives_an_empty_table_with_every_column(self, store: LatencyStore) -> None:
        frame = store.to_frame()
        assert len(frame) == 0
        assert {"model_key", "cell", "graph_hash", "device", "origin", "mean_ms", "failure_reason"} <= set(
            frame.columns
        )

    def test_a_row_carries_the_figures_of_the_last_attempt_and_their_story(self, store: LatencyStore) -> None:
        store.add(model(), measurement(), alias=alias())
        row = store.to_frame().iloc[0]
        batch = measurement().batch
        assert (row["mean_ms"], row["p95_ms"], row["count"]) == (batch.mean_ms, batch.p95_ms, batch.count)
        assert (row["cell"], row["graph_hash"]) == (alias().cell, alias().graph_hash)
        assert (row["device"], row["device_digest"]) == (DEVICE.name, DEVICE.digest)
        assert (row["epoch_digest"], row["origin"], row["status"]) == (EPOCH.digest, "measured", "stable")
        assert (row["started_at"], row["attempts"]) == (NOON, 2)

    def test_a_model_with_two_cells_stays_one_row(self, store: LatencyStore) -> None:
        store.add(model(), measurement(), alias=alias(0))
        store.add_alias(alias(1), model())
        assert list(store.to_frame()["cell"]) == [alias(0).cell]

    def test_unstable_rows_come_only_when_asked_for(self, store: LatencyStore) -> None:
        store.add(model(0), measurement(0))
        store.add(model(1), measurement(1, stable=False))
        assert list(store.to_frame()["status"]) == ["stable"]
        assert list(store.to_frame(include_unstable=True)["status"]) == ["stable", "unstable"]

    def test_failures_become_rows_without_figures_when_asked_for(self, store: LatencyStore) -> None:
        store.add(model(0), measurement(0))
        store.add_failure("refused", stage="load", model=model(1), alias=alias(1), device=DEVICE, epoch=EPOCH)
        store.add_failure("no such layer", stage="build", alias=alias(2))
        assert len(store.to_frame()) == 1
        rows = store.to_frame(include_failures=True).iloc[1:]
        assert list(rows["status"]) == ["infeasible", "infeasible"]
        assert list(rows["failure_reason"]) == ["refused", "no such layer"]
        assert list(rows["cell"]) == [alias(1).cell, alias(2).cell]
        assert rows["mean_ms"].isna().all()

    def test_measured_and_simulated_rows_are_not_mixed_unasked(self, store: LatencyStore) -> None:
        store.add(model(0), measurement(0))
        store.add(model(1), measurement(1, identity=device("simulated")))
        with pytest.raises(InvalidInputError, match="measured and simulated"):
            store.to_frame()
        assert list(store.to_frame(origin="measured")["model_key"]) == ["key-0"]
        assert list(store.to_frame(origin="simulated")["model_key"]) == ["key-1"]
        assert list(store.to_frame(identity=DEVICE)["model_key"]) == ["key-0"]
        assert list(store.to_frame(origin="any")["origin"]) == ["measured", "simulated"]
        with pytest.raises(InvalidInputError, match="origin"):
            store.to_frame(origin="guessed")

    def test_info_counts_everything(self, store: LatencyStore) -> None:
        store.add(model(0), measurement(0), alias=alias())
        store.add(model(1), measurement(1, stable=False, epoch=LATER_EPOCH))
        store.add_failure("refused", stage="load", model=model(2))
        store.add_score(score())
        store.add_evaluation(store.open_search({}), told(0))
        info = store.info()
        assert (info.models, info.aliases, info.measurements, info.unstable, info.failures) == (3, 1, 2, 1, 1)
        assert (info.scores, info.searches, info.evaluations) == (1, 1, 1)
        assert info.size_bytes > 0
        (summary,) = info.devices
        assert (summary.name, summary.epochs, summary.measurements) == (DEVICE.name, 2, 2)


class StoreContract(
    MeasurementContract, EpochContract, LookupContract, JournalContract, FrameContract, SharedStoreContract
):
    """Everything together."""
