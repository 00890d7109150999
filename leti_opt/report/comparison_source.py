"""Reads one side of a comparison: a store, or an exported Parquet or CSV file, narrowed to one device and epoch."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from leti_opt.errors import InvalidInputError, NotFoundError
from leti_opt.report.column_source import ANY_EPOCH, ColumnSource
from leti_opt.report.comparison_table import is_export, read_file, read_store, remembered_device
from leti_opt.report.latency_column import LatencyColumn

if TYPE_CHECKING:
    import pandas as pd

_DIGITS = 12
"""How much of a digest is shown, as ``leti-opt store info`` does."""


def read_column(text: str, statistic: str = "mean") -> LatencyColumn:
    """Read one side of a comparison.

    Of several measurements of a network the newest that holds counts. Unstable and withdrawn ones are left out, and
    what is left out is counted in the column's notes. Times without a zone are UTC.

    Args:
        text: ``PATH[?device=…&epoch=…&since=…&until=…&network=…&statistic=…]``, see :class:`ColumnSource`.
        statistic: where the text names none.

    Raises:
        InvalidInputError: wrong options, several devices or epochs and none chosen, a file that is no export.
        NotFoundError: there is no such file, or it holds nothing of what was asked for.
        StoreError: the store cannot be read.
    """
    return _Reader(ColumnSource.parse(text, statistic)).column()


class _Reader:
    """Narrows the rows of a source step by step; each step says what it left out."""

    def __init__(self, source: ColumnSource) -> None:
        self.source = source
        self.is_file = is_export(source.path)
        self.rows = read_file(source.path) if self.is_file else read_store(source.path)
        self.notes: list[str] = []
        self.details: list[str] = [source.path]

    def column(self) -> LatencyColumn:
        from leti_opt.store.records import CellAlias

        self._keep(self.rows["status"] != "infeasible", "figures")
        self._narrow()
        device = self._choose_device()
        unstable = self.rows["status"] == "unstable"
        self._note(int(unstable.sum()), "unstable measurement{s} left out")
        self._keep(~unstable, "measurements that hold, only unstable ones")
        self._choose_epochs()
        origin = self._origin()
        rows = self._newest()
        statistic = self.source.statistic
        if statistic != "mean":
            self.details.append(statistic)
        errors = rows["mean_error_ms"].dropna() if statistic == "mean" else rows["mean_error_ms"].iloc[:0]
        labels = rows["cell"].fillna(rows["name"]).fillna(rows["model_key"])
        named = rows.dropna(subset=["cell", "graph_hash", "network_digest"])
        cells = {
            row.model_key: CellAlias(row.graph_hash, row.network_digest, row.renderer, row.cell)
            for row in named.fillna({"renderer": ""}).itertuples()
        }
        figures = rows[f"{statistic}_ms"]
        return LatencyColumn(
            name=f"{device} ({', '.join(self.details)})",
            origin=origin,
            latency_ms=dict(zip(rows["model_key"], figures.tolist(), strict=True)),
            error_ms=dict(zip(rows["model_key"].loc[errors.index], errors.tolist(), strict=True)),
            labels=dict(zip(rows["model_key"], labels.tolist(), strict=True)),
            cells=cells,
            notes=tuple(self.notes),
        )

    def _narrow(self) -> None:
        """By the network's config and by time."""
        source = self.source
        if source.network:
            self._keep(_starts(self.rows["network_digest"], source.network), f"network {source.network}")
            self.details.append(f"network {source.network[:_DIGITS]}")
        started = self.rows["started_at"]
        if source.since is not None:
            self._keep(started >= source.since, f"figures since {_utc(source.since)}")
            self.details.append(f"since {_utc(source.since)}")
        if source.until is not None:
            self._keep(self.rows["started_at"] <= source.until, f"figures until {_utc(source.until)} in that time")
            self.details.append(f"until {_utc(source.until)}")

    def _choose_device(self) -> str:
        """Leave one device's rows. Returns its name."""
        wanted = self.source.device
        devices = self._counted("device_digest", "device", "origin")
        if wanted:
            self._keep(self._is_device(wanted, devices), f"device {wanted!r}; it has {_listed(devices)}")
        found = self._counted("device_digest", "device", "origin")
        if len(found) > 1 and self._are_linked():
            self.notes.append(
                f"{len(found)} runtimes of the device go together, because a panel showed that they agree"
            )
        elif len(found) > 1:
            suggested = self.source.suggestion("device", found[0].device_digest[:_DIGITS])
            raise InvalidInputError(
                f"{self.source.path} holds {len(found)} devices{' of that name' if wanted else ''}; choose one, for "
                f"instance '{suggested}': {_listed(found)}"
            )
        name = _plain_name(found[0])
        if sum(row.device == found[0].device for row in devices) > len(found):
            self.details.append(f"device {found[0].device_digest[:_DIGITS]}")
        return name

    def _is_device(self, wanted: str, devices: list[Any]) -> pd.Series[bool]:
        """By name, with its origin or without; else by digest; else by a URI under which the store has seen it."""
        rows = self.rows
        named = {row.device for row in devices if wanted in (row.device, _plain_name(row))}
        if named:
            return rows["device"].isin([wanted] if wanted in named else list(named))
        begins = _starts(rows["device_digest"], wanted)
        if begins.any() or self.is_file:
            return begins
        seen = remembered_device(self.source.path, wanted)
        return rows["device_digest"] == (None if seen is None else seen.digest)

    def _choose_epochs(self) -> None:
        """Leave one epoch's rows, or those of epochs that a panel has joined."""
        wanted = self.source.epoch
        found = self._epochs()
        if wanted and wanted != ANY_EPOCH:
            self._keep(_starts(self.rows["epoch_digest"], wanted), f"epoch {wanted!r}; it has {_epochs_listed(found)}")
            chosen = self._epochs()
            if len(chosen) > 1:
                raise InvalidInputError(f"epoch={wanted} is the beginning of several: {_epochs_listed(chosen)}")
            self.details.append(f"epoch {chosen[0].epoch_digest[:_DIGITS]}")
            return
        if len(found) == 1:
            return
        if wanted == ANY_EPOCH:
            self.details.append(f"{len(found)} epochs mixed")
            self.notes.append(f"{len(found)} epochs are mixed, as asked for")
            return
        if self._are_linked():
            self.details.append(f"{len(found)} linked epochs")
            self.notes.append(f"{len(found)} epochs go together, because a panel showed that they agree")
            return
        suggested = self.source.suggestion("epoch", found[0].epoch_digest[:_DIGITS])
        raise InvalidInputError(
            f"{self.source.path} holds {len(found)} epochs of the device, and no panel has shown that they agree; "
            f"choose one, for instance '{suggested}', or mix them with epoch=any: {_epochs_listed(found)}"
        )

    def _are_linked(self) -> bool:
        """Whether panels have shown that all epochs, also those of other runtimes, agree with each other."""
        groups = self.rows["epoch_group"]
        return bool(groups.notna().all()) and groups.nunique() == 1

    def _epochs(self) -> list[Any]:
        """Each epoch with its first and last day, the number of its figures and what it is, newest last."""
        import pandas as pd

        grouped = self.rows.groupby("epoch_digest", sort=False)
        times = grouped["started_at"].agg(["min", "max", "size"])
        about = grouped[["system_build", "driver", "unit"]].first()
        joined = pd.concat([times, about], axis=1).sort_values("max").reset_index()
        return list(joined.rename(columns={"min": "first", "max": "last", "size": "figures"}).itertuples())

    def _origin(self) -> str:
        origins = sorted(self.rows["origin"].dropna().unique())
        if len(origins) != 1:
            raise InvalidInputError(
                f"the figures of {self.source.path} are {' and '.join(origins) or 'of unknown origin'}; a side of a "
                "comparison has one origin: export one kind, for instance with --origin measured"
            )
        return str(origins[0])

    def _newest(self) -> pd.DataFrame:
        """One row for each network."""
        statistic = self.source.statistic
        column = f"{statistic}_ms"
        present = self.rows[column].notna() if column in self.rows else self.rows["model_key"].isna()
        self._note(int((~present).sum()), f"measurement{{s}} without {statistic} left out")
        self._keep(present, f"{statistic} of these runs, which the device does not reveal; take another statistic")
        rows = self.rows.sort_values("started_at", kind="stable", na_position="first")
        newest = rows.drop_duplicates("model_key", keep="last")
        self._note(len(rows) - len(newest), "older measurement{s} of the same networks left out: the newest counts")
        self._note(int((newest["status"] == "unchecked").sum()), "figure{s} whose spread nobody published")
        if statistic != "mean":
            sampled = int((newest["runs_per_sample"] > 1).sum())
            self._note(sampled, f"figure{{s}} whose {statistic} is one of samples of several runs")
        return newest

    def _counted(self, *columns: str) -> list[Any]:
        counted = self.rows.groupby(list(columns), sort=False, dropna=False).size()
        return list(counted.rename("figures").reset_index().itertuples())

    def _keep(self, mask: pd.Series[bool], what: str) -> None:
        kept = self.rows[mask.fillna(False).astype(bool)]
        if kept.empty:
            raise NotFoundError(f"{self.source.path} holds no {what}")
        self.rows = kept

    def _note(self, count: int, text: str) -> None:
        if count:
            self.notes.append(f"{count} {text.format(s='' if count == 1 else 's')}")


