"""Names of units, hosts and folders in what leaves this machine: replaced by pseudonyms.

A pseudonym is a hash under a key that only this user has. So equal units stay equal in everything that the user
exports, and nobody finds a serial by trying all of them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import platform
import re
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from leti_opt.device.device import DeviceEpoch, DeviceIdentity
from leti_opt.errors import StoreError
from leti_opt.store.exchange import identity_of, place_of
from leti_opt.store.schema import device_uris, epochs

if TYPE_CHECKING:
    import pandas as pd

_KEY_BYTES = 32
OF_ROWS = ("name", "failure_reason", "metrics", "source")
"""Columns of free text of which every row has its own."""
_OF_PLACES = ("system_build", "driver", "hardware", "runtime", "runner")
_FREE_TEXT = (*OF_ROWS, *_OF_PLACES)
_URI = re.compile(r"\b(android|cuda):([^\s/?'\"]+)")
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}:\d+\b")
_PATH = re.compile(r"(?<![\w./\\])(?:[A-Za-z]:|~)?(?:[\\/][^\s\\/:\"'<>|,;()]+){2,}")
_RELATIVE = re.compile(r"(?<![\w./\\-])[\w.-]+(?:[\\/][\w.-]+)+\.(?:tflite|keras|h5|db|parquet|csv)\b")
_SYSTEM = ("/proc/", "/sys/", "/dev/")


class Pseudonyms:
    """Replaces what tells whose machine it was.

    Args:
        key: the user's secret, from :func:`load_key`.
        names: serials, addresses and host names that must not appear; the longer ones are replaced first.
        folders: the user's own, whose names may hold spaces.

    >>> names = Pseudonyms(b"secret", ["R58M123"])
    >>> names.text("R58M123 is gone; see /home/ada/nets/big.tflite")
    'unit-f546bd43aea2 is gone; see big.tflite'
    """

    def __init__(self, key: bytes, names: Iterable[str] = (), folders: Iterable[Path] = ()) -> None:
        self._key = key
        own = sorted({str(folder) for folder in folders if len(folder.parts) > 1}, key=len, reverse=True)
        self._folders = re.compile("|".join(rf"{re.escape(folder)}(?=[\\/])" for folder in own)) if own else None
        self._known = known = sorted({name for name in names if name}, key=lambda name: (-len(name), name))
        self._names = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in known)) if known else None

    def unit(self, name: str) -> str:
        """The pseudonym of a serial, address or host; empty stays empty."""
        return f"unit-{hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:12]}" if name else ""

    def text(self, text: str) -> str:
        """Free text without known names, device addresses, and folders before a file's name."""
        # Most texts hold none of all this, and to see that they don't is much quicker than to look for a pattern.
        if self._names is not None and any(name in text for name in self._known):
            text = self._names.sub(lambda found: self.unit(found[0]), text)
        if self._folders is not None and ("/" in text or "\\" in text):
            text = self._folders.sub("~", text)
        if "android:" in text or "cuda:" in text:
            text = _URI.sub(lambda found: f"{found[1]}:{self._once(found[2])}", text)
        if ":" in text and text.count(".") >= 3:
            text = _ADDRESS.sub(lambda found: self.unit(found[0]), text)
        if "/" not in text and "\\" not in text:
            return text
        text = _PATH.sub(lambda found: found[0] if found[0].startswith(_SYSTEM) else _file_name(found[0]), text)
        return _RELATIVE.sub(lambda found: _file_name(found[0]), text)

    def identity(self, identity: DeviceIdentity) -> DeviceIdentity:
        """A device whose texts and options are pseudonymised; equal to the original where nothing had to be."""
        texts = {name: self.text(getattr(identity, name)) for name in ("kind", "hardware", "runtime", "runner")}
        options = tuple((key, self.text(value)) for key, value in identity.options)
        return DeviceIdentity(**texts, delegate=identity.delegate, options=options, origin=identity.origin)

    def epoch(self, epoch: DeviceEpoch) -> DeviceEpoch:
        """An epoch whose unit is pseudonymised, and with it its digest."""
        return DeviceEpoch(self.text(epoch.system_build), self.text(epoch.driver), self.unit(epoch.unit))

    def table(self, rows: pd.DataFrame) -> pd.DataFrame:
        """An exported table without names; digests are those of the pseudonymised devices and epochs."""
        import pandas as pd

        hidden = rows.copy()
        for column in _FREE_TEXT:
            hidden[column] = _each(rows[column], self.text)
        hidden["unit"] = _each(rows["unit"], self.unit)
        if rows["epoch_group"].dtype == "string":
            hidden["epoch_group"] = _each(rows["epoch_group"], self._group)
        keys = list(zip(rows["device_digest"], rows["epoch_digest"], strict=True))
        place_by_key = dict(zip(keys, rows.to_dict("records"), strict=True))
        new = {key: self._place(row) for key, row in place_by_key.items()}
        for column in ("device", "device_digest", "options", "epoch_digest"):
            values = [new[key].get(column) for key in keys]
            hidden[column] = pd.Series(values, index=rows.index, dtype=rows[column].dtype)
        return hidden

    def story(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """What rows tell of their device and epoch, as :meth:`table` would have it; absent stays absent."""
        texts = {name: self.text(told[name]) for name in _OF_PLACES if name in told}
        unit = {"unit": self.unit(told["unit"])} if "unit" in told else {}
        return {**told, **texts, **unit, **self._place(told)}

    def _place(self, row: Mapping[str, Any]) -> dict[str, str]:
        """What a row says of its device and epoch; a failure may have neither."""
        if not isinstance(row.get("device_digest"), str):
            return {}
        safe = self.identity(identity_of(row))
        told = {"device": safe.name, "device_digest": safe.digest, "options": json.dumps(safe.options)}
        if not isinstance(row.get("epoch_digest"), str):
            return told
        return told | {"epoch_digest": self.epoch(place_of(row)[1]).digest}

    def _group(self, name: str) -> str:
        """A group of epochs is named after a digest into which the unit's serial went."""
        return f"group-{hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()[:12]}"

    def _once(self, name: str) -> str:
        return name if name.startswith("unit-") else self.unit(name)


def of_store(connection: Connection) -> Pseudonyms:
    """The pseudonyms for what a store holds: every unit and device address that it knows, and this host's names."""
    names = {row.unit for row in connection.execute(select(epochs.c.unit))}
    for row in connection.execute(select(device_uris.c.uri)):
        kind, _, address = row.uri.partition("?")[0].partition(":")
        if kind not in ("replay", "host-cpu"):
            names.add(address.partition("/")[0])
    host = platform.node()
    names |= {host, host.partition(".")[0]} - {"localhost"}
    return Pseudonyms(load_key(), names, [Path.home(), Path.cwd()])


def load_key(folder: Path | None = None) -> bytes:
    """The user's secret, made once and readable by the user alone.

    Args:
        folder: where it is kept; by default the user's data folder.

    Raises:
        StoreError: it cannot be read or made, or is damaged.
    """
    import platformdirs

    path = (folder or platformdirs.user_data_path("leti_opt")) / "pseudonym.key"
    try:
        if not path.exists():
            _make_key(path)
        key = path.read_bytes()
    except OSError as error:
        raise StoreError(
            f"the key of pseudonyms {path} cannot be used: {error.strerror}; without it nothing is exported: "
            "make its folder writable"
        ) from error
    if len(key) != _KEY_BYTES:
        raise StoreError(f"the key of pseudonyms {path} is damaged; remove it, and a new one is made")
    return key


def _make_key(path: Path) -> None:
    """Whoever is first wins: a link is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        temporary.unlink()


def _file_name(path: str) -> str:
    return re.split(r"[\\/]", path)[-1]


def _each(column: pd.Series, change: Callable[[str], str]) -> pd.Series:
    import pandas as pd

    known = {text: change(text) for text in column.dropna().unique()}
    return pd.Series([known.get(text, text) for text in column], index=column.index, dtype=column.dtype)
