"""Enumerated spaces kept on disk, so that a table and its hashes are computed once.

Files are replaced as a whole, and one process at a time writes. Whatever goes wrong with the cache costs time, never
the result.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leti_opt.architecture_table import ArchitectureTable
from leti_opt.cache_folder import FOLDER_VARIABLE, cache_folder
from leti_opt.errors import TableCacheWarning, TableFileError
from leti_opt.search_space.definition import SpaceDefinition
from leti_opt.table_files import FORMAT_VERSION

_LOCK_TIMEOUT_S = 600.0


def cache_file(definition: SpaceDefinition) -> Path:
    """Where the table of a definition is kept: in the folder that ``LETI_CACHE_DIR`` names, or the user's cache."""
    digest = hashlib.sha256(json.dumps(asdict(definition)).encode()).hexdigest()[:16]
    return cache_folder() / "spaces" / f"{definition.name}-{digest}-format{FORMAT_VERSION}.npz"


def through_cache(definition: SpaceDefinition, compute: Callable[[], ArchitectureTable]) -> ArchitectureTable:
    """The table from its file; computed, and kept there, if there is none.

    Its hashes are kept too, once somebody has asked for them.

    Warns:
        TableCacheWarning: the folder cannot be used, or the file is damaged; then it is replaced.
    """
    path = cache_file(definition)
    table = _read(path)
    if table is None:
        with _only_writer(path) as writable:
            # Another process may have written it while this one waited.
            table = (_read(path, quietly=True) if writable else None) or compute()
            if writable:
                _write(path, table)
    if "graph_digests" in vars(table):
        return table
    return table.with_digest_source(partial(_digests, path))


def _digests(path: Path, table: ArchitectureTable) -> NDArray[np.uint8]:
    """The table's hashes from the file; computed, and kept there with the table, if it has none."""
    with _only_writer(path) as writable:
        kept = _read(path, quietly=True) if writable else None
        if kept is not None and kept == table and "graph_digests" in vars(kept):
            return kept.graph_digests
        digests = table.hashed()
        if writable:
            _write(path, table.with_digests(digests))
    return digests


def _read(path: Path, quietly: bool = False) -> ArchitectureTable | None:
    if not path.exists():
        return None
    try:
        return ArchitectureTable.load(path)
    except TableFileError as error:
        if not quietly:
            _warn(f"{error}. It is computed anew and replaced")
        return None


def _write(path: Path, table: ArchitectureTable) -> None:
    try:
        # What a process that was killed while it wrote has left.
        for left_over in path.parent.glob(f".{path.stem}.*{path.suffix}"):
            left_over.unlink(missing_ok=True)
        table.save(path)
    except (OSError, TableFileError) as error:
        _warn(f"the table is not kept: {error}")


@contextmanager
def _only_writer(path: Path) -> Iterator[bool]:
    """Whether the folder can be used; while it can, no other process or thread is in here."""
    from filelock import FileLock

    lock = FileLock(path.with_suffix(".lock"), timeout=_LOCK_TIMEOUT_S)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:  # a lock that stays taken is a TimeoutError, which is one too
        _warn(f"the table is not kept in {path.parent}: {error}; set {FOLDER_VARIABLE} to a folder that can be written")
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _warn(message: str) -> None:
    warnings.warn(message, TableCacheWarning, stacklevel=5)
