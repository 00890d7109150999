"""Programs for another processor are refused before they are pushed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leti_opt.device.android.elf import HEAD_BYTES, check_elf, read_elf_head
from leti_opt.errors import DeviceError
from tests.device.android.fake_phone import fake_program

KNOWN_BEGINNINGS = {b"\x7fELF" + bytes([bits, order]) for bits in (1, 2) for order in (1, 2)}
ABIS = ("arm64-v8a", "armeabi-v7a", "x86_64", "x86")


@pytest.mark.parametrize("abi", ABIS)
def test_a_program_for_the_phones_processor_passes(abi: str) -> None:
    head = read_elf_head(fake_program(abi))
    assert head is not None
    assert (head.abi, head.loader) == (abi, "/system/bin/linker64")
    check_elf(fake_program(abi), abi, "benchmark_model")


@pytest.mark.parametrize(("built_for", "phone"), [(one, other) for one in ABIS for other in ABIS if one != other])
def test_a_program_for_another_processor_is_refused_with_both_names(built_for: str, phone: str) -> None:
    with pytest.raises(DeviceError, match=f"my_model is for {built_for}, and the phone is {phone}"):
        check_elf(fake_program(built_for), phone, "my_model")


def test_a_program_for_linux_on_the_same_processor_is_refused() -> None:
    with pytest.raises(DeviceError, match=r"for Linux, not Android: it asks for '/lib/ld-linux-aarch64\.so\.1'"):
        check_elf(fake_program(loader="/lib/ld-linux-aarch64.so.1"), "arm64-v8a", "benchmark_model")


def test_a_static_program_needs_no_loader() -> None:
    program = fake_program(loader="")
    head = read_elf_head(program)
    assert head is not None
    assert head.loader == ""
    check_elf(program, "arm64-v8a", "benchmark_model")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"PK\x03\x04" + bytes(100), b"\x7fELF", fake_program()[:40]])
def test_what_is_no_program_is_refused(content: bytes) -> None:
    with pytest.raises(DeviceError, match="no ELF executable"):
        check_elf(content, "arm64-v8a", "benchmark_model")


def test_an_object_file_is_refused() -> None:
    content = bytearray(fake_program())
    content[16] = 1
    with pytest.raises(DeviceError, match="no ELF executable"):
        check_elf(bytes(content), "arm64-v8a", "benchmark_model.o")


def test_a_big_endian_program_is_not_taken_for_a_phones() -> None:
    content = bytearray(fake_program(loader=""))
    content[5], content[16:20] = 2, b"\0\x03\0\xb7"
    with pytest.raises(DeviceError, match="64-bit machine 183, and the phone is arm64-v8a"):
        check_elf(bytes(content), "arm64-v8a", "benchmark_model")


def test_an_unknown_abi_is_told() -> None:
    with pytest.raises(DeviceError, match="ABI 'mips64' is not one that we know"):
        check_elf(fake_program(), "mips64", "benchmark_model")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a program of Linux")
def test_this_hosts_own_python_is_no_program_for_android() -> None:
    with Path(sys.executable).resolve().open("rb") as file:
        head = file.read(HEAD_BYTES)
    found = read_elf_head(head)
    assert found is not None
    with pytest.raises(DeviceError, match="for Linux, not Android"):
        check_elf(head, found.abi, "python")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_but_never_crash(noise: bytes) -> None:
    head = read_elf_head(b"\x7fELF\x02\x01" + noise)
    assert head is None or head.bits == 64


@given(st.integers(min_value=0, max_value=len(fake_program()) - 1), st.integers(min_value=0, max_value=255))
def test_a_damaged_header_is_read_or_refused_but_never_crashes(place: int, value: int) -> None:
    content = bytearray(fake_program())
    content[place] = value
    head = read_elf_head(bytes(content))
    assert (head is None) == (place < 6 and bytes(content[:6]) not in KNOWN_BEGINNINGS)
