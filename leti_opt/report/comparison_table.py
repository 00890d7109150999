"""Measurements as a table, from a store or from a file that one exported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from leti_opt.device.device import DeviceIdentity
from leti_opt.device.open_device import open_device
from leti_opt.errors import DeviceError, InvalidDeviceUriError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    import pandas as pd

    from leti_opt.store import LatencyStore

NEEDED = ("model_key", "mean_ms", "status", "origin", "device", "device_digest", "epoch_digest", "started_at")
"""Columns without which a file cannot be a side of a comparison; what else is missing counts as absent."""


def is_export(path: str) -> bool:
    """Whether a path is, by its ending, a file that a store exported."""
    return Path(path).suffix.lower() in (".parquet", ".csv")


def read_store(path: str) -> pd.DataFrame:
    """Every measurement of a store that was not withdrawn.

    Raises:
        NotFoundError: there is none; none is made.
        StoreError: it cannot be read.
    """
    with _existing(path) as store:
        return store.to_frame(origin="any", include_unstable=True, epoch="any")


def read_file(path: str) -> pd.DataFrame:
    """The rows of an exported Parquet or CSV file, in the columns and types that a store gives.

    Raises:
        NotFoundError: there is no such file.
        InvalidInputError: it cannot be read, or is no export of a store.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise NotFoundError(f"there is no file {path}; name a store, or a Parquet or CSV file that one exported")
    with _refusing_nonsense(path):
        table = _loaded(file)
    _check(path, list(table.columns))
    with _refusing_nonsense(path):
        return _typed(table)


@contextmanager
def _refusing_nonsense(path: str) -> Iterator[None]:
    """What pandas says of a file that it cannot make sense of, as our error."""
    try:
        yield
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInputError(f"{path} cannot be read: {' '.join(str(error).split())}; export it again") from error


def _loaded(file: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(file, dtype="string") if file.suffix.lower() == ".csv" else pd.read_parquet(file)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The columns and types that a store gives; what is missing is absent."""
    import pandas as pd

    from leti_opt.store.exchange import COLUMNS

    kinds = {name: kind for name, kind in COLUMNS.items() if name != "started_at"}
    whole = table.reindex(columns=list(COLUMNS)).astype(kinds)
    started = pd.to_datetime(whole["started_at"], utc=True, format="ISO8601")
    return whole.assign(started_at=started.astype(COLUMNS["started_at"]))


def remembered_device(path: str, uri: str) -> DeviceIdentity | None:
    """The device that a URI or nickname led to when the store last saw it, or None. No device is contacted."""
    with _existing(path) as store:
        known = store.device_of(uri) or store.device_of(_canonical(uri))
    return None if known is None else known[0]


def _canonical(uri: str) -> str:
    """The URI as its device writes it, for instance with another order of options; itself where it is none."""
    try:
        with open_device(uri) as device:
            return device.uri
    except (InvalidDeviceUriError, DeviceError):
        return uri


def _existing(path: str) -> LatencyStore:
    from leti_opt.store import LatencyStore
    from leti_opt.store.opening import exists, shown

    if not exists(path):
        raise NotFoundError(f"there is no store {shown(path)}; name one, or a Parquet or CSV file that one exported")
    return LatencyStore(path)


def _check(path: str, columns: Sequence[str]) -> None:
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise InvalidInputError(
            f"{path} is no export of leti_opt: it lacks the columns {', '.join(missing)}; bring a table of somebody "
            "else into a store first, with 'leti-opt store import', and compare that store"
        )
