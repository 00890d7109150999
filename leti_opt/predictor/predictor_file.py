"""A fitted predictor in one file: a zip of JSON and arrays, with nothing in it that could run.

``header.json`` says what it is, of which format and leti_opt, how it was set, what it learned from and where these
figures came from; ``learned.npz`` holds the arrays. A SHA-256 over both tells a damaged or patched file from a whole
one.
"""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leti_opt.atomic_file import replacing
from leti_opt.errors import PredictorFileError
from leti_opt.predictor.training_data import TrainingStory
from leti_opt.version import version

FORMAT_VERSION = 2
_FORMAT = "leti_opt latency predictor"
_HEADER, _LEARNED, _CHECKSUM = "header.json", "learned.npz", "sha256"
_UNREADABLE = (
    KeyError,
    TypeError,
    ValueError,
    OSError,
    EOFError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What reading a damaged archive raises: a damaged flag may say that it is encrypted, or packed in another manner."""


@dataclass(frozen=True)
class Content:
    """What a file holds.

    Args:
        predictor: name of the class.
        settings: of the constructor, without the network.
        network: settings of the network config; None for a predictor of vectors.
        feature_names: of each column.
        training_size: how many networks it was fitted to.
        training_digest: SHA-256 of their features, latencies and weights.
        story: where these latencies came from; None where nobody told.
        learned: arrays by name.
    """

    predictor: str
    settings: dict[str, Any]
    network: dict[str, Any] | None
    feature_names: tuple[str, ...]
    training_size: int
    training_digest: str
    story: TrainingStory | None
    learned: dict[str, NDArray[Any]]


def write_predictor(path: Path, content: Content) -> None:
    """Write a file; it is whole or as it was.

    Raises:
        PredictorFileError: it cannot be written.
    """
    header = {
        "format": _FORMAT,
        "version": FORMAT_VERSION,
        "leti_opt": version(),
        "predictor": content.predictor,
        "settings": content.settings,
        "network": content.network,
        "feature_names": content.feature_names,
        "training_size": content.training_size,
        "training_digest": content.training_digest,
        "story": None if content.story is None else asdict(content.story),
    }
    text = json.dumps(header, indent=1).encode()
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **content.learned)  # type: ignore[arg-type]
    parts = {_HEADER: text, _LEARNED: arrays.getvalue()}
    try:
        with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
            for name, data in {**parts, _CHECKSUM: _checksum(parts).encode()}.items():
                file.writestr(name, data)
    except OSError as error:
        raise PredictorFileError(
            f"cannot write {path}: {error.strerror or error}; free space or name another place"
        ) from error


def read_predictor(path: Path) -> Content:
    """Read what :func:`write_predictor` wrote.

    Raises:
        PredictorFileError: there is no such file, it is no predictor's, it is damaged, or of another version.
    """
    if not path.is_file():
        raise PredictorFileError(f"there is no file {path}; save a predictor there first, or correct the name")
    try:
        with zipfile.ZipFile(path) as file:
            if _HEADER not in file.namelist():
                raise PredictorFileError(f"{path} is no predictor that leti_opt saved; make one with predictor.save")
            text = file.read(_HEADER)
            header = json.loads(text)
            _check_version(header, path)
            learned, told = file.read(_LEARNED), file.read(_CHECKSUM).decode()
            members = sorted(file.namelist())
        if members != sorted((_HEADER, _LEARNED, _CHECKSUM)) or told != _checksum({_HEADER: text, _LEARNED: learned}):
            raise PredictorFileError(_damaged(path))
        return _content(header, learned)
    except PredictorFileError:
        raise
    except _UNREADABLE as error:
        raise PredictorFileError(_damaged(path)) from error


def _check_version(header: dict[str, Any], path: Path) -> None:
    """Before all else: of a later format nobody knows today what its parts are and how they are verified."""
    if header["format"] != _FORMAT:
        raise PredictorFileError(f"{path} is no predictor that leti_opt saved; make one with predictor.save")
    if header["version"] != FORMAT_VERSION:
        raise PredictorFileError(
            f"{path} has format {header['version']} (written by leti_opt {header['leti_opt']}), this leti_opt reads "
            f"{FORMAT_VERSION}; fit and save it again, or use that leti_opt"
        )


def _content(header: dict[str, Any], learned: bytes) -> Content:
    with np.load(io.BytesIO(learned), allow_pickle=False) as arrays:
        content = {name: arrays[name] for name in arrays.files}
    return Content(
        predictor=header["predictor"],
        settings=header["settings"],
        network=header["network"],
        feature_names=tuple(header["feature_names"]),
        training_size=header["training_size"],
        training_digest=header["training_digest"],
        story=None if header["story"] is None else TrainingStory.from_dict(header["story"]),
        learned=content,
    )


def _checksum(parts: dict[str, bytes]) -> str:
    return hashlib.sha256(b"".join(parts.values())).hexdigest()


def _damaged(path: Path) -> str:
    return f"{path} is damaged, or no predictor that leti_opt saved; save the predictor again, or fetch a fresh copy"
