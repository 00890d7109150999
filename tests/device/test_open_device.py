from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from leti_opt.device.device_uri import DeviceUri
from leti_opt.device.open_device import list_devices, nicknames_file, open_device
from leti_opt.errors import InvalidDeviceUriError


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def write_nicknames(text: str) -> None:
    nicknames_file().parent.mkdir(parents=True, exist_ok=True)
    nicknames_file().write_text(text)


def test_a_uri_comes_apart() -> None:
    parsed = DeviceUri.parse("android:192.168.1.5:5555/gpu?delegate=cl&name=a%26b+c")
    assert parsed.kind == "android"
    assert parsed.address == "192.168.1.5:5555/gpu"
    assert parsed.options == {"delegate": "cl", "name": "a&b+c"}


@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        ("", "names no device"),
        ("?threads=1", "names no device"),
        ("host-cpuu", "unknown device 'host-cpuu'; did you mean 'host-cpu'"),
        ("phone", "unknown device 'phone'; Known: host-cpu, android, replay"),
        ("host-cpu:0", "takes no address, found '0'"),
        ("host-cpu?thread=2", "no option 'thread'; did you mean 'threads'"),
        ("host-cpu?threads", "'threads' in 'host-cpu\\?threads' is no option; write name=value"),
        ("host-cpu?threads=", "is no option; write name=value"),
        ("host-cpu?threads=1&threads=1", "occurs twice"),
        ("replay", "replay needs a Parquet file, or 'formula'"),
        ("replay:formula?device=x", "no option 'device'"),
    ],
)
def test_bad_uris_are_refused_with_what_is_known(uri: str, fault: str) -> None:
    with pytest.raises(InvalidDeviceUriError, match=fault):
        open_device(uri)


def test_a_nickname_stands_for_its_uri() -> None:
    write_nicknames('[devices]\nquick = "replay:formula?seed=3"\n')
    assert open_device("quick").uri == "replay:formula?seed=3"


def test_an_unknown_nickname_lists_the_known_ones() -> None:
    write_nicknames('[devices]\nquick = "replay:formula?seed=3"\n')
    with pytest.raises(InvalidDeviceUriError, match=r"did you mean 'quick'\? Known: host-cpu, android, replay, quick"):
        open_device("quik")


def test_a_nickname_of_a_nickname_is_refused() -> None:
    write_nicknames('[devices]\na = "b"\nb = "host-cpu"\n')
    with pytest.raises(InvalidDeviceUriError, match=r"nickname 'a' .* stands for 'b', an unknown device"):
        open_device("a")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[devices", "cannot read"),
        ('mine = "host-cpu"\n', "must hold a table"),
        ("[devices]\nmine = 3\n", "nickname 'mine'"),
        ('[devices]\nreplay = "host-cpu"\n', "nickname 'replay'"),
    ],
)
def test_a_wrong_nickname_file_is_named(text: str, fault: str) -> None:
    write_nicknames(text)
    with pytest.raises(InvalidDeviceUriError, match=fault) as caught:
        open_device("anything")
    assert str(nicknames_file()) in str(caught.value)


def test_the_list_has_this_host_every_replay_and_the_nicknames() -> None:
    write_nicknames('[devices]\nquick = "replay:formula?seed=3"\ngone = "replay:/nowhere.parquet"\n')
    rows = {row.uri: row for row in list_devices()}
    assert list(rows) == ["host-cpu", "replay:formula", "replay:PATH.parquet", "replay:help/NAME", "quick", "gone"]
    assert rows["host-cpu"].origin == "measured"
    assert rows["quick"].origin == "simulated"
    assert rows["host-cpu"].note == "options: threads, delegate, cores, deadline_s"
    assert rows["quick"].note == "stands for replay:formula?seed=3"
    assert rows["gone"].origin == "unknown"
    assert "there is no such file" in rows["gone"].name


def test_importing_and_listing_devices_loads_no_heavy_library() -> None:
    script = (
        "import sys, leti_opt.device\n"
        "leti_opt.device.list_devices()\n"
        "heavy = {'tensorflow', 'keras', 'ai_edge_litert', 'nevergrad', 'pyarrow', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_package_gives_the_function_whatever_was_imported_first() -> None:
    script = (
        "from leti_opt.device.open_device import list_devices\n"
        "from leti_opt.device import open_device\n"
        "print(open_device('host-cpu').uri)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "host-cpu\n"


def test_an_address_without_its_kind_is_told_to_be_a_phones() -> None:
    with pytest.raises(InvalidDeviceUriError, match=r"a phone on the network is 'android:127\.0\.0\.1:5555/gpu'"):
        open_device("127.0.0.1:5555/gpu")
