"""Blocks of weights on disk: their numbers, and what keeps them whole among processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from leti_opt.errors import InvalidInputError, NotFoundError, StoreError
from leti_opt.network import weights_block
from leti_opt.network.weight_zones import Zone, zone_values
from leti_opt.network.weights_block import HEADER_BYTES, BlockNeeds, open_block, private_copy, replace_header

KERNELS, SHIFTS = Zone("kernel", -9), Zone("shift")


NEEDS = BlockNeeds("float32", {KERNELS: 100_000, SHIFTS: 64})


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("zone", [KERNELS, Zone("kernel", 2), Zone("factor"), SHIFTS])
def test_a_zone_holds_finite_numbers_of_its_size_and_a_longer_one_begins_with_the_same(
    zone: Zone, precision: str
) -> None:
    values = joined(zone_values(precision, zone, 3 << 20))
    assert values.dtype == precision
    assert np.isfinite(values).all()
    assert np.std(values, dtype=np.float64) == pytest.approx(zone.std, rel=0.01)
    assert np.mean(values, dtype=np.float64) == pytest.approx(zone.mean, abs=zone.std / 100)
    for count in (2, 64, 1 << 20, (1 << 20) + 32):
        assert np.array_equal(joined(zone_values(precision, zone, count)), values[:count])


def joined(parts: Iterator[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(list(parts))


def test_zones_hold_different_numbers() -> None:
    zones = [KERNELS, Zone("kernel", -10), Zone("kernel", 9), Zone("factor"), SHIFTS]
    starts = {tuple(np.argsort(joined(zone_values("float32", zone, 64)))) for zone in zones}
    assert len(starts) == len(zones)


def test_a_block_is_made_once_and_found_again(tmp_path: Path) -> None:
    block = open_block(NEEDS, tmp_path)
    before = block.path.stat()
    again = open_block(BlockNeeds("float32", {KERNELS: 50_000}), tmp_path)
    assert again == block
    assert again.path.stat().st_mtime_ns == before.st_mtime_ns
    assert block.path.stat().st_size == block.size
    assert block.holds(NEEDS)
    content = block.path.read_bytes()
    for zone, size in block.zones.items():
        part = np.frombuffer(content, np.float32, size // 4, block.offsets[zone])
        assert np.array_equal(part, joined(zone_values("float32", zone, size // 4)))


def test_a_larger_block_takes_the_place_of_a_smaller_one_and_holds_its_numbers(tmp_path: Path) -> None:
    first = open_block(NEEDS, tmp_path)
    beginning = first.path.read_bytes()[first.offsets[KERNELS] :][:100_000]
    other = Zone("kernel", 3)
    larger = open_block(BlockNeeds("float32", {KERNELS: 3_000_000, other: 10}), tmp_path)

    assert larger.zones[KERNELS] >= 3_000_000
    assert larger.zones[SHIFTS] >= first.zones[SHIFTS]
    assert larger.holds(NEEDS)
    assert larger.path.read_bytes()[larger.offsets[KERNELS] :][:100_000] == beginning
    assert [path.name for path in tmp_path.glob("*.weights")] == [larger.path.name]
    with pytest.raises(NotFoundError, match="replaced by a larger block"):
        private_copy(first, tmp_path)


def test_precisions_have_blocks_of_their_own(tmp_path: Path) -> None:
    blocks = {open_block(replace(NEEDS, precision=precision), tmp_path).path for precision in ("float32", "float16")}
    assert len(blocks) == 2


@pytest.mark.parametrize("damage", ["cut", "zeros", "foreign", "renamed"])
def test_a_damaged_block_is_written_anew(damage: str, tmp_path: Path) -> None:
    block = open_block(NEEDS, tmp_path)
    whole = block.path.read_bytes()
    if damage == "cut":
        os.truncate(block.path, block.size - 64)
    elif damage == "zeros":
        block.path.write_bytes(whole[: block.header_bytes].ljust(block.size, b"\0"))
    elif damage == "foreign":
        block.path.write_bytes(b"not a block")
    else:
        block.path.rename(block.path.with_name("float32-0123456789abcdef.weights"))

    again = open_block(NEEDS, tmp_path)
    assert again.path == block.path
    assert again.path.read_bytes() == whole
    assert len(list(tmp_path.glob("*.weights"))) == 1


def test_a_block_of_another_version_is_not_taken_for_one_of_this(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(weights_block, "_FORMAT_VERSION", 2)
        newer = open_block(NEEDS, tmp_path)
        assert open_block(NEEDS, tmp_path).path == newer.path
    own = open_block(NEEDS, tmp_path)
    assert own.path != newer.path
    assert own.path.is_file()


CHILD = """
    import sys
    from pathlib import Path
    from leti_opt.network import weights_block
    from leti_opt.network.weight_zones import Zone
    from leti_opt.network.weights_block import BlockNeeds, open_block

    written = weights_block._write
    def counted(path, layout):
        print("writes", flush=True)
        {before}
        written(path, layout)
    weights_block._write = counted
    print(open_block(BlockNeeds("float32", {{Zone("kernel", -9): 100_000, Zone("shift"): 64}}), sys.argv[1]).path)