def _starts(texts: pd.Series[str], beginning: str) -> pd.Series[bool]:
    found: pd.Series[bool] = texts.str.startswith(beginning.lower(), na=False)
    return found


def _plain_name(row: Any) -> str:
    """A device's name without the origin that stands behind it."""
    return str(row.device).removesuffix(f" [{str(row.origin).upper()}]")


def _listed(devices: list[Any]) -> str:
    return "; ".join(f"{row.device_digest[:_DIGITS]} ({row.device}, {_figures(row, row.origin)})" for row in devices)


def _figures(row: Any, origin: str = "") -> str:
    kind = f"{origin} figure".strip()
    return f"{row.figures} {kind}" if row.figures == 1 else f"{row.figures} {kind}s"


def _epochs_listed(epochs: list[Any]) -> str:
    return "; ".join(f"{row.epoch_digest[:_DIGITS]} ({_about_epoch(row)})" for row in epochs)


def _about_epoch(row: Any) -> str:
    what = " ".join(str(part) for part in (row.system_build, row.driver, row.unit) if isinstance(part, str) and part)
    days = f"{row.first:%Y-%m-%d} to {row.last:%Y-%m-%d}"
    return ", ".join(filter(None, [what, _figures(row), days]))


def _utc(moment: datetime) -> str:
    """A moment for people: a date alone where it is a day's beginning."""
    whole = moment.time() == datetime.min.time()
    return f"{moment:%Y-%m-%d} UTC" if whole else f"{moment.replace(microsecond=0):%Y-%m-%d %H:%M:%S} UTC"
