"""TFRecord files: what TensorFlow writes is read, and what is damaged is refused with the place."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leti_opt.accuracy.crc32c import crc32c, masked_crc, masked_crcs
from leti_opt.accuracy.tfrecord import LONGEST_RECORD, Record, read_records
from leti_opt.errors import AccuracyFileError
from tests.accuracy.nasbench101_files import write_tfrecord
from tests.reference.crc32c import reference_crc32c, reference_masked_crc


def framed(data: bytes) -> bytes:
    """A record, by the slow reference."""
    length = len(data).to_bytes(8, "little")
    checksums = [reference_masked_crc(part).to_bytes(4, "little") for part in (length, data)]
    return length + checksums[0] + data + checksums[1]


def records_of(content: bytes) -> list[Record]:
    return list(read_records(io.BytesIO(content), "some.tfrecord"))


@pytest.mark.parametrize(
    ("data", "checksum"), [(bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)]
)
def test_the_published_examples_of_crc32c_hold(data: bytes, checksum: int) -> None:
    """RFC 3720, B.4."""
    assert crc32c(data) == reference_crc32c(data) == checksum


@given(
    pieces=st.lists(
        st.tuples(st.binary(max_size=20), st.binary(min_size=1, max_size=40), st.sampled_from([1, 7, 60])), min_size=1
    )
)
def test_checksums_of_a_whole_block_are_those_of_its_pieces(pieces: list[tuple[bytes, bytes, int]]) -> None:
    block, starts, ends = b"", [], []
    for between, piece, times in pieces:
        starts.append(len(block) + len(between))
        block += between + piece * times
        ends.append(len(block))
    found = masked_crcs(np.frombuffer(block, dtype=np.uint8), np.array(starts), np.array(ends))
    wanted = [piece * times for _, piece, times in pieces]
    assert found.tolist() == [masked_crc(data) for data in wanted] == [reference_masked_crc(data) for data in wanted]


@pytest.mark.needs("tensorflow")
@settings(max_examples=30, deadline=None)
@given(contents=st.lists(st.binary(min_size=1, max_size=3000)))
def test_what_tensorflow_wrote_is_read(contents: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_tfrecord(tmp_path_factory.mktemp("records") / "some.tfrecord", contents)
    found = records_of(path.read_bytes())
    assert [record.data for record in found] == contents
    assert path.read_bytes() == b"".join(map(framed, contents))
    offsets = np.cumsum([0, *(len(data) + 16 for data in contents)]).tolist()
    assert [record.offset for record in found] == offsets[:-1]


def test_records_across_the_pieces_in_which_a_file_is_read_stay_whole() -> None:
    contents = [bytes([number % 251]) * (1 + number * 7919 % 20000) for number in range(150)]
    content = b"".join(framed(data) for data in contents[:2]) + b"".join(
        len(data).to_bytes(8, "little")
        + masked_crc(len(data).to_bytes(8, "little")).to_bytes(4, "little")
        + data
        + masked_crc(data).to_bytes(4, "little")
        for data in contents[2:]
    )
    assert len(content) > 1 << 20
    pieces: list[bytes] = []
    found = list(read_records(io.BytesIO(content), "some.tfrecord", pieces.append))
    assert [record.data for record in found] == contents
    assert b"".join(pieces) == content
    damaged = bytearray(content)
    damaged[-10] ^= 1
    with pytest.raises(AccuracyFileError, match=f"record 150, at byte {len(content) - len(contents[-1]) - 16}, "):
        records_of(bytes(damaged))


@pytest.mark.parametrize("length", [0, LONGEST_RECORD + 1, 1 << 62])
def test_lengths_that_no_record_has_are_refused_before_memory_is_taken(length: int) -> None:
    header = length.to_bytes(8, "little")
    content = framed(b"first") + header + reference_masked_crc(header).to_bytes(4, "little") + bytes(100)
    with pytest.raises(AccuracyFileError, match=r"record 2, at byte 21, has \d+ bytes.*another kind of file"):
        records_of(content)


def test_of_several_faults_the_first_is_named() -> None:
    content = bytearray(framed(b"first") + framed(b"second") + framed(b"third"))
    content[14] ^= 1
    content[21] ^= 1
    with pytest.raises(AccuracyFileError, match="record 1, at byte 0, is damaged: its checksum differs"):
        records_of(bytes(content))


def test_records_before_a_fault_are_handed_out() -> None:
    reader = read_records(io.BytesIO(framed(b"first") + framed(b"second")[:-1]), "some.tfrecord")
    assert next(reader) == Record(0, b"first")
    with pytest.raises(AccuracyFileError, match="record 2, at byte 21, is cut: the file ends at byte 42"):
        next(reader)


def test_a_file_of_another_kind_is_refused_at_its_first_byte(tmp_path: Path) -> None:
    with pytest.raises(AccuracyFileError, match="record 1, at byte 0, is damaged: the checksum of its length"):
        records_of(b"graph_hash,accuracy\n" * 10)
