"""Loopback phones in a pool, each dying at random: nothing is lost, nothing doubled, and the report is true."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from leti_opt import NAS_BENCH_101, LatencyStore, MeasurementProtocol, NetworkConfig
from leti_opt.architecture import Architecture
from leti_opt.device.android.android_device import AndroidDevice
from leti_opt.device.open_device import open_devices
from leti_opt.device.pool import PoolPatience
from leti_opt.device.use import FAILING, INITIALIZATION, TIMED_RUNS
from leti_opt.errors import DeviceError
from leti_opt.objective.canary import CanarySettings
from leti_opt.objective.panel import PANEL_SIZE
from leti_opt.objective.pooled import PooledService
from leti_opt.objective.questions import cell_question
from leti_opt.search_space.enumeration import enumerate_architectures
from tests.device.bench import until
from tests.loopback_phone.adb_server import PrivateAdbServer
from tests.loopback_phone.fixtures import QUICK, MakeDevice, MakePhone
from tests.loopback_phone.phone import LoopbackPhone

pytestmark = [pytest.mark.needs("adb"), pytest.mark.needs("litert")]

NETWORK = NetworkConfig.small(filters=8, input_shape=(8, 8, 3))
PROTOCOL = MeasurementProtocol(min_runs=10, warmup_runs=1, max_relative_std=1e6)
POOL = PoolPatience(tries=20, back_within_s=60.0, pause_s=0.1, longest_pause_s=0.5)
OFF = CanarySettings(pace="off")
AGREE = "agree, and share the work from now on"


def some_cells(count: int) -> list[Architecture]:
    table = enumerate_architectures(replace(NAS_BENCH_101, max_vertices=5))
    return [table[int(row)] for row in range(0, len(table), len(table) // count)][:count]


@contextmanager
def dying(phones: Sequence[LoopbackPhone], seed: int, longest_s: float) -> Iterator[Counter[str]]:
    """Lets every phone vanish, restart, or stay away for longer, at random moments; counts what it did.

    ``longest_s`` is the longest that one is left in peace. The first trouble comes early and is always the longest
    kind: left to chance, a fast machine may be done before a phone was ever away for long.
    """
    over = threading.Event()
    done: Counter[str] = Counter()

    def trouble(phone: LoopbackPhone, chance: random.Random) -> None:
        pause_s, what = chance.uniform(0.2, 1.0), "away"
        while not over.wait(pause_s):
            done[what] += 1
            if what == "vanish":
                phone.vanish(chance.uniform(0.1, 0.5))
            elif what == "reboot":
                phone.reboot(chance.uniform(0.2, 0.8))
            else:
                phone.die()
                over.wait(chance.uniform(1.0, 3.0))
                phone.come_back()
            pause_s, what = chance.uniform(0.5, longest_s), chance.choice(("vanish", "reboot", "away"))

    threads = [
        threading.Thread(target=trouble, args=(phone, random.Random(f"{seed} {place}")))
        for place, phone in enumerate(phones)
    ]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        over.set()
        for thread in threads:
            thread.join()


def measure_all(pooled: PooledService, cells: Sequence[Architecture]) -> None:
    with ThreadPoolExecutor(8) as asking:
        answers = list(asking.map(lambda cell: pooled.answer(cell_question(cell, NETWORK)), cells))
    assert all(answer.measurement is not None for answer in answers)


def check_every_cell_once_a_kind(store: LatencyStore, pooled: PooledService, cells: Sequence[Architecture]) -> None:
    for twins in pooled.kinds:
        (member, *others) = twins.members.values()
        doubled = 0
        for cell in cells:
            alias = cell_question(cell, NETWORK).alias
            assert alias is not None
            found = store.find(store.resolve(alias) or "", member.identity)
            units = [measurement.epoch.unit for measurement in found]
            assert len(units) >= 1, f"{cell} is lost on {member.device.uri}"
            assert len(set(units)) == len(units), f"{cell} is doubled on {member.device.uri}"
            doubled += len(units) - 1
        # Before two phones are known to agree, both measure; one is in progress when that is found out.
        assert doubled <= (PANEL_SIZE + 1 if len(twins.groups) == 1 else len(cells)) * len(others)


def check_report_against_logs(
    store: LatencyStore, pooled: PooledService, phones: Sequence[LoopbackPhone], cells: Sequence[Architecture]
) -> None:
    """Timed runs are those of the starts whose answers arrived; what the phone did besides was lost on the way."""
    for member, row, phone in zip(pooled.members, pooled.report(), phones, strict=True):
        ends = [line for line in phone.log if line["event"] == "end"]
        attempts = [
            batch
            for cell in cells
            for measurement in store.find(_key(store, cell), member.identity)
            if measurement.epoch == member.epoch
            for batch in measurement.attempts
        ]
        timed_s = sum((batch.count or 0) * batch.mean_ms for batch in attempts) / 1e3
        assert row.seconds[TIMED_RUNS] == pytest.approx(timed_s, rel=1e-3)
        lost = len(ends) - len(attempts)
        assert lost >= 0
        timed_there_s = sorted(line["timed_s"] for line in ends)
        arrived = len(ends) - lost
        # The mean is printed with six digits.
        assert row.seconds[TIMED_RUNS] >= sum(timed_there_s[:arrived]) * 0.999
        assert row.seconds[TIMED_RUNS] <= sum(timed_there_s[lost:]) * 1.001
        busy_there_s = sum(line["busy_s"] for line in ends)
        busy_here_s = row.seconds[TIMED_RUNS] + row.seconds[INITIALIZATION] + row.seconds.get(FAILING, 0.0)
        assert busy_here_s >= busy_there_s * arrived / max(len(ends), 1) * 0.5


def _key(store: LatencyStore, cell: Architecture) -> str:
    alias = cell_question(cell, NETWORK).alias
    assert alias is not None
    return store.resolve(alias) or ""


def run_pool(make_phone: MakePhone, make_device: MakeDevice, models: str, count: int, longest_s: float) -> bool:
    """Returns whether twins were found to agree before all was done; with few cells a twin may be away too often."""
    phones = [make_phone(model=f"Model {model}", fixed_run_ms=1.0, longer_by=30.0) for model in models]
    # A phone of this patience is set aside after half a second, so that the pool has something to do.
    patience = replace(QUICK, back_within_s=0.5)
    devices = [make_device(phone, layout="resident", patience=patience) for phone in phones]
    cells = some_cells(count)
    with LatencyStore(":memory:") as store, ExitStack() as stack:
        pooled = PooledService(devices, store, PROTOCOL, canary=OFF, patience=POOL)
        stack.callback(pooled.close)
        told: list[str] = []
        pooled.notify = told.append
        assert len(pooled.kinds) == len(set(models))
        with dying(phones, count, longest_s) as trouble:
            measure_all(pooled, cells)
        assert sum(trouble.values()) >= len(phones)
        assert trouble["away"] >= len(phones)
        assert any("is set aside" in line for line in told)
        assert any("is back after" in line for line in told)
        check_every_cell_once_a_kind(store, pooled, cells)
        check_report_against_logs(store, pooled, phones, cells)
        return any(AGREE in line for line in told)


def test_three_phones_two_of_a_kind_die_at_random_and_nothing_is_lost_or_doubled(
    make_phone: MakePhone, make_device: MakeDevice
) -> None:
    run_pool(make_phone, make_device, "AAB", 40, longest_s=8.0)


@pytest.mark.slow
def test_four_phones_two_of_a_kind_die_at_random_over_two_hundred_cells(
    make_phone: MakePhone, make_device: MakeDevice
) -> None:
    assert run_pool(make_phone, make_device, "AABB", 200, longest_s=12.0), "no twins were found to agree"


def test_two_phones_of_a_kind_are_found_to_agree_and_share_the_rest(
    make_phone: MakePhone, make_device: MakeDevice
) -> None:
    phones = [make_phone(fixed_run_ms=1.0, longer_by=30.0) for _ in range(2)]
    cells = some_cells(40)
    with LatencyStore(":memory:") as store:
        pooled = PooledService([make_device(phone) for phone in phones], store, PROTOCOL, canary=OFF)
        told: list[str] = []
        pooled.notify = told.append
        measure_all(pooled, cells[: PANEL_SIZE + 2])
        until(lambda: bool(told))  # a question is answered by the quicker phone; the other one has to catch up
        measure_all(pooled, cells[PANEL_SIZE + 2 :])
        pooled.close()
        assert [line for line in told if AGREE in line], told
        check_every_cell_once_a_kind(store, pooled, cells)
    starts = [len([line for line in phone.log if line["event"] == "start"]) for phone in phones]
    assert sum(starts) <= len(cells) + PANEL_SIZE + 1
    assert min(starts) >= PANEL_SIZE


def test_every_phone_that_is_ready_is_meant_by_a_star(
    make_phone: MakePhone, adb_server: PrivateAdbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leti_opt.device.android.adb import AdbServer

    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    phones = [make_phone(), make_phone()]
    for phone in phones:
        AdbServer(adb_server.port).connect(phone.address)
    opened = open_devices("android:*/gpu?delegate=gl")
    assert {device.uri for device in opened} == {f"android:{phone.address}/gpu?delegate=gl" for phone in phones}
    assert all(isinstance(device, AndroidDevice) for device in opened)


def test_a_star_without_phones_says_what_adb_lists(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = PrivateAdbServer(tmp_path_factory.mktemp("empty adb")).start()
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(empty.port))
    try:
        with pytest.raises(DeviceError, match=r"no phone is ready: adb lists none; see: leti-opt devices list"):
            open_devices("android:*")
    finally:
        empty.stop()


def test_one_phone_under_two_addresses_is_refused(make_phone: MakePhone, make_device: MakeDevice) -> None:
    phones = [make_phone(serial="SAME"), make_phone(serial="SAME")]
    with LatencyStore(":memory:") as store:
        pooled = PooledService([make_device(phone) for phone in phones], store, PROTOCOL, canary=OFF)
        with pytest.raises(ValueError, match="lead to one phone; name it once"):
            _ = pooled.kinds