"""


def child(folder: Path, before: str) -> subprocess.Popen[str]:
    code = textwrap.dedent(CHILD).format(before=before)
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_write_one_block(tmp_path: Path) -> None:
    children = [child(tmp_path, "import time; time.sleep(1)") for _ in range(2)]
    lines = [process.communicate(timeout=60)[0].split() for process in children]
    assert [process.returncode for process in children] == [0, 0]
    assert sum(line == "writes" for text in lines for line in text) == 1
    assert lines[0][-1] == lines[1][-1]


def test_a_process_that_is_killed_while_it_writes_leaves_nothing_that_counts(tmp_path: Path) -> None:
    before = "path.write_bytes(b'half'); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    killed = child(tmp_path, before)
    output, _ = killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert output.split() == ["writes"]
    assert [path.read_bytes() for path in tmp_path.glob(".*.weights")] == [b"half"]

    block = open_block(NEEDS, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [block.path.name, "float32.lock"]


def test_a_folder_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot keep random weights in .*file.*LETI_CACHE_DIR"):
        open_block(NEEDS, tmp_path / "file" / "weights")
    block = open_block(NEEDS, tmp_path)
    with pytest.raises(StoreError, match="cannot keep random weights"):
        private_copy(block, tmp_path / "nowhere")


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path))
    assert open_block(NEEDS).path.parent == tmp_path / "weights"


@pytest.mark.parametrize("copies", ["by the system", "by hand"])
def test_a_private_copy_is_the_blocks_equal_and_leaves_it_as_it_is(
    copies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = open_block(NEEDS, tmp_path)
    whole = block.path.read_bytes()
    if copies == "by hand":
        monkeypatch.delattr(os, "copy_file_range")
    copy = private_copy(block, tmp_path)
    assert copy.read_bytes() == whole
    replace_header(copy, b"\0\0\0\0TFL3".ljust(HEADER_BYTES, b"\0"))
    assert copy.read_bytes()[HEADER_BYTES:] == whole[HEADER_BYTES:]
    assert block.path.read_bytes() == whole


@pytest.mark.parametrize("header", [b"", b"x" * HEADER_BYTES, b"\0\0\0\0TFL3"])
def test_what_is_no_header_is_refused(header: bytes, tmp_path: Path) -> None:
    copy = private_copy(open_block(NEEDS, tmp_path), tmp_path)
    before = copy.read_bytes()
    with pytest.raises(InvalidInputError, match="not one that write_header made"):
        replace_header(copy, header)
    assert copy.read_bytes() == before


def test_a_file_that_is_no_copy_is_refused(tmp_path: Path) -> None:
    header = b"\0\0\0\0TFL3".ljust(HEADER_BYTES, b"\0")
    (tmp_path / "short").write_bytes(b"short")
    for name in ("short", "missing"):
        with pytest.raises(InvalidInputError, match="not a copy of a block"):
            replace_header(tmp_path / name, header)
