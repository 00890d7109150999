"""What people write to name one side of a comparison: a file, and which of its figures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from leti_opt.device.device_uri import DeviceUri
from leti_opt.device.run_batch import STATISTICS
from leti_opt.errors import InvalidInputError, did_you_mean

OPTIONS = ("device", "epoch", "since", "until", "network", "statistic")
COLUMN_STATISTICS = tuple(name for name in STATISTICS if name != "std")
ANY_EPOCH = "any"


@dataclass(frozen=True)
class ColumnSource:
    """Where one side of a comparison comes from.

    Args:
        path: a store, or a Parquet or CSV file that one exported.
        device: its name, the beginning of its digest, or a URI that the store has seen; empty to take the only one.
        epoch: the beginning of its digest; ``any`` to mix epochs; empty to take the only one.
        since, until: both inclusive; None for no limit.
        network: the beginning of the network config's digest; empty for all.
        statistic: one of :data:`COLUMN_STATISTICS`.
    """

    path: str
    device: str = ""
    epoch: str = ""
    since: datetime | None = None
    until: datetime | None = None
    network: str = ""
    statistic: str = "mean"

    @classmethod
    def parse(cls, text: str, statistic: str = "mean") -> ColumnSource:
        """Take apart ``PATH[?device=…&epoch=…&since=…&until=…&network=…&statistic=…]``.

        Raises:
            InvalidInputError: an unknown option, a wrong date or statistic, or no path.

        >>> ColumnSource.parse("latency.db?since=2026-01-01").since.isoformat()
        '2026-01-01T00:00:00+00:00'
        """
        path, _, query = text.strip().partition("?")
        if not path:
            raise InvalidInputError(f"{text!r} names no file; write for instance latency.db?device=NAME")
        options = dict(DeviceUri.parse(f"side?{query}").options)
        for name in options:
            if name not in OPTIONS:
                raise InvalidInputError(f"a side of a comparison has no option {name!r}; {did_you_mean(name, OPTIONS)}")
        chosen = options.get("statistic", statistic)
        if chosen not in COLUMN_STATISTICS:
            raise InvalidInputError(f"{chosen!r} cannot be compared; {did_you_mean(chosen, COLUMN_STATISTICS)}")
        since, until = _moment("since", options, timedelta(0)), _moment("until", options, timedelta(days=1))
        if since is not None and until is not None and since > until:
            raise InvalidInputError(f"since={options['since']} is after until={options['until']}; swap them")
        texts = {name: options.get(name, "") for name in ("device", "epoch", "network")}
        return cls(path, **texts, since=since, until=until, statistic=chosen)

    def suggestion(self, option: str, value: str) -> str:
        """What to write to choose something: the source with an option more."""
        kept = {"device": self.device, "epoch": self.epoch, "network": self.network}
        written = {name: text for name, text in {**kept, option: value}.items() if text}
        return f"{self.path}?{'&'.join(f'{name}={text}' for name, text in written.items())}"


def _moment(name: str, options: dict[str, str], whole_day: timedelta) -> datetime | None:
    """A date or time in UTC; of a date its beginning, or with ``whole_day`` its last microsecond."""
    text = options.get(name)
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        pass
    else:
        end = whole_day - timedelta(microseconds=1) if whole_day else whole_day
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + end
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(
            f"{name}={text} is no date or time; write {name}=2026-01-31 or {name}=2026-01-31T12:00 (UTC)"
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
