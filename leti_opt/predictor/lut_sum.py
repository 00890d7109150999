"""What the entries of a lookup table add up to for a network, with the errors carried along."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from leti_opt.predictor.lut_pieces import Piece

EntryState = Literal["measured", "no operators", "failed"]


@dataclass(frozen=True)
class TableEntry:
    """What is known of one piece; times in milliseconds.

    Args:
        key: of the piece.
        operation: class of the layer, or TFLite's name of the operator.
        description: shapes, for people.
        state: ``measured``; ``no operators`` where the piece converts to none and costs nothing; ``failed``.
        latency_ms: mean of a run; of an unstable piece the median over its attempts; 0 without operators.
        std_ms: standard deviation of a sample.
        mean_error_ms: half the width of the mean's 95 % interval; None where single runs are not revealed.
        runs: timed runs of the attempt that it stands on.
        runs_per_sample: runs that were timed as one.
        stable: whether the measurement keeps the protocol's rule.
        reason: why it failed.
    """

    key: str
    operation: str
    description: str
    state: EntryState = "measured"
    latency_ms: float | None = None
    std_ms: float | None = None
    mean_error_ms: float | None = None
    runs: int | None = None
    runs_per_sample: int = 1
    stable: bool = True
    reason: str = ""


@dataclass(frozen=True)
class PieceTimes:
    """Equal pieces of a network, and what they cost together.

    Args:
        names: of each of them, in the order of execution.
        operation, description: as of the piece.
        entry: what the table says of one; None where it says nothing.
        reason: why there is no figure; empty where there is one.
    """

    names: tuple[str, ...]
    operation: str
    description: str
    entry: TableEntry | None = None
    reason: str = ""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.names)

    @property
    def latency_ms(self) -> float | None:
        """Of all of them together."""
        one = None if self.entry is None else self.entry.latency_ms
        return None if one is None else self.count * one


@dataclass(frozen=True)
class PieceSum:
    """A network's latency as the sum of its pieces; times in milliseconds.

    Args:
        times: equal pieces together, in the order of the first of each.
        spread_ms: standard deviation of one run of the network, if its pieces vary independently; None where an entry
            has none.
        mean_error_ms: half the width of the sum's 95 % interval, as far as the entries' own intervals tell.
    """

    times: tuple[PieceTimes, ...]
    spread_ms: float | None
    mean_error_ms: float | None

    @property
    def latency_ms(self) -> float | None:
        """The sum; None where a piece has no figure."""
        return None if self.missing else self.partial_ms

    @property
    def partial_ms(self) -> float:
        """The sum of the pieces that have a figure."""
        return sum(times.latency_ms or 0.0 for times in self.times)

    @property
    def pieces(self) -> int:
        """How many the network falls into."""
        return sum(times.count for times in self.times)

    @property
    def missing(self) -> tuple[PieceTimes, ...]:
        """Those without a figure, with the reason."""
        return tuple(times for times in self.times if times.latency_ms is None)

    @property
    def unstable(self) -> tuple[PieceTimes, ...]:
        """Those whose figure is provisional: every attempt at measuring them broke the rule."""
        return tuple(times for times in self.times if times.entry is not None and not times.entry.stable)

    @property
    def free(self) -> tuple[PieceTimes, ...]:
        """Those that convert to no operators, and cost nothing."""
        return tuple(times for times in self.times if times.entry is not None and times.entry.state == "no operators")


def add_up(pieces: Sequence[Piece], entries: Mapping[str, TableEntry]) -> PieceSum:
    """Sum a network's pieces.

    An entry that ``m`` pieces share is measured once. In a run of the network these are ``m`` runs of their own, so its
    variance counts ``m`` times; but the error of its mean is one and the same, so that counts ``m`` times as an error,
    ``m * m`` times as a variance. Runs that were timed ``k`` as one vary less by the root of ``k`` if they are
    independent, which is taken back.

    >>> pieces = [Piece("a", "first", "ReLU", "8x8x4"), Piece("a", "second", "ReLU", "8x8x4")]
    >>> found = add_up(pieces, {"a": TableEntry("a", "ReLU", "8x8x4", "measured", 2.0, 0.3, 0.1, 300)})
    >>> found.latency_ms, round(found.spread_ms, 3), found.mean_error_ms
    (4.0, 0.424, 0.2)
    """
    counts = Counter(piece.key for piece in pieces)
    names: dict[str, list[str]] = {key: [] for key in counts}
    first: dict[str, Piece] = {}
    for piece in pieces:
        names[piece.key].append(piece.name)
        first.setdefault(piece.key, piece)
    times = tuple(_times(first[key], names[key], entries.get(key)) for key in counts)
    timed = [(each.count, each.entry) for each in times if each.entry is not None and each.entry.state == "measured"]
    return PieceSum(
        times,
        _root([None if entry.std_ms is None else m * entry.runs_per_sample * entry.std_ms**2 for m, entry in timed]),
        _root([None if entry.mean_error_ms is None else (m * entry.mean_error_ms) ** 2 for m, entry in timed]),
    )


def _times(piece: Piece, names: Sequence[str], entry: TableEntry | None) -> PieceTimes:
    reason = ""
    if piece.refusal:
        reason = piece.refusal
    elif entry is None:
        reason = "the table has no such entry"
    elif entry.state == "failed":
        reason = entry.reason
    return PieceTimes(tuple(names), piece.operation, piece.description, entry, reason)


def _root(variances: Sequence[float | None]) -> float | None:
    known = [variance for variance in variances if variance is not None]
    return math.sqrt(sum(known)) if len(known) == len(variances) else None
